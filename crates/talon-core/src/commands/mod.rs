//! The command table: one file a command, one row a command.

mod deadline;
pub mod keys;
mod range;
mod room;
pub mod strings;
pub mod talon;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::command::Command;

/// The families, each with its rows.
static FAMILIES: [&[&Command]; 3] = [strings::ROWS, keys::ROWS, talon::ROWS];

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 32;

static BY_NAME: LazyLock<BTreeMap<&'static [u8], &'static Command>> = LazyLock::new(|| {
    all().filter(|command| !command.is_internal()).map(|command| (command.facts.name.as_bytes(), command)).collect()
});

static BY_ID: LazyLock<Vec<Option<&'static Command>>> = LazyLock::new(|| {
    let mut rows = Vec::new();
    for command in all() {
        let id = usize::from(command.id);
        if rows.len() <= id {
            rows.resize(id + 1, None);
        }
        rows[id] = Some(command);
    }
    rows
});

/// Every row, internal ones included.
pub fn all() -> impl Iterator<Item = &'static Command> {
    FAMILIES.iter().flat_map(|family| family.iter().copied())
}

/// The row of a command that clients may send, by its name in any case.
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    let mut lower = [0u8; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    BY_NAME.get(&*lower).copied()
}

/// The row with this stable id, internal ones included.
pub fn by_id(id: u16) -> Option<&'static Command> {
    BY_ID.get(usize::from(id)).copied().flatten()
}

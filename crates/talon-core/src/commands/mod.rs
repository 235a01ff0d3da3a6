//! The command table: one file a command, one row a command.

pub mod bits;
mod deadline;
mod grow;
pub mod introspection;
pub mod keys;
pub mod publish;
mod range;
pub(crate) mod room;
pub mod strings;
pub mod talon;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;

use crate::command::{Command, Container, unknown_command};
use crate::error::Refusal;

/// The families, each with its rows.
static FAMILIES: [&[&Command]; 6] =
    [strings::ROWS, bits::ROWS, keys::ROWS, introspection::ROWS, publish::ROWS, talon::ROWS];

/// The names that stand for subcommands.
pub static CONTAINERS: [&Container; 2] = [&introspection::OBJECT, &introspection::MEMORY];

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// What a name stands for.
#[derive(Clone, Copy)]
enum Named {
    Command(&'static Command),
    Container(&'static Container),
}

static BY_NAME: LazyLock<BTreeMap<&'static [u8], Named>> = LazyLock::new(|| {
    let commands = public().map(|command| (command.facts.name.as_bytes(), Named::Command(command)));
    let containers = CONTAINERS.iter().map(|container| (container.facts.name.as_bytes(), Named::Container(container)));
    commands.chain(containers).collect()
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

/// The rows of commands that clients may send by their name; subcommands are found through their containers.
pub fn public() -> impl Iterator<Item = &'static Command> {
    all().filter(|command| !command.is_internal() && !command.facts.name.contains('|'))
}

fn named(name: &[u8]) -> Option<Named> {
    let mut lower = [0u8; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    BY_NAME.get(&*lower).copied()
}

/// The row of a command that clients may send by its name, which may be in any case.
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    match named(name)? {
        Named::Command(command) => Some(command),
        Named::Container(_) => None,
    }
}

/// The row of the command or subcommand that these words mean, whose number fits it.
///
/// # Errors
/// Redis's own refusals for an unknown command or subcommand and a wrong number of arguments.
pub fn resolve(name: &[u8], args: &[Bytes]) -> Result<&'static Command, Refusal> {
    match named(name).ok_or_else(|| unknown_command(name, args))? {
        Named::Command(command) => command.facts.check_arity(args.len() + 1).map(|()| command),
        Named::Container(container) => container.resolve(args),
    }
}

/// The row with this stable id, internal ones included.
pub fn by_id(id: u16) -> Option<&'static Command> {
    BY_ID.get(usize::from(id)).copied().flatten()
}

//! Every command a client may send: the core's rows and the rows of the connection, in one table.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

use bytes::Bytes;
use talon_core::{Command, Facts, Flag, Group, KeySpec, Refusal, Reply};

use super::commands;
use super::deferred::Parse;
use super::pubsub::Kind;
use super::session::Context;

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// How a command of the connection is answered.
pub(crate) type Answer = fn(&mut Context<'_>, &[Bytes]) -> Result<Reply, Refusal>;

/// One row: a command that the server answers itself.
#[derive(Debug)]
pub(crate) struct ServerCommand {
    pub facts: Facts,
    pub action: Action,
}

/// What is done for a command of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Answered from what the connection and the server know.
    Now(Answer),
    /// The same, once it is known who leads.
    Led(Answer),
    /// Stands for its subcommands.
    Container {
        rows: &'static [ServerCommand],
        /// What answers when no subcommand is named, if that is allowed.
        bare: Option<&'static ServerCommand>,
    },
    /// Begins to gather a transaction.
    Multi,
    /// Carries out what was gathered.
    Exec,
    /// Forgets what was gathered.
    Discard,
    /// Answered with the number of keys.
    Info,
    /// Carried out behind the batch it came in.
    Deferred(Parse),
    /// Subscribes to channels.
    Subscribe(Kind),
    /// Takes subscriptions back.
    Unsubscribe(Kind),
}

/// Facts of a command without keys, in one line.
pub(crate) const fn facts(
    name: &'static str,
    arity: i32,
    flags: &'static [Flag],
    group: Group,
    since: &'static str,
    summary: &'static str,
) -> Facts {
    Facts { name, arity, flags, keys: KeySpec::NONE, group, summary, since, complexity: "O(1)" }
}

/// A row that is answered at once.
pub(crate) const fn now(facts: Facts, answer: Answer) -> ServerCommand {
    ServerCommand { facts, action: Action::Now(answer) }
}

/// A row that is answered once it is known who leads.
pub(crate) const fn led(facts: Facts, answer: Answer) -> ServerCommand {
    ServerCommand { facts, action: Action::Led(answer) }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Row {
    Data(&'static Command),
    Server(&'static ServerCommand),
}

/// A row with its place in the table.
#[derive(Debug)]
pub(crate) struct Entry {
    pub index: usize,
    pub row: Row,
    /// SCAN: its cursor is translated.
    pub is_scan: bool,
}

impl Entry {
    pub fn facts(&self) -> &'static Facts {
        match self.row {
            Row::Data(command) => &command.facts,
            Row::Server(command) => &command.facts,
        }
    }

    pub fn subcommands(&self) -> &'static [ServerCommand] {
        match self.row {
            Row::Server(ServerCommand { action: Action::Container { rows, .. }, .. }) => rows,
            _ => &[],
        }
    }
}

struct Table {
    entries: Vec<Entry>,
    by_name: HashMap<&'static [u8], usize, BuildHasherDefault<NameHasher>>,
}

/// FNV-1a: every request looks its name up, names are short, and only this build's own are in the table.
struct NameHasher(u64);

impl Default for NameHasher {
    fn default() -> NameHasher {
        NameHasher(0xCBF2_9CE4_8422_2325)
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    fn write_usize(&mut self, number: usize) {
        // The length of a slice.
        self.write(&[number as u8]);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let data = talon_core::commands::all().filter(|command| command.kind != talon_core::Kind::Internal).map(Row::Data);
    let server = commands::families().flat_map(|family| family.iter()).map(Row::Server);
    let entries: Vec<Entry> = data
        .chain(server)
        .enumerate()
        .map(|(index, row)| {
            let mut entry = Entry { index, row, is_scan: false };
            entry.is_scan = entry.facts().name == "scan";
            entry
        })
        .collect();
    let by_name = entries.iter().map(|entry| (entry.facts().name.as_bytes(), entry.index)).collect();
    Table { entries, by_name }
});

/// Every row.
pub(crate) fn entries() -> &'static [Entry] {
    &TABLE.entries
}

/// The row of a command, by its name in any case.
pub(crate) fn lookup(name: &[u8]) -> Option<&'static Entry> {
    let mut lower = [0u8; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    TABLE.by_name.get(&*lower).and_then(|index| TABLE.entries.get(*index))
}

/// The row of a subcommand, by its name in any case.
pub(crate) fn subcommand(rows: &'static [ServerCommand], name: &[u8]) -> Option<&'static ServerCommand> {
    rows.iter().find(|row| own_name(row.facts.name).as_bytes().eq_ignore_ascii_case(name))
}

/// `id` of `client|id`.
pub(crate) fn own_name(name: &'static str) -> &'static str {
    name.split_once('|').map_or(name, |(_, own)| own)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_lower_case_and_found() {
        let mut names = BTreeSet::new();
        for entry in entries() {
            let facts = entry.facts();
            assert!(names.insert(facts.name), "{} is there twice", facts.name);
            assert_eq!(facts.name, facts.name.to_ascii_lowercase());
            let found = lookup(facts.name.to_ascii_uppercase().as_bytes());
            assert_eq!(found.map(|found| found.index), Some(entry.index));
            for row in entry.subcommands() {
                assert!(row.facts.name.starts_with(&format!("{}|", facts.name)), "{}", row.facts.name);
                assert!(names.insert(row.facts.name), "{} is there twice", row.facts.name);
            }
        }
        assert!(lookup(b"nosuch").is_none());
        assert!(lookup(&[b'a'; 1000]).is_none());
    }

    #[test]
    fn every_row_is_documented() {
        for entry in entries() {
            for facts in std::iter::once(entry.facts()).chain(entry.subcommands().iter().map(|row| &row.facts)) {
                assert!(facts.summary.ends_with('.') && facts.summary.len() > 10, "{}", facts.name);
                assert!(!facts.since.is_empty(), "{}", facts.name);
                assert_ne!(facts.arity, 0, "{}", facts.name);
            }
        }
    }
}

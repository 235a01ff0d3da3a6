//! Every command a client may send: the core's rows and the rows of the connection, in one table.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
pub(crate) use talon_core::command::own_name;
use talon_core::{Command, Container, Facts, Flag, Group, KeySpec, Refusal, Reply};

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
    /// The same, once the leader has been asked whether it is there: what is told then must not send clients to one that is gone.
    Confirmed(Answer),
    /// The same, and not before it is known who leads.
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

/// A row that is answered once the leader was asked whether it is there.
pub(crate) const fn confirmed(facts: Facts, answer: Answer) -> ServerCommand {
    ServerCommand { facts, action: Action::Confirmed(answer) }
}

/// A row that is answered once it is known who leads.
pub(crate) const fn led(facts: Facts, answer: Answer) -> ServerCommand {
    ServerCommand { facts, action: Action::Led(answer) }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Row {
    Data(&'static Command),
    /// Stands for subcommands that are data commands.
    DataContainer(&'static Container),
    Server(&'static ServerCommand),
}

impl Row {
    pub fn facts(self) -> &'static Facts {
        match self {
            Row::Data(command) => &command.facts,
            Row::DataContainer(container) => &container.facts,
            Row::Server(command) => &command.facts,
        }
    }
}

/// What the front door does about a data command beside handing it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    Plain,
    /// SCAN: its cursor is translated.
    Scan,
    /// PUBLISH: the subscribers are counted here.
    Publish,
}

/// A row with its place in the table; those of subcommands are behind all others.
#[derive(Debug)]
pub(crate) struct Entry {
    pub index: usize,
    pub row: Row,
    /// Where its subcommands are among all of them.
    subcommands_at: Range<usize>,
    /// Beside handing it on.
    pub treatment: Treatment,
}

impl Entry {
    pub fn facts(&self) -> &'static Facts {
        self.row.facts()
    }

    /// Its subcommands.
    fn rows(&self) -> Vec<Row> {
        match self.row {
            Row::Server(ServerCommand { action: Action::Container { rows, .. }, .. }) => {
                rows.iter().map(Row::Server).collect()
            }
            Row::DataContainer(container) => container.rows.iter().copied().map(Row::Data).collect(),
            _ => Vec::new(),
        }
    }

    /// The facts of its subcommands.
    pub fn subcommands(&self) -> Vec<&'static Facts> {
        self.rows().into_iter().map(Row::facts).collect()
    }
}

struct Table {
    entries: Vec<Entry>,
    subcommands: Vec<Entry>,
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
    let data = talon_core::commands::public().map(Row::Data);
    let containers = talon_core::commands::CONTAINERS.into_iter().map(Row::DataContainer);
    let server = commands::families().flat_map(|family| family.iter()).map(Row::Server);
    let mut entries: Vec<Entry> = data
        .chain(containers)
        .chain(server)
        .enumerate()
        .map(|(index, row)| {
            let mut entry = Entry { index, row, subcommands_at: 0..0, treatment: Treatment::Plain };
            entry.treatment = match entry.facts().name {
                "scan" => Treatment::Scan,
                "publish" => Treatment::Publish,
                _ => Treatment::Plain,
            };
            entry
        })
        .collect();
    let mut subcommands = Vec::new();
    let count = entries.len();
    for entry in &mut entries {
        let begin = subcommands.len();
        for row in entry.rows() {
            let index = count + subcommands.len();
            subcommands.push(Entry { index, row, subcommands_at: 0..0, treatment: Treatment::Plain });
        }
        entry.subcommands_at = begin..subcommands.len();
    }
    let by_name = entries.iter().map(|entry| (entry.facts().name.as_bytes(), entry.index)).collect();
    Table { entries, subcommands, by_name }
});

/// Every row.
pub(crate) fn entries() -> &'static [Entry] {
    &TABLE.entries
}

/// Every row and every subcommand's, by their places.
pub(crate) fn counted() -> impl ExactSizeIterator<Item = &'static Entry> {
    let table = &*TABLE;
    (0..table.entries.len() + table.subcommands.len()).map(|index| {
        let behind = index.saturating_sub(table.entries.len());
        table.entries.get(index).unwrap_or_else(|| &table.subcommands[behind])
    })
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
pub(crate) fn subcommand_entry(entry: &Entry, name: &[u8]) -> Option<&'static Entry> {
    let rows = TABLE.subcommands.get(entry.subcommands_at.clone())?;
    rows.iter().find(|row| own_name(row.facts().name).as_bytes().eq_ignore_ascii_case(name))
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
            for own in entry.subcommands() {
                assert!(own.name.starts_with(&format!("{}|", facts.name)), "{}", own.name);
                assert!(names.insert(own.name), "{} is there twice", own.name);
                assert!(lookup(own.name.as_bytes()).is_none(), "{} is found by itself", own.name);
            }
        }
        assert!(lookup(b"nosuch").is_none());
        assert!(lookup(&[b'a'; 1000]).is_none());
    }

    #[test]
    fn subcommands_have_places_of_their_own() {
        assert!(counted().enumerate().all(|(place, entry)| entry.index == place));
        for entry in entries() {
            for facts in entry.subcommands() {
                let found = subcommand_entry(entry, own_name(facts.name).to_ascii_uppercase().as_bytes());
                assert_eq!(found.map(|found| found.facts().name), Some(facts.name));
            }
            assert!(subcommand_entry(entry, b"nosuch").is_none());
        }
    }

    #[test]
    fn every_row_is_documented() {
        for entry in entries() {
            for facts in std::iter::once(entry.facts()).chain(entry.subcommands()) {
                assert!(facts.summary.ends_with('.') && facts.summary.len() > 10, "{}", facts.name);
                assert!(!facts.since.is_empty(), "{}", facts.name);
                assert_ne!(facts.arity, 0, "{}", facts.name);
            }
        }
    }
}

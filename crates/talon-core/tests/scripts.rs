//! The golden scripts on the bare core: each command in a transaction of its own, and each script in one transaction.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use talon_core::script::{MemorySource, Script, Target};
use talon_core::transaction::Transaction;
use talon_core::{Command, Reply, Request, commands};

/// Where the clock of the scripts starts, Unix ms.
const START_MS: u64 = 1_700_000_000_000;

/// Every script, by the folders below `tests/scripts`.
fn scripts() -> Vec<Script> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scripts");
    let mut scripts = Vec::new();
    for folder in ["redis", "talon", "core"] {
        for entry in fs::read_dir(root.join(folder)).expect("the folder is there") {
            let path = entry.expect("it can be listed").path();
            let name = format!("{folder}/{}", path.file_name().expect("a file").to_string_lossy());
            let text = fs::read_to_string(&path).expect("it is text");
            scripts.push(Script::parse(&name, &text).expect("it is a script"));
        }
    }
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    scripts
}

/// As a front door reads it, except that Talon's internal rows have their names too.
fn request(words: &[Bytes]) -> Result<Request, Reply> {
    let (name, args) = words.split_first().expect("a script's command has a name");
    match commands::all().find(|row| row.is_internal() && row.facts.name.as_bytes() == name) {
        Some(row) => Ok(Request::new(row, args.to_vec())),
        None => Request::parse(name, args.to_vec()).map_err(Reply::Error),
    }
}

fn run_one(transaction: &mut Transaction<'_>, words: &[Bytes]) -> Result<Reply, String> {
    match request(words) {
        Ok(request) => request.execute(transaction).map_err(|fault| fault.to_string()),
        Err(refused) => Ok(refused),
    }
}

/// A transaction a command.
struct Split {
    source: MemorySource,
    clock_ms: u64,
}

impl Target for Split {
    fn execute(&mut self, words: &[Bytes]) -> Result<Reply, String> {
        let before = self.source.clone();
        let reply = self.source.transact(self.clock_ms, |transaction| run_one(transaction, words))?;
        self.source.check()?;
        // What ONCE notes is no data: a refusal is a reply that it has to repeat.
        let same = (&self.source.data, &self.source.expiries) == (&before.data, &before.expiries);
        if matches!(reply, Reply::Error(_)) && !same {
            return Err("a refused command has changed the data".to_owned());
        }
        Ok(reply)
    }

    fn advance(&mut self, by_ms: u64) -> Result<(), String> {
        self.clock_ms += by_ms;
        Ok(())
    }
}

/// One transaction for all.
struct Lumped<'a, 'b> {
    transaction: &'a mut Transaction<'b>,
}

impl Target for Lumped<'_, '_> {
    fn execute(&mut self, words: &[Bytes]) -> Result<Reply, String> {
        run_one(self.transaction, words)
    }

    fn advance(&mut self, by_ms: u64) -> Result<(), String> {
        self.transaction.begin_entry(self.transaction.clock_ms() + by_ms, 0);
        Ok(())
    }
}

#[test]
fn golden_scripts_command_by_command() {
    for script in scripts() {
        let mut split = Split { source: MemorySource::default(), clock_ms: START_MS };
        if let Err(error) = script.run(&mut split) {
            panic!("{error}");
        }
    }
}

#[test]
fn golden_scripts_in_one_transaction() {
    for script in scripts() {
        // DISKUSAGE is about what is stored already; the scripts ask for no number.
        let mut source = MemorySource::default();
        let outcome = source.transact(START_MS, |transaction| script.run(&mut Lumped { transaction }));
        if let Err(error) = outcome {
            panic!("in one transaction: {error}");
        }
        source.check().expect("a true expiry index");
    }
}

#[test]
fn every_row_is_documented_unique_and_in_a_script() {
    let rows: Vec<&Command> = commands::all().collect();
    let in_scripts: Vec<String> = scripts().iter().flat_map(Script::command_names).collect();
    for (place, row) in rows.iter().enumerate() {
        let facts = &row.facts;
        let name = facts.name;
        for other in &rows[..place] {
            assert_ne!(row.id, other.id, "{name} and {} have one id", other.facts.name);
            assert_ne!(name, other.facts.name);
        }
        assert_eq!(name, name.to_ascii_lowercase());
        assert!(facts.summary.len() > 5 && facts.summary.ends_with('.'), "{name}: {}", facts.summary);
        assert!(facts.since.split('.').count() == 3, "{name}: {}", facts.since);
        assert!(facts.complexity.starts_with("O("), "{name}: {}", facts.complexity);
        assert_ne!(facts.arity, 0, "{name}");
        assert!(in_scripts.iter().any(|script| script == name), "{name} is in no script");
        assert!(commands::by_id(row.id).is_some_and(|found| std::ptr::eq(found, *row)));
        let found = commands::lookup(name.to_ascii_uppercase().as_bytes());
        let is_subcommand = name.contains('|');
        assert_eq!(found.is_some(), !row.is_internal() && !is_subcommand, "{name}");
        let of_containers = commands::CONTAINERS.iter().filter(|container| {
            container.rows.iter().any(|own| std::ptr::eq(*own, *row))
                && name.split('|').next() == Some(container.facts.name)
        });
        assert_eq!(of_containers.count(), usize::from(is_subcommand), "{name}");
        assert_eq!(row.is_internal(), name.starts_with("talon."), "{name}");
        let says_write = facts.flags.contains(&talon_core::Flag::Write);
        let says_read = facts.flags.contains(&talon_core::Flag::Readonly);
        // What travels through the log and changes no data is neither, as in Redis.
        let neither = name == "publish";
        assert_eq!(says_write || neither, row.is_write(), "{name}");
        assert_eq!(says_write == says_read, neither, "{name}");
        let ids = match row.id {
            1..=99 => "string bitmap",
            100..=199 => "generic server",
            200..=299 | 900..=999 => "talon",
            300..=399 => "pubsub",
            other => panic!("{name} has the id {other}"),
        };
        assert!(ids.contains(facts.group.name()), "{name} has the id {} and the group {}", row.id, facts.group.name());
    }
}

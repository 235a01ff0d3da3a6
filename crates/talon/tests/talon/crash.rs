//! kill -9, and two processes at one folder. The other process is this test binary itself, started again for one ignored test.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use talon::{Content, Durability, Entry, Machine, Settings, Talon, state_hash};
use talon_core::Reply;
use talon_storage::{RocksEngine, RocksSettings};

use crate::machine::one;

const FOLDER: &str = "TALON_TEST_FOLDER";
const UNSYNCED: &str = "TALON_TEST_UNSYNCED";

/// Starts this binary for one test that is ignored otherwise.
fn child(test: &str, folder: &Path, variables: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder)
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The folder, in a child; `None` when somebody runs ignored tests by hand.
fn own_folder() -> Option<std::path::PathBuf> {
    std::env::var_os(FOLDER).map(Into::into)
}

/// What the child said behind `prefix`, until it has said it `count` times; then it is killed.
fn said_until(mut child: Child, prefix: &str, count: usize) -> Vec<String> {
    let mut said = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while said.len() < count {
        let line = lines.next().expect("the child goes on until it is killed").unwrap();
        said.extend(line.strip_prefix(prefix).map(str::to_owned));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it died counts as well.
    said.extend(lines.map_while(Result::ok).filter_map(|line| line.strip_prefix(prefix).map(str::to_owned)));
    said
}

/// Tells the other side, in a line of its own: the test harness leaves a line open. Small writes to a pipe are whole or not at all.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[test]
#[ignore = "the child of killed_writers_lose_nothing"]
fn child_writer() {
    let Some(folder) = own_folder() else { return };
    let durability = if std::env::var_os(UNSYNCED).is_some() { Durability::Unsynced } else { Durability::Synced };
    let db = Talon::open_with(folder, Settings { durability, recent_bytes: 1 << 20, ..Settings::default() }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let kv = db.kv().unwrap();
            scope.spawn(move || {
                for round in 0u64.. {
                    let number = (thread << 32) | round;
                    kv.set(format!("key {number}").as_bytes(), &[7; 500], Some(100_000)).unwrap();
                    kv.incr(format!("count {thread}").as_bytes()).unwrap();
                    say(&format!("ack {number}"));
                }
            });
        }
    });
}

#[test]
fn killed_writers_lose_nothing() {
    for (round, unsynced) in [false, false, true, true].into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let variables: &[(&str, &str)] = if unsynced { &[(UNSYNCED, "1")] } else { &[] };
        let writer = child("crash::child_writer", folder.path(), variables);
        let acknowledged = said_until(writer, "ack ", 300 * (round + 1));
        let acknowledged: Vec<u64> = acknowledged.iter().map(|number| number.parse().unwrap()).collect();
        let db = Talon::open(folder.path()).unwrap();
        let kv = db.kv().unwrap();
        let mut counts = [0u64; 4];
        for number in &acknowledged {
            assert_eq!(kv.get(format!("key {number}").as_bytes()).unwrap(), Some(vec![7; 500]), "key {number} is lost");
            counts[(number >> 32) as usize] += 1;
        }
        for (thread, count) in counts.into_iter().enumerate() {
            let stored = kv.get(format!("count {thread}").as_bytes()).unwrap();
            let stored: u64 = stored.map_or(0, |text| String::from_utf8(text).unwrap().parse().unwrap());
            // One more may have been carried out and not told.
            assert!(stored == count || stored == count + 1, "{count} were acknowledged, {stored} are stored");
        }
    }
}

#[test]
#[ignore = "the child of a_killed_node_comes_back_to_one_position"]
fn child_applier() {
    let Some(folder) = own_folder() else { return };
    // A small memtable, so that RocksDB flushes by itself all the time.
    let rocks = RocksSettings { memtable_bytes: 64 << 10, ..RocksSettings::default() };
    let machine = Machine::open(Arc::new(RocksEngine::open(&folder, &rocks).unwrap())).unwrap();
    let mut durable = machine.applied().index;
    for index in machine.applied().index + 1.. {
        let padding = "x".repeat(200);
        let calls = [one("INCR counter"), one(&format!("SET key:{index} {padding} PX {}", index * 10))];
        let content = Content::Calls { stamp_ms: index, seed: 0, calls: &calls };
        machine
            .apply(&[Entry { index, position: index.to_be_bytes().to_vec(), content, want_replies: false }])
            .unwrap();
        if index % 5_000 == 0 {
            durable = machine.flush().unwrap().index;
        }
        if index % 100 == 0 {
            say(&format!("applied {durable}"));
        }
    }
}

/// Without RocksDB's log, as in a cluster: data, expiry index and position must come back from the same moment, or a replay of the log would
/// count twice.
#[test]
fn a_killed_node_comes_back_to_one_position() {
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=5 {
        let applier = child("crash::child_applier", folder.path(), &[]);
        let said = said_until(applier, "applied ", 37 * round);
        let durable: u64 = said.last().unwrap().parse().unwrap();
        let engine = RocksEngine::open(folder.path(), &RocksSettings::default()).unwrap();
        let machine = Machine::open(Arc::new(engine)).unwrap();
        let applied = machine.applied();
        assert!(applied.index >= durable, "what was flushed is durable");
        assert!(applied.index > 0, "RocksDB has flushed by itself");
        assert_eq!(applied.position, applied.index.to_be_bytes());
        assert_eq!(applied.clock_ms, applied.index);
        let view = machine.view().unwrap();
        let counter = view.read(&[one("GET counter")], 0, 0).unwrap();
        assert_eq!(counter, talon::ReadOutcome::Replies(vec![Reply::Bulk(applied.index.to_string().into())]));
        assert_eq!(state_hash(&view).unwrap().rows, applied.index + 1);
        use talon_core::Source;
        assert_eq!(view.expiries(0).count() as u64, applied.index);
    }
}

#[test]
#[ignore = "the child of a_second_process_is_told_so"]
fn child_owner() {
    let Some(folder) = own_folder() else { return };
    let db = Talon::open(folder).unwrap();
    db.kv().unwrap().set(b"k", b"v", None).unwrap();
    say("opened 1");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_second_process_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut owner = child("crash::child_owner", folder.path(), &[]);
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    while lines.next().unwrap().unwrap() != "opened 1" {}
    let error = Talon::open(folder.path()).err().unwrap().to_string();
    assert_eq!(error, format!("{} is already open in another process", folder.path().display()));
    owner.kill().unwrap();
    owner.wait().unwrap();
    let db = Talon::open(folder.path()).unwrap();
    assert_eq!(db.kv().unwrap().get(b"k").unwrap(), Some(b"v".to_vec()));
    let error = Talon::open(folder.path()).err().unwrap().to_string();
    assert!(error.ends_with("is already open in this process"), "{error}");
}

//! That a killed process really has only what it had synced: else the tests of power cuts would prove nothing. The other
//! process is this test binary itself, started again for one ignored test.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use talon_storage::{Batch, Durability, Engine, RocksEngine, RocksSettings, Space};

const FOLDER: &str = "TALON_TEST_FOLDER";
const DURABILITY: &str = "TALON_TEST_DURABILITY";
/// How many rows are made durable, and as many again that are not.
const ROWS: u32 = 1000;

fn open(folder: &Path) -> RocksEngine {
    RocksEngine::open(folder, &RocksSettings::default()).expect("the folder can be opened")
}

fn put(engine: &RocksEngine, row: u32, durability: Durability) {
    let mut batch = Batch::new();
    batch.put(Space::Data, &row.to_be_bytes(), &[b"value"]);
    engine.write(&batch, durability).expect("it can be written");
}

/// The rows that are there: from the first one on, and so many.
fn rows(engine: &RocksEngine) -> u32 {
    let view = engine.view().expect("a view");
    let mut count = 0_u32;
    for row in view.scan(Space::Data, b"", None) {
        assert_eq!(row.expect("a row").0, count.to_be_bytes()[..]);
        count += 1;
    }
    count
}

#[test]
#[ignore = "the child of the other tests"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let engine = open(Path::new(&folder));
    let logged = std::env::var(DURABILITY).is_ok_and(|durability| durability == "logged");
    let (durable, lost) =
        if logged { (Durability::Synced, Durability::Logged) } else { (Durability::Unlogged, Durability::Unlogged) };
    (0..ROWS).for_each(|row| put(&engine, row, durable));
    if !logged {
        engine.flush().expect("it can be flushed");
    }
    (ROWS..2 * ROWS).for_each(|row| put(&engine, row, lost));
    assert_eq!(rows(&engine), 2 * ROWS);
    let mut out = std::io::stdout().lock();
    out.write_all(b"\nall is written\n").expect("the parent listens");
    out.flush().expect("the parent listens");
    loop {
        std::thread::park();
    }
}

/// Writes in another process, kills it, and counts what is left.
fn rows_after_a_kill(durability: &str) -> u32 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut child: Child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder.path())
        .env(DURABILITY, durability)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started again");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let written = lines.any(|line| line.is_ok_and(|line| line == "all is written"));
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    assert!(written, "the child did not come to its end");
    rows(&open(folder.path()))
}

#[test]
fn what_was_logged_and_not_synced_is_lost() {
    assert_eq!(rows_after_a_kill("logged"), ROWS);
}

#[test]
fn what_was_flushed_is_kept() {
    assert_eq!(rows_after_a_kill("unlogged"), ROWS);
}

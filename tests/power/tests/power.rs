//! Nodes lose power, and the cluster loses nothing; and a disk that lies is noticed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use talon_cluster_tests::is_long;
use talon_power_tests::{Kills, Victims};

/// Small files: segments fill, checkpoints are taken, and the log is cut every other second; a node that is away for a few
/// seconds gets a checkpoint.
const SMALL_FILES: &[(&str, &str)] =
    &[("--log-segment-bytes", "1048576"), ("--log-bytes-before-checkpoint", "1048576"), ("--log-bytes-max", "3145728")];

/// One cluster at a time: they would disturb each other.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often power is lost: `TALON_KILLS`, else 50, or 1,000 in the long tests.
fn kills() -> u64 {
    let asked = std::env::var("TALON_KILLS").ok();
    asked.map_or(if is_long() { 1000 } else { 50 }, |kills| kills.parse().expect("TALON_KILLS is a number"))
}

#[test]
fn acknowledged_writes_survive_the_loss_of_what_was_not_synced() {
    let _turn = alone();
    let kills = kills();
    let report = Kills::start(&[], SMALL_FILES, Victims::Any).run(kills);
    println!("{report:#?}");
    // Two kills in five meet a group of which a part is on the disk.
    assert!(report.torn > 0 || kills < 50, "no kill left a torn write behind");
}

/// The disk of the log says that it has synced before it has. That must show as a lost write, else the test above proves nothing.
#[test]
fn a_disk_that_acknowledges_before_it_syncs_is_noticed() {
    let _turn = alone();
    let kills = Kills::start(&["env", "LOSSY_DISK_SYNC_LIES=1"], &[], Victims::All);
    let outcome = catch_unwind(AssertUnwindSafe(|| kills.run(5)));
    let Err(panic) = outcome else { panic!("all nodes forgot what they had acknowledged, and nobody noticed") };
    let complaint = panic.downcast_ref::<String>().expect("a complaint in words");
    // A key that is gone, a reader that sees an older state, a counter below what was acknowledged; or a node that stops because its
    // log ends before what the others know it to have acknowledged.
    let signs = ["LOST", " went back from ", "which is not in", "the log was misused: entry"];
    let noticed = signs.iter().any(|sign| complaint.contains(sign));
    assert!(noticed, "something else went wrong: {complaint}");
    println!("noticed, as it should be: {complaint}");
}

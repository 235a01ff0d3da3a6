//! How long the judge takes: 100,000 operations over 200 registers, 100 counters and 100 groups, unless other numbers
//! are given: `measure OPERATIONS KEYS UNKNOWN_PERCENT`.

#[path = "../tests/common/world.rs"]
mod world;

use std::time::Instant;

use talon_history::linear::{Options, Tolerance};
use talon_history::{History, Verdict, atomic, counters, durable, linear, session};
use world::{World, groups, history};

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let world = World {
        seed: 1,
        operations: number(0, 100_000) as usize,
        clients: 16,
        keys: number(1, 200),
        unknown: number(2, 2),
        clock_percent: 100,
        loses_one_in: 0,
    };
    let tolerance = Tolerance { early_permille: 50, early_ms: 2, late_permille: 1000, late_ms: 2, absolute: None };
    let options = Options { tolerance, ..Options::default() };
    let start = Instant::now();
    let history = history(&world);
    println!("{} operations made in {:?}", history.len(), start.elapsed());
    time("linear", &history, |history| linear::check(history, &options));
    time("atomic", &history, |history| atomic::check(history, &groups(&world), &options));
    time("counters", &history, counters::check);
    time("durable", &history, durable::check);
    time("session", &history, |history| session::check(history, 0));
}

fn time(name: &str, history: &History, check: impl FnOnce(&History) -> Verdict) {
    let start = Instant::now();
    let verdict = check(history);
    println!(
        "{name}: {:?}, {} checked, {} undecided, {} wrong",
        start.elapsed(),
        verdict.checked,
        verdict.undecided,
        verdict.violations.len()
    );
}

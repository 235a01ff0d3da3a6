//! Histories that a model made pass every check; with one read changed, or one write lost, they do not.

#[path = "common/world.rs"]
mod world;

use talon_history::linear::{Options, Tolerance};
use talon_history::{
    Action, Consistency, History, Outcome, Reply, Verdict, atomic, counters, durable, linear, session,
};
use world::{Chance, World, groups, history};

fn world(seed: u64) -> World {
    let clock_percent = [100, 104, 60][(seed % 3) as usize];
    World { seed, operations: 3000, clients: 8, keys: 10, unknown: 4, clock_percent, loses_one_in: 0 }
}

fn options() -> Options {
    let tolerance = Tolerance { early_permille: 50, early_ms: 2, late_permille: 1000, late_ms: 2, absolute: None };
    Options { tolerance, ..Options::default() }
}

/// All checks, and how many things each one checked.
fn judge(history: &History, world: &World) -> (Verdict, Vec<u64>) {
    let all = [
        linear::check(history, &options()),
        atomic::check(history, &groups(world), &options()),
        counters::check(history),
        durable::check(history),
        session::positions(history),
        session::nil_stays_nil(history),
        session::ttl_never_grows(history, 0),
    ];
    let checked = all.iter().map(|verdict| verdict.checked).collect();
    let mut sum = Verdict::default();
    all.into_iter().for_each(|verdict| sum.add(verdict));
    (sum, checked)
}

#[test]
fn what_a_model_made_is_right() {
    for seed in 0..20 {
        let world = world(seed);
        let history = history(&world);
        let (verdict, checked) = judge(&history, &world);
        assert!(verdict.held(), "seed {seed}: {}", verdict.violations[0]);
        assert_eq!(verdict.undecided, 0, "seed {seed}");
        assert!(checked.iter().all(|checked| *checked > 0), "seed {seed}: {checked:?}");
        assert!(checked[0] > 1500, "seed {seed}: {checked:?}");
    }
}

#[test]
fn one_old_answer_is_found() {
    let (mut changed, mut caught) = (0, 0);
    for seed in 0..60 {
        let world = world(seed);
        let mut history = history(&world);
        let Some(id) = make_stale(&mut history, &mut Chance::new(seed)) else { continue };
        changed += 1;
        let verdict = linear::check(&history, &options());
        caught += u32::from(!verdict.held());
        let named = |violation: &talon_history::Violation| violation.operations.iter().any(|one| one.id == id);
        assert!(verdict.violations.iter().all(named), "seed {seed}: not about #{id}: {}", verdict.violations[0]);
    }
    println!("{caught} of {changed} old answers were found");
    assert!(changed >= 50, "only {changed} histories could be changed");
    // Some are no lie: writes that overlap allow several answers, and an unknown one may come late.
    assert!(caught * 10 >= changed * 9, "{caught} of {changed}");
}

/// Gives a read of a register the answer of an earlier one, that was another. Answers which one.
fn make_stale(history: &mut History, chance: &mut Chance) -> Option<u64> {
    let reads: Vec<(u64, Action, Reply)> = history
        .operations()
        .iter()
        .filter(|one| one.consistency == Consistency::Linearizable)
        .filter_map(|one| match (&one.action, one.reply()) {
            (Action::Get(key), Some(reply @ Reply::Bytes(_))) if key.starts_with(b"r") => {
                Some((one.id, one.action.clone(), reply.clone()))
            }
            _ => None,
        })
        .collect();
    let start = chance.below(reads.len() as u64) as usize;
    let pairs = reads.iter().skip(start).flat_map(|late| reads.iter().map(move |early| (early, late)));
    let mut old = pairs.filter(|(early, late)| early.0 < late.0 && early.1 == late.1 && early.2 != late.2);
    let ((_, _, old), (id, ..)) = old.next()?;
    history.operation_mut(*id).outcome = Outcome::Reply(old.clone());
    Some(*id)
}

#[test]
fn one_lost_write_is_found() {
    let mut caught = 0;
    for seed in 0..30 {
        let world = World { loses_one_in: 30, ..world(seed) };
        caught += u32::from(!linear::check(&history(&world), &options()).held());
    }
    assert!(caught >= 28, "{caught} of 30");
}

//! A read that asks for so much freshness is answered from a state that holds every write that had been acknowledged by then: for
//! `LINEARIZABLE`, when it was called; for `BOUNDED ms`, so long before. By simulated time, on whichever node; for reads that name their position.

use talon_history::{Consistency, Operation};

use super::{Case, Finding, Invariant, Score};

/// On the clients' history and the ledger.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    // Up to which index writes had been acknowledged, by when.
    let mut acknowledged: Vec<(u64, u64)> = case
        .matched
        .iter()
        .filter_map(|matched| Some((matched.operation.certain_us()?, case.steps[matched.step].index)))
        .collect();
    acknowledged.sort_unstable();
    let mut highest = 0;
    for (_, index) in &mut acknowledged {
        highest = highest.max(*index);
        *index = highest;
    }
    for read in case.history.operations().iter().filter(|one| !one.action.writes() && one.reply().is_some()) {
        let (Some(position), Some(from_us)) = (read.applied, fresh_from_us(case, read)) else { continue };
        let before = acknowledged.partition_point(|(returned_us, _)| *returned_us < from_us);
        let least = before.checked_sub(1).map_or(0, |last| acknowledged[last].1);
        score.check(Invariant::Fresh, position >= least, || {
            let what = format!("it was answered at {position}, and entry {least} had been acknowledged in time");
            Finding { index: Some(least), ..Finding::of(Invariant::Fresh, what, vec![read.clone()]) }
        });
    }
}

/// Until when writes have to be seen that were acknowledged.
fn fresh_from_us(case: &Case<'_>, read: &Operation) -> Option<u64> {
    match read.consistency {
        Consistency::Linearizable => Some(read.called_us),
        Consistency::Bounded(ms) => Some(read.called_us.saturating_sub(ms * (1000 + u64::from(case.bound_permille())))),
        Consistency::Session | Consistency::Stale => None,
    }
}

//! I7: an acknowledged write survives, or was overwritten, deleted or expired by the rules.
//!
//! Twice: by what clients found at the end, and by the ledger, which is stricter. Each acknowledged write is in an entry of its own that was
//! first applied between its call and its return, and answered what the model answers there; and no entry holds a write that nobody
//! asked for, that was refused, or that was asked for less often.

use talon_history::durable;

use super::{Case, Finding, Invariant, Score};

/// On both.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    score.take(Invariant::I7, durable::check(case.history));
    score.count(Invariant::I7, case.matched.len() as u64);
    for operation in &case.lost {
        score.check(Invariant::I7, false, || {
            let what = "it was acknowledged, and no entry of the log can hold it with this answer".to_owned();
            Finding::of(Invariant::I7, what, vec![(*operation).clone()])
        });
    }
    for (index, words) in &case.surplus {
        score.check(Invariant::I7, false, || {
            let what =
                format!("entry {index} holds {words}, which nobody asked for, or not so often, or which was refused");
            let same = case.history.operations().iter().filter(|operation| operation.action.to_string() == *words);
            Finding { index: Some(*index), ..Finding::of(Invariant::I7, what, same.take(10).cloned().collect()) }
        });
    }
}

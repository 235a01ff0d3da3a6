//! What is always written together is seen together.

use talon_history::atomic;

use super::{Case, Invariant, Score};
use crate::workloads::{WorkloadKind, groups};

/// On the clients' history.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    let groups: Vec<_> = WorkloadKind::ALL.into_iter().flat_map(|kind| groups(kind, case.history)).collect();
    score.take(Invariant::Atomic, atomic::check(case.history, &groups, &case.options()));
}

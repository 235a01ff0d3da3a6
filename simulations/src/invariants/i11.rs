//! I11: counters: acknowledged increments <= value <= acknowledged + unknown.

use talon_history::counters;

use super::{Case, Invariant, Score};

/// On the clients' history.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    score.take(Invariant::I11, counters::check(&case.merged));
}

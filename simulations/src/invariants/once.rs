//! What is sent again under its number is done once: the same answer each time, and counters that count each sequence once.

use talon_history::once;

use super::{Case, Invariant, Score};

/// On the clients' history.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    score.take(Invariant::Once, once::check(case.history));
}

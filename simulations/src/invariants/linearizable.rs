//! Every key is linearizable, with keys that end: the judge is porcupine, and what it may not decide in its time is counted as undecided.

use talon_history::linear;

use super::{Case, Invariant, Score};

/// On the clients' history.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    score.take(Invariant::Linearizable, linear::check(&case.merged, &case.options()));
}

//! I4: in a session that carries its position, a key that was nil stays nil until somebody writes it, whichever node answers; and the position
//! never goes back.

use talon_history::session;

use super::{Case, Invariant, Score};

/// On the clients' history.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    score.take(Invariant::I4, session::positions(case.history));
    score.take(Invariant::I4, session::nil_stays_nil(case.history));
}

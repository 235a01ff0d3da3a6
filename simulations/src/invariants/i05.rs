//! I5: a TTL never grows without a write: exactly on one node in one term, across nodes within tick + lag + skew. The term is that of the last
//! entry in the state that answered; whichever way a read was asked for.

use talon_history::session;

use super::{Case, Invariant, Score};

/// A tick, what a follower lags in peace, and the skew bound, ms.
const HEALTHY_MS: i64 = 100 + 500 + 500;
/// How far behind a follower that answers may be, ms (`replica_staleness_ms_max`), and how long a leader may have led without one entry.
const FAULTY_MS: i64 = 10_000 + 10_000;

/// On the clients' history.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    let across_ms = if case.healthy { HEALTHY_MS } else { FAULTY_MS };
    score.take(Invariant::I5, session::ttl_never_grows(case.history, across_ms));
}

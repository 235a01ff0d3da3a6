//! I8: in a healthy cluster expiry is late by at most the tick plus the slew bound. Judged in runs in which nothing goes wrong, and in the others
//! until something does: there `T` keeps up with true time, and as soon as a key is due, an entry comes that ends it.

use super::{Case, Finding, Invariant, Score};
use crate::faults::BEGIN_US;

/// How often a leader ticks while a key is due, ms.
const TICK_MS: i64 = 100;
/// What a healthy cluster may take to commit, and `T` be behind, besides the network's latency, ms.
const SLACK_MS: i64 = 400;
/// How many messages there and back a tick may take.
const MESSAGES: i64 = 10;

/// On the ledger beside true time.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    let healthy_until_us = match (case.healthy, case.plan.wrong_clocks.is_empty()) {
        (true, _) => u64::MAX,
        (false, true) => BEGIN_US,
        (false, false) => 0,
    };
    let steps = &case.steps[..case.steps.partition_point(|step| step.first_us < healthy_until_us)];
    let slack_ms = SLACK_MS + MESSAGES * (case.plan.latency_us.1 / 1000) as i64;
    for step in steps.iter().filter(|step| step.is_stamped) {
        let behind_ms = step.true_ms() - step.clock_ms;
        score.check(Invariant::I8, behind_ms <= slack_ms, || {
            let what = format!("T at {} is {behind_ms} ms behind true time", step.index);
            Finding::at(Invariant::I8, step.index, what)
        });
    }
    for pair in steps.windows(2) {
        let (step, next) = (&pair[0], &pair[1]);
        let Some(end_ms) = step.next_end_ms.filter(|_| step.term == next.term) else { continue };
        let late_ms = next.true_ms() - end_ms.max(step.true_ms());
        score.check(Invariant::I8, late_ms <= TICK_MS + slack_ms, || {
            let what = format!("a key was due at {end_ms}, and entry {} came {late_ms} ms later", next.index);
            Finding::at(Invariant::I8, next.index, what)
        });
    }
}

//! I6: a relative TTL never ends before its time has passed on a correct monotonic clock, less 5 % and the skew bound; an absolute expiry is
//! never early by more than the skew bound plus what `T` was ahead.
//!
//! A key ends when `T` comes to its end, so it is enough to look at `T`: when was the write called, and when did the log first hold a stamp
//! that ends it? Where most clocks were wrong at once, nobody could have known better, and the bound grows by as much.

use talon_history::{Action, Deadline, Reply, Ttl};

use super::case::SKEW_MS;
use super::{Case, Finding, Invariant, Matched, Score};
use crate::replay::{flat, flat_replies};

/// On the ledger beside true time.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    for matched in &case.matched {
        for ms in lifetimes_ms(matched) {
            relative(case, score, matched, ms);
        }
    }
    for step in case.steps.iter().filter(|step| step.is_stamped) {
        let ahead_ms = step.clock_ms - step.true_ms();
        let allowed_ms = SKEW_MS + if ahead_ms > SKEW_MS as i64 { case.errors.ahead_ms(0, step.first_us) } else { 0 };
        score.check(Invariant::I6, ahead_ms <= allowed_ms as i64, || {
            let what = format!("T at {} is {ahead_ms} ms ahead of true time; {allowed_ms} ms are allowed", step.index);
            Finding::at(Invariant::I6, step.index, what)
        });
    }
}

/// The relative times that a write has certainly given.
fn lifetimes_ms(matched: &Matched<'_>) -> Vec<i64> {
    let Some(reply) = matched.operation.reply() else { return Vec::new() };
    let actions = flat(&matched.operation.action).into_iter();
    let given = actions.zip(flat_replies(&matched.operation.action, reply)).filter_map(|(action, reply)| {
        match (action, reply) {
            (Action::Set { ttl: Some(Ttl::Until(Deadline::AfterMs(ms))), get: false, .. }, Reply::Ok)
            | (Action::Expire(_, Deadline::AfterMs(ms)), Reply::Int(1)) => Some(*ms).filter(|ms| *ms > 0),
            _ => None,
        }
    });
    given.collect()
}

fn relative(case: &Case<'_>, score: &mut Score, matched: &Matched<'_>, ms: i64) {
    let from = case.steps[matched.step];
    let end_ms = from.clock_ms + ms;
    let to = matched.step + case.steps[matched.step..].partition_point(|step| step.clock_ms < end_ms);
    // Perhaps the run was over first.
    let Some(ends) = case.steps.get(to) else { return };
    let called_us = matched.operation.called_us;
    let lived_ms = (ends.first_us.saturating_sub(called_us) / 1000) as i64;
    let least_ms = ms - ms * i64::from(case.early_permille()) / 1000 - SKEW_MS as i64;
    let allowed_ms = match lived_ms < least_ms {
        // Behind a leader change `T` may make up at once for what it was late.
        true => case.errors.ahead_ms(called_us, ends.first_us) + case.lag_ms(matched.step, to),
        false => 0,
    };
    score.check(Invariant::I6, lived_ms + allowed_ms as i64 >= least_ms, || {
        let what = format!(
            "it was given {ms} ms, and ended with entry {} after {lived_ms} ms; at least {} ms were due",
            ends.index,
            least_ms - allowed_ms as i64
        );
        Finding { index: Some(ends.index), ..Finding::of(Invariant::I6, what, vec![matched.operation.clone()]) }
    });
}

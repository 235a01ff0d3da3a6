//! I7: an acknowledged write survives, or was overwritten, deleted or expired by something that may have come after.
//!
//! [`crate::linear`] finds this too when the final reads are part of the history, and finds more. This check needs no
//! search, so it always decides, and names the write that was lost. It looks at keys on which nothing grows or is renamed.

use crate::parts::{Deed, Part, Touch, touches};
use crate::{Condition, Consistency, Deadline, History, Operation, Reply, Ttl, Verdict, Word};

/// Checks each key against the last linearizable read of it that was called after all acknowledged writes had returned.
/// `checked` counts the acknowledged writes of keys that have one.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    for (key, touches) in touches(history) {
        let grows = |part: &Part| matches!(part.deed, Deed::IncrBy(_) | Deed::Append(_) | Deed::Rename { .. });
        if touches.iter().any(|(_, part)| grows(part)) {
            continue;
        }
        let writes: Vec<&Touch<'_>> = touches.iter().filter(|(_, part)| !part.was_nothing()).collect();
        let last_us = writes.iter().filter_map(|(operation, _)| operation.certain_us()).max().unwrap_or(0);
        let is_final = |operation: &Operation| {
            operation.called_us > last_us
                && operation.consistency == Consistency::Linearizable
                && !operation.action.writes()
        };
        let finals = touches.iter().filter_map(|(operation, part)| match (&part.deed, &part.reply) {
            (Deed::Get, Some(reply)) if is_final(operation) => Some((*operation, reply)),
            _ => None,
        });
        if let Some((read, found)) = finals.last() {
            verdict.checked += writes.iter().filter(|(operation, _)| operation.reply().is_some()).count() as u64;
            judge(&key, &writes, read, found, &mut verdict);
        }
    }
    verdict
}

fn judge(key: &Word, writes: &[&Touch<'_>], read: &Operation, found: &Reply, verdict: &mut Verdict) {
    let called = || writes.iter().filter(|(operation, _)| operation.called_us <= read.returned_us.unwrap_or(u64::MAX));
    // What can have left things as they were found.
    let causes: Vec<&&Touch<'_>> = match found {
        Reply::Bytes(value) => called().filter(|(_, part)| part.can_leave(key, value)).collect(),
        Reply::Nil => called().filter(|(_, part)| removes(&part.deed)).collect(),
        _ => return,
    };
    let contradicts = |part: &Part| match found {
        Reply::Bytes(value) => leaves_other_than(part, value),
        _ => leaves_value(part) && !removes(&part.deed),
    };
    let lost = writes
        .iter()
        .filter(|(write, part)| write.reply().is_some() && contradicts(part))
        .filter(|(write, _)| causes.iter().all(|(cause, _)| cause.id != write.id && cause.before(write)))
        .max_by_key(|(write, _)| write.called_us);
    if let Some((write, _)) = lost {
        let last_cause = causes.iter().map(|(cause, _)| *cause).max_by_key(|cause| cause.called_us);
        let what = format!("key {key:?}: #{} was acknowledged and is lost: the end found {found}", write.id);
        verdict.violation(what, last_cause.into_iter().chain([*write, read]));
    } else if let (Reply::Bytes(value), true) = (found, causes.is_empty()) {
        verdict.violation(format!("key {key:?}: the end found {value:?}, which nobody wrote"), [read]);
    }
}

/// Whether the key can be missing because of this, then or later.
fn removes(deed: &Deed) -> bool {
    matches!(deed, Deed::Del | Deed::Expire(_) | Deed::Set { ttl: Some(_), .. })
}

/// Whether it certainly left a value.
fn leaves_value(part: &Part) -> bool {
    match &part.deed {
        Deed::GetSet(_) => true,
        Deed::Set { condition, get, ttl, .. } => {
            let past = matches!(ttl, Some(Ttl::Until(Deadline::AtMs(_))));
            let done = match condition {
                None => true,
                Some(Condition::Exists | Condition::Missing | Condition::Equals(_)) => {
                    !get && part.reply == Some(Reply::Ok)
                }
            };
            done && !past
        }
        _ => false,
    }
}

/// Whether after it the key certainly had another value, or none.
fn leaves_other_than(part: &Part, value: &Word) -> bool {
    match &part.deed {
        Deed::Del | Deed::Expire(Deadline::AfterMs(..=0)) => true,
        Deed::Set { value: new, .. } | Deed::GetSet(new) => new != value && leaves_value(part),
        _ => false,
    }
}

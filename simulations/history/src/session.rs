//! What a client is promised that goes from node to node: its positions never go back; a key that was nil stays nil
//! until somebody writes it (I4); and a time left never grows without a write (I5).
//!
//! Stale reads are promised nothing, and are left out.

use std::collections::HashMap;

use crate::parts::{Deed, Part, Touch, touches};
use crate::{Consistency, History, Operation, Reply, Verdict, Word};

/// How many readings of a key's time left each one is compared with.
const READINGS_MAX: usize = 50;

/// Positions, I4 and I5, in one verdict. See [`positions`], [`nil_stays_nil`], [`ttl_never_grows`].
pub fn check(history: &History, across_ms: i64) -> Verdict {
    let mut verdict = positions(history);
    verdict.add(nil_stays_nil(history));
    verdict.add(ttl_never_grows(history, across_ms));
    verdict
}

fn is_promised(operation: &Operation) -> bool {
    operation.action.writes() || operation.consistency.keeps_sessions()
}

fn is_linearizable(operation: &Operation) -> bool {
    operation.action.writes() || operation.consistency == Consistency::Linearizable
}

/// The applied indexes at which a client was answered never go back. `checked` counts the answers that have one.
pub fn positions(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    let mut highest: HashMap<u32, &Operation> = HashMap::new();
    for operation in history.operations() {
        if operation.applied.is_none() || operation.reply().is_none() || !is_promised(operation) {
            continue;
        }
        verdict.checked += 1;
        let high = highest.entry(operation.client).or_insert(operation);
        if high.applied > operation.applied && high.before(operation) {
            let what = format!("client {}: its position went back at #{}", operation.client, operation.id);
            verdict.violation(what, [*high, operation]);
        } else if high.applied < operation.applied {
            *high = operation;
        }
    }
    verdict
}

/// What each client certainly has behind it at each operation.
struct Past {
    /// Every write that had returned before this is behind the operation.
    cover_us: Vec<u64>,
}

impl Past {
    fn new(history: &History) -> Past {
        let mut latest: HashMap<u32, u64> = HashMap::new();
        let mut cover_us = Vec::with_capacity(history.len());
        for operation in history.operations() {
            let cover = latest.entry(operation.client).or_default();
            if is_linearizable(operation) && operation.reply().is_some() {
                *cover = (*cover).max(operation.called_us);
            }
            cover_us.push(*cover);
        }
        Past { cover_us }
    }

    /// Whether the write was certainly carried out before the read was.
    fn holds(&self, write: &Operation, read: &Operation) -> bool {
        let covered = write.certain_us().is_some_and(|returned| returned < self.cover_us[read.id as usize]);
        let own = write.client == read.client && write.before(read);
        let placed = match (write.reply(), write.applied, read.applied) {
            (Some(_), Some(write), Some(read)) => write <= read,
            _ => false,
        };
        covered || own || placed
    }
}

/// I4: in a session, a key that was nil stays nil until somebody writes it, whichever node answers. `checked` counts the
/// readings that follow a nil.
pub fn nil_stays_nil(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    let past = Past::new(history);
    for (key, touches) in touches(history) {
        let mut nils: HashMap<u32, &Operation> = HashMap::new();
        let mut seen: HashMap<(u32, &Word), &Operation> = HashMap::new();
        for (operation, part) in touches.iter().filter(|(operation, part)| reads(operation, part)) {
            let client = operation.client;
            let Some(found) = found(part) else { continue };
            let nil = nils.get(&client).copied().filter(|nil| nil.before(operation));
            verdict.checked += u64::from(nil.is_some());
            match found {
                Found::Nil => {
                    nils.insert(client, operation);
                }
                Found::There(value) => {
                    if let Some(nil) = nil {
                        let writers = writers(&touches, &key, value, operation);
                        let seen = value.and_then(|value| seen.get(&(client, value)));
                        let again = seen.filter(|_| writers.len() <= 1);
                        if again.is_some() || writers.iter().all(|writer| past.holds(writer, nil)) {
                            let what = format!(
                                "client {client}: key {key:?} was nil at #{} and there again at #{}, and nobody can \
                                 have written it in between",
                                nil.id, operation.id
                            );
                            verdict.violation(what, writers.into_iter().chain(again.copied()).chain([nil, *operation]));
                        }
                    }
                    nils.remove(&client);
                    seen.extend(value.map(|value| ((client, value), *operation)));
                }
            }
        }
    }
    verdict
}

fn reads(operation: &Operation, part: &Part) -> bool {
    !part.deed.writes() && !operation.action.writes() && is_promised(operation)
}

enum Found<'a> {
    Nil,
    There(Option<&'a Word>),
}

fn found(part: &Part) -> Option<Found<'_>> {
    match (&part.deed, part.reply.as_ref()?) {
        (Deed::Get, Reply::Nil) | (Deed::Exists, Reply::Int(0)) | (Deed::Pttl, Reply::Int(-2)) => Some(Found::Nil),
        (Deed::Get, Reply::Bytes(value)) => Some(Found::There(Some(value))),
        (Deed::Exists | Deed::Pttl, Reply::Int(_)) => Some(Found::There(None)),
        _ => None,
    }
}

/// Who can have brought the key what the read found.
fn writers<'a>(touches: &[Touch<'a>], key: &Word, value: Option<&Word>, read: &Operation) -> Vec<&'a Operation> {
    let creates = |part: &Part| match (&part.deed, value) {
        (_, Some(value)) => part.can_leave(key, value),
        (Deed::Rename { to }, None) => to == key && !part.was_nothing(),
        (Deed::Set { .. } | Deed::GetSet(_) | Deed::IncrBy(_) | Deed::Append(_), None) => !part.was_nothing(),
        _ => false,
    };
    let in_time = |write: &Operation| read.returned_us.is_none_or(|returned| write.called_us <= returned);
    let writers = touches.iter().filter(|(operation, part)| in_time(operation) && creates(part));
    writers.map(|(operation, _)| *operation).collect()
}

/// I5: a time left never grows without a write: not at all on one node in one term, and across nodes by no more than
/// `across_ms` (a tick, what followers lag, and the skew bound). Nor does a key get or lose its end without one.
/// `checked` counts the pairs of readings between which nobody can have written.
pub fn ttl_never_grows(history: &History, across_ms: i64) -> Verdict {
    let mut verdict = Verdict::default();
    let past = Past::new(history);
    for (key, touches) in touches(history) {
        let writes: Vec<&Operation> =
            touches.iter().filter(|(_, part)| !part.was_nothing()).map(|(operation, _)| *operation).collect();
        let readings: Vec<(&Operation, i64)> = touches
            .iter()
            .filter(|(operation, part)| reads(operation, part))
            .filter_map(|(operation, part)| match (&part.deed, &part.reply) {
                (Deed::Pttl, Some(Reply::Int(left))) => Some((*operation, *left)),
                _ => None,
            })
            .collect();
        for (at, (second, later)) in readings.iter().enumerate() {
            for (first, earlier) in &readings[at.saturating_sub(READINGS_MAX)..at] {
                let comparable = is_linearizable(second) || first.client == second.client;
                let in_time = |write: &Operation| second.returned_us.is_none_or(|time| write.called_us <= time);
                let between = |write: &Operation| in_time(write) && !past.holds(write, first);
                if !comparable || !first.before(second) || writes.iter().any(|write| between(write)) {
                    continue;
                }
                verdict.checked += 1;
                let one_place = first.node.is_some() && first.node == second.node && first.term.is_some();
                let exact = one_place && first.term == second.term;
                let allowed = if exact { 0 } else { across_ms };
                let wrong = match (earlier, later) {
                    (-2, _) => None,
                    (-1, -1) | (0.., -2) => None,
                    (-1, -2) => Some("vanished".to_owned()),
                    (-1, _) => Some("got an end".to_owned()),
                    (_, -1) => Some("lost its end".to_owned()),
                    _ if later - earlier > allowed => Some(format!("had {earlier} ms left and then {later} ms")),
                    _ => None,
                };
                if let Some(wrong) = wrong {
                    let what = format!("key {key:?} {wrong}, and nobody can have written it in between");
                    verdict.violation(what, [*first, *second]);
                }
            }
        }
    }
    verdict
}

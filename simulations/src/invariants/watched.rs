//! A transaction that depends on watched keys goes ahead only if nobody has touched them since the `WATCH`: no write behind the state that
//! the watch began with, and none before it in its own entry. A write that changes nothing touches, too, and so does the end of a key.
//!
//! Strictly, where that is certain: an entry that nobody had applied before the `WATCH` was answered is behind its state.

use std::collections::BTreeMap;
use std::ops::Bound;

use talon_core::{Call, Request};
use talon_history::model::Entry;
use talon_history::{Action, Operation, Reply, Word};

use super::{Case, Finding, Invariant, Score};
use crate::ledger::CommittedContent;
use crate::replay::{Done, Replay};
use crate::workloads::{WorkloadKind, prefix};

/// What is there under the keys that are watched.
type Rows = BTreeMap<Word, Entry>;

/// When a key was touched: the entry and the call in it, and when that entry was first applied.
type Touch = (u64, usize, u64);

/// Replays the ledger, and looks at each transaction at its place.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    let mut watching: BTreeMap<u64, Vec<&Operation>> = BTreeMap::new();
    for matched in &case.matched {
        if matches!(matched.operation.action, Action::Watched { .. }) {
            watching.entry(case.steps[matched.step].index).or_default().push(matched.operation);
        }
    }
    let mut touches: BTreeMap<Word, Vec<Touch>> = BTreeMap::new();
    let mut replay = Replay::default();
    for (index, entry) in case.entries {
        let mut rows: Vec<Rows> = Vec::new();
        let keep = names_watched(&entry.content);
        let stepped = replay.each(*index, entry, |model| {
            if keep {
                rows.push(watched_rows(model.entries()));
            }
        });
        // What is wrong with the entry was said when it was first applied.
        let Ok(all_done) = stepped else { return };
        for (place, done) in all_done.iter().enumerate() {
            let Some(before) = rows.get(place) else { continue };
            for operation in watching.get(index).into_iter().flatten() {
                if done.answers(operation) {
                    one(score, operation, (*index, place), before, &touches);
                }
            }
            for key in touched(done, before) {
                touches.entry(key).or_default().push((*index, place, entry.first.1));
            }
        }
    }
}

fn one(
    score: &mut Score,
    operation: &Operation,
    at: (u64, usize),
    before: &Rows,
    touches: &BTreeMap<Word, Vec<Touch>>,
) {
    let Action::Watched { since_us, seen, .. } = &operation.action else { return };
    for (key, value) in seen {
        let found = before.get(key).map(|entry| &entry.value);
        score.check(Invariant::Watched, found == value.as_ref(), || {
            let what =
                format!("{key:?} was seen as {value:?} since it was watched, and is {found:?} before entry {}", at.0);
            Finding { index: Some(at.0), ..Finding::of(Invariant::Watched, what, vec![operation.clone()]) }
        });
        let since = touches
            .get(key)
            .into_iter()
            .flatten()
            .rev()
            .find(|(index, place, first_us)| first_us > since_us && (*index, *place) < at);
        score.check(Invariant::Watched, since.is_none(), || {
            let touch = since.map_or(0, |(index, ..)| *index);
            let what =
                format!("{key:?} was touched by entry {touch} since it was watched, and entry {} went ahead", at.0);
            Finding { index: Some(at.0), ..Finding::of(Invariant::Watched, what, vec![operation.clone()]) }
        });
    }
}

/// Whether an entry is about keys that are watched at all.
fn names_watched(content: &CommittedContent) -> bool {
    let CommittedContent::Writes { calls, .. } = content else { return false };
    let names =
        |request: &Request| request.args.iter().any(|arg| arg.starts_with(prefix(WorkloadKind::Watched).as_bytes()));
    calls.iter().any(|call| match call {
        Call::One(request) => names(request),
        Call::Transaction(requests) => requests.iter().any(names),
    })
}

fn watched_rows(entries: &Rows) -> Rows {
    under(entries, prefix(WorkloadKind::Watched).as_bytes()).map(|(key, entry)| (key.clone(), entry.clone())).collect()
}

fn under<'a>(rows: &'a Rows, prefix: &'a [u8]) -> impl Iterator<Item = (&'a Word, &'a Entry)> {
    let from = Word::from(prefix.to_vec());
    rows.range((Bound::Included(from), Bound::Unbounded)).take_while(move |(key, _)| key.starts_with(prefix))
}

/// The keys that a call has certainly touched.
fn touched(done: &Done, before: &Rows) -> Vec<Word> {
    let mut keys = Vec::new();
    for (action, reply) in done.actions.iter().zip(&done.replies) {
        match (action, reply) {
            (Action::Set { key, .. }, Reply::Ok) | (Action::Expire(key, _), Reply::Int(1)) => keys.push(key.clone()),
            // What a call removes that it wrote itself is in here already.
            (Action::Del(gone), _) => keys.extend(gone.iter().filter(|key| before.contains_key(*key)).cloned()),
            (Action::DelPrefix(gone), _) => keys.extend(under(before, gone).map(|(key, _)| key.clone())),
            _ => {}
        }
    }
    keys.retain(|key| key.starts_with(prefix(WorkloadKind::Watched).as_bytes()));
    keys
}

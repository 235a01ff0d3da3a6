//! From a history to the acts on each key, or on a few keys that renames tie together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::keys::{Act, Does, End, NEVER, Step};
use super::{Options, Tolerance};
use crate::parts::{Deed, Part, known_keys, parts};
use crate::{Action, Consistency, Deadline, History, Operation, Outcome, Reply, Ttl, Verdict, Word};

/// The acts on keys that have to be judged together.
pub(super) struct Bundle {
    pub(super) keys: Vec<Word>,
    pub(super) acts: Vec<Arc<Act>>,
}

/// All bundles, in the order of their keys. Answers that fit no question become violations.
pub(super) fn bundles(history: &History, options: &Options, verdict: &mut Verdict) -> Vec<Bundle> {
    let tolerance = &options.tolerance;
    let known = known_keys(history);
    let places = places(history, &known);
    let count = places.values().map(|(bundle, _)| bundle + 1).max().unwrap_or(0);
    let mut bundles: Vec<Bundle> = (0..count).map(|_| Bundle { keys: Vec::new(), acts: Vec::new() }).collect();
    for (key, (bundle, number)) in &places {
        let keys = &mut bundles[*bundle].keys;
        keys.resize(keys.len().max(usize::from(*number) + 1), Word::default());
        keys[usize::from(*number)] = (*key).clone();
    }
    for operation in history.operations().iter().filter(|operation| counts(operation)) {
        let parts = match parts(&operation.action, operation.reply(), &known) {
            Ok(parts) => parts,
            Err(what) => {
                verdict.violation(what, [operation]);
                continue;
            }
        };
        let called = called(operation, options) as i64;
        let returned = operation.certain_us().map_or(NEVER, |us| us as i64);
        let mut by_bundle: BTreeMap<usize, Vec<Step>> = BTreeMap::new();
        for part in &parts {
            let (bundle, number) = places[&part.key];
            let steps = by_bundle.entry(bundle).or_default();
            steps.push(step(part, number, called, returned, tolerance, |key| places[key].1));
        }
        for (bundle, steps) in by_bundle {
            bundles[bundle].acts.push(Arc::new(Act {
                id: operation.id,
                client: operation.client,
                called,
                returned,
                writes: steps.iter().any(|step| !matches!(step.does, Does::Get | Does::Exists | Does::Pttl(_))),
                steps,
                text: String::new(),
            }));
        }
    }
    // A read that is part of a write of unknown outcome says nothing.
    for bundle in &mut bundles {
        bundle.acts.retain(|act| act.writes || act.returned != NEVER);
    }
    bundles
}

fn counts(operation: &Operation) -> bool {
    match operation.outcome {
        Outcome::Refused(_) => false,
        Outcome::Unknown(_) => operation.action.writes(),
        Outcome::Reply(_) => {
            let is_judged = matches!(operation.consistency, Consistency::Linearizable | Consistency::Bounded(_));
            operation.action.writes() || is_judged
        }
    }
}

/// From when on it may have been carried out. A read that may be so old answers as if it had been called so much sooner.
fn called(operation: &Operation, options: &Options) -> u64 {
    match operation.consistency {
        Consistency::Bounded(ms) if !operation.action.writes() => {
            let old_us = ms.saturating_mul(1000 + u64::from(options.bound_permille));
            operation.called_us.saturating_sub(old_us)
        }
        _ => operation.called_us,
    }
}

/// Which bundle each key is in, and its number there: renames tie keys together.
fn places<'a>(history: &History, known: &'a BTreeSet<Word>) -> HashMap<&'a Word, (usize, u16)> {
    let index: HashMap<&Word, usize> = known.iter().enumerate().map(|(index, key)| (key, index)).collect();
    let mut parent: Vec<usize> = (0..known.len()).collect();
    for operation in history.operations() {
        for (from, to) in renames(&operation.action) {
            let (from, to) = (root(&mut parent, index[from]), root(&mut parent, index[to]));
            parent[from.max(to)] = from.min(to);
        }
    }
    let mut bundles: HashMap<usize, (usize, u16)> = HashMap::new();
    let mut places = HashMap::new();
    for (at, key) in known.iter().enumerate() {
        let next = bundles.len();
        let (bundle, size) = bundles.entry(root(&mut parent, at)).or_insert((next, 0));
        places.insert(key, (*bundle, *size));
        *size += 1;
    }
    places
}

fn renames(action: &Action) -> Vec<(&Word, &Word)> {
    match action {
        Action::Rename { from, to } => vec![(from, to)],
        Action::Transaction(actions) | Action::Watched { actions, .. } => actions.iter().flat_map(renames).collect(),
        _ => Vec::new(),
    }
}

fn root(parent: &mut [usize], mut at: usize) -> usize {
    while parent[at] != at {
        parent[at] = parent[parent[at]];
        at = parent[at];
    }
    at
}

fn step(
    part: &Part,
    key: u16,
    called: i64,
    returned: i64,
    tolerance: &Tolerance,
    number_of: impl Fn(&Word) -> u16,
) -> Step {
    let does = match &part.deed {
        Deed::Get => Does::Get,
        Deed::Exists => Does::Exists,
        Deed::Pttl => Does::Pttl(match part.reply {
            Some(Reply::Int(left @ 0..)) => Some(tolerance.end(Deadline::AfterMs(left), called, returned)),
            _ => None,
        }),
        Deed::Set { ttl: Some(Ttl::Until(Deadline::AfterMs(..=0) | Deadline::AtMs(..=0))), .. } => Does::SetRefused,
        Deed::Set { value, ttl, condition, get } => Does::Set {
            value: value.clone(),
            end: match ttl {
                None => Some(End::NONE),
                Some(Ttl::Keep) => None,
                Some(Ttl::Until(deadline)) => Some(tolerance.end(*deadline, called, returned)),
            },
            condition: condition.clone(),
            get: *get,
        },
        Deed::Del => Does::Del,
        Deed::IncrBy(by) => Does::IncrBy(*by),
        Deed::Append(tail) => Does::Append(tail.clone()),
        Deed::GetSet(value) => Does::GetSet(value.clone()),
        Deed::Expire(Deadline::AfterMs(..=0)) => Does::Expire(None),
        Deed::Expire(deadline) => Does::Expire(Some(tolerance.end(*deadline, called, returned))),
        Deed::Persist => Does::Persist,
        Deed::Rename { to } => Does::Rename(number_of(to)),
    };
    Step { key, does, expected: part.reply.clone() }
}

/// What makes the search short, and keeps its result.
pub(super) struct Eased {
    /// The acts, without writes of unknown outcome that nobody saw.
    pub(super) without_unseen: Vec<Arc<Act>>,
    /// All acts.
    pub(super) all: Vec<Arc<Act>>,
}

/// Writes of unknown outcome make the search long, because they may stand anywhere. But one whose value was seen, and
/// came from nobody else, was carried out before the read that saw it returned. And if there is an order without those
/// that nobody saw, there is one.
pub(super) fn eased(acts: &[Arc<Act>]) -> Eased {
    let grown = |step: &Step| matches!(step.does, Does::IncrBy(_) | Does::Append(_));
    if acts.iter().all(|act| act.returned != NEVER) || acts.iter().any(|act| act.steps.iter().any(grown)) {
        return Eased { without_unseen: acts.to_vec(), all: acts.to_vec() };
    }
    let mut writers: HashMap<&Word, usize> = HashMap::new();
    let mut seen_by: HashMap<&Word, i64> = HashMap::new();
    for act in acts {
        for step in &act.steps {
            if let Does::Set { value, .. } | Does::GetSet(value) = &step.does {
                *writers.entry(value).or_default() += 1;
            }
            if let Some(Reply::Bytes(value)) = &step.expected {
                let seen = seen_by.entry(value).or_insert(NEVER);
                *seen = act.returned.min(*seen);
            }
            // It says that the value was there.
            if let (Does::Set { condition: Some(crate::Condition::Equals(old)), get: false, .. }, Some(Reply::Ok)) =
                (&step.does, &step.expected)
            {
                let seen = seen_by.entry(old).or_insert(NEVER);
                *seen = act.returned.min(*seen);
            }
        }
    }
    let mut eased = Eased { without_unseen: Vec::new(), all: Vec::new() };
    for act in acts {
        let values: Vec<&Word> = act.steps.iter().filter_map(written).collect();
        let only_values = values.len() == act.steps.len();
        let seen = values.iter().filter(|value| writers[**value] == 1).filter_map(|value| seen_by.get(*value)).min();
        let act = match seen {
            Some(seen) if act.returned == NEVER => {
                let mut act = Act::clone(act);
                act.returned = *seen;
                Arc::new(act)
            }
            _ => Arc::clone(act),
        };
        let unseen = act.returned == NEVER && only_values && !values.iter().any(|value| seen_by.contains_key(value));
        if !unseen {
            eased.without_unseen.push(Arc::clone(&act));
        }
        eased.all.push(act);
    }
    eased
}

fn written(step: &Step) -> Option<&Word> {
    match &step.does {
        Does::Set { value, .. } | Does::GetSet(value) => Some(value),
        _ => None,
    }
}

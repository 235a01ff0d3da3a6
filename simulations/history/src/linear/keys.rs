//! The sequential rules that porcupine tries orders against: a few keys, each perhaps there.
//!
//! Whether a key with an end is still there is not a function of state and operation: it depends on when. So a state is
//! a set of possibilities, and a key with an end is certainly there before `lo` and certainly gone after `hi`. Between
//! them, an operation may find either; what it found then holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use porcupine_rs::Model;

use crate::{Condition, Reply, Word};

/// Later than everything: never.
pub(super) const NEVER: i64 = i64::MAX;

/// In which time, in the history's µs, a key ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct End {
    /// It is certainly there before; [`NEVER`]: it has no end.
    pub(super) lo: i64,
    /// It is certainly gone after; [`NEVER`]: nobody knows.
    pub(super) hi: i64,
}

impl End {
    pub(super) const NONE: End = End { lo: NEVER, hi: NEVER };
}

/// A key that is there, or was when it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Live {
    value: Word,
    end: End,
}

/// One possibility: the keys that are there, by their number.
pub(super) type Keys = BTreeMap<u16, Live>;

/// What is done to a key.
#[derive(Clone, Debug)]
pub(super) enum Does {
    Get,
    Exists,
    /// The end that the answer means; `None`: the answer names none.
    Pttl(Option<End>),
    /// `end` is `None` for KEEPTTL.
    Set {
        value: Word,
        end: Option<End>,
        condition: Option<Condition>,
        get: bool,
    },
    /// A SET that is refused for its time.
    SetRefused,
    Del,
    IncrBy(i64),
    Append(Word),
    GetSet(Word),
    /// `None`: at once.
    Expire(Option<End>),
    Persist,
    Rename(u16),
}

/// One deed of an operation.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) key: u16,
    pub(super) does: Does,
    pub(super) expected: Option<Reply>,
}

impl Step {
    fn is_blind(&self) -> bool {
        match &self.does {
            Does::Set { end: Some(_), condition: None, get: false, .. } => {
                matches!(self.expected, None | Some(Reply::Ok))
            }
            Does::Del => self.expected.is_none(),
            _ => false,
        }
    }
}

/// What one operation did to the keys at hand, all at once.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) id: u64,
    pub(super) client: u32,
    pub(super) called: i64,
    pub(super) returned: i64,
    pub(super) writes: bool,
    pub(super) steps: Vec<Step>,
    /// For the picture; empty otherwise.
    pub(super) text: String,
}

impl Act {
    /// Whether it leaves the same state wherever it stands, and can stand everywhere.
    pub(super) fn is_blind(&self) -> bool {
        self.steps.iter().all(Step::is_blind)
    }

    /// Whether it can stand everywhere.
    pub(super) fn never_fails(&self) -> bool {
        self.steps.iter().all(|step| step.expected.is_none() || step.is_blind())
    }

    /// The same without its answer, as if it were still open.
    pub(super) fn open(&self) -> Act {
        let mut open = self.clone();
        open.returned = NEVER;
        for step in &mut open.steps {
            step.expected = None;
            match &mut step.does {
                Does::Set { end: Some(end), .. } | Does::Expire(Some(end)) => end.hi = NEVER,
                _ => {}
            }
        }
        open
    }
}

/// The rules.
#[derive(Clone)]
pub(super) struct Rules;

impl Model for Rules {
    type State = Vec<Keys>;
    type Op = Arc<Act>;
    type Metadata = ();

    fn init() -> Vec<Keys> {
        vec![Keys::new()]
    }

    fn step(state: &Vec<Keys>, act: &Arc<Act>) -> (bool, Vec<Keys>) {
        let mut next = Vec::new();
        match &act.steps[..] {
            [step] => state.iter().for_each(|keys| take(keys, step, act, &mut next)),
            steps => {
                next.clone_from(state);
                for step in steps {
                    let before = std::mem::take(&mut next);
                    before.iter().for_each(|keys| take(keys, step, act, &mut next));
                }
            }
        }
        next.sort_unstable();
        next.dedup();
        (!next.is_empty(), next)
    }

    fn describe_operation(act: &Arc<Act>) -> String {
        act.text.clone()
    }

    fn describe_state(state: &Vec<Keys>) -> String {
        let key = |(number, live): (&u16, &Live)| match live.end {
            End::NONE => format!("key {number} = {:?}", live.value),
            End { lo, hi: NEVER } => format!("key {number} = {:?} until {lo} µs or later", live.value),
            End { lo, hi } => format!("key {number} = {:?} until {lo}..{hi} µs", live.value),
        };
        let one = |keys: &Keys| match keys.is_empty() {
            true => "nothing".to_owned(),
            false => keys.iter().map(key).collect::<Vec<_>>().join(", "),
        };
        state.iter().map(one).collect::<Vec<_>>().join(" or ")
    }
}

/// Adds all that can be after a step to `next`.
fn take(keys: &Keys, step: &Step, act: &Act, next: &mut Vec<Keys>) {
    let mut branch = |found: Option<&Live>| {
        let (reply, change) = carry_out(step, found);
        if step.expected.as_ref().is_some_and(|expected| !same(expected, &reply)) {
            return;
        }
        let mut keys = keys.clone();
        if found.is_none() {
            keys.remove(&step.key);
        }
        match change {
            Change::None => {}
            Change::Remove => {
                keys.remove(&step.key);
            }
            Change::Put(live) => {
                keys.insert(step.key, live);
            }
            Change::Move(to) => {
                if let Some(live) = keys.remove(&step.key) {
                    keys.insert(to, live);
                }
            }
        }
        next.push(keys);
    };
    match keys.get(&step.key) {
        None => branch(None),
        Some(live) => {
            if act.called < live.end.hi || live.end.hi == NEVER {
                branch(Some(live));
            }
            if live.end.lo != NEVER && act.returned >= live.end.lo {
                branch(None);
            }
        }
    }
}

enum Change {
    None,
    Remove,
    Put(Live),
    Move(u16),
}

/// What a deed answers and changes, given what it found. An error is any error, and a time left is any that fits.
fn carry_out(step: &Step, found: Option<&Live>) -> (Reply, Change) {
    let error = || Reply::Error(String::new());
    let value = || found.map_or(Reply::Nil, |live| Reply::Bytes(live.value.clone()));
    let end = || found.map_or(End::NONE, |live| live.end);
    match &step.does {
        Does::Get => (value(), Change::None),
        Does::Exists => (Reply::Int(found.is_some().into()), Change::None),
        Does::Pttl(meant) => {
            let reply = match (found.map(|live| live.end), meant) {
                (None, _) => Reply::Int(-2),
                (Some(End::NONE), _) => Reply::Int(-1),
                (Some(end), Some(meant)) if meant.lo <= end.hi && meant.hi >= end.lo => {
                    step.expected.clone().unwrap_or(Reply::Nil)
                }
                (Some(_), _) => error(),
            };
            (reply, Change::None)
        }
        Does::Set { value: new, end: new_end, condition, get } => {
            let allowed = match condition {
                None => true,
                Some(Condition::Missing) => found.is_none(),
                Some(Condition::Exists) => found.is_some(),
                Some(Condition::Equals(old)) => found.is_some_and(|live| live.value == *old),
            };
            let reply = match (get, allowed) {
                (true, _) => value(),
                (false, true) => Reply::Ok,
                (false, false) => Reply::Nil,
            };
            let put = || Change::Put(Live { value: new.clone(), end: new_end.unwrap_or_else(end) });
            (reply, if allowed { put() } else { Change::None })
        }
        Does::SetRefused => (error(), Change::None),
        Does::Del => (Reply::Int(found.is_some().into()), Change::Remove),
        Does::IncrBy(by) => {
            let old = found.map_or(Some(0), |live| live.value.integer());
            match old.and_then(|old| old.checked_add(*by)) {
                Some(new) => {
                    let live = Live { value: new.to_string().into(), end: end() };
                    (Reply::Int(new), Change::Put(live))
                }
                None => (error(), Change::None),
            }
        }
        Does::Append(tail) => {
            let value = [found.map_or(&[][..], |live| &live.value), tail].concat();
            let length = value.len() as i64;
            (Reply::Int(length), Change::Put(Live { value: value.into(), end: end() }))
        }
        Does::GetSet(new) => (value(), Change::Put(Live { value: new.clone(), end: End::NONE })),
        Does::Expire(new) => match (found, new) {
            (None, _) => (Reply::Int(0), Change::None),
            (Some(_), None) => (Reply::Int(1), Change::Remove),
            (Some(live), Some(end)) => (Reply::Int(1), Change::Put(Live { value: live.value.clone(), end: *end })),
        },
        Does::Persist => match found {
            Some(live) if live.end != End::NONE => {
                (Reply::Int(1), Change::Put(Live { value: live.value.clone(), end: End::NONE }))
            }
            _ => (Reply::Int(0), Change::None),
        },
        Does::Rename(to) => match found {
            None => (error(), Change::None),
            Some(_) => (Reply::Ok, Change::Move(*to)),
        },
    }
}

fn same(expected: &Reply, reply: &Reply) -> bool {
    match (expected, reply) {
        (Reply::Error(_), Reply::Error(_)) => true,
        _ => expected == reply,
    }
}

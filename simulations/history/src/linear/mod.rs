//! Linearizability, key by key: is there one order of all operations on a key, each between its call and its return,
//! in which every answer is right?
//!
//! Keys are judged alone, because linearizability is a property of each object; keys that a RENAME ties together are
//! judged as one object. Of an operation on many keys, each key's share is judged, and that they happen at one moment is
//! the business of [`crate::atomic`]. Operations that were refused did not happen. Those of unknown outcome may stand
//! anywhere after their call, the end of all included, which is the same as never.

mod keys;
mod prepare;
mod shrink;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use porcupine_rs::CheckResult;

use self::keys::{Act, End, NEVER, Rules};
use self::prepare::{Bundle, bundles, eased};
use crate::{Deadline, History, Verdict};

/// How the replicated clock may run against true time. It has to hold between any two moments of the history, leader
/// changes and pauses included, and for what PTTL answers too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// A key with so long to live may end so much earlier, in thousandths.
    pub early_permille: u32,
    /// And so much on top.
    pub early_ms: u64,
    /// It may end so much later, in thousandths.
    pub late_permille: u32,
    /// And so much on top.
    pub late_ms: u64,
    /// How absolute times lie; `None`: nothing is known of them, and a key with one may end at any time.
    pub absolute: Option<Absolute>,
}

/// How Unix times lie on the history's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absolute {
    /// The true Unix time when the history's clock was 0, in ms.
    pub unix_ms_at_zero: i64,
    /// How far the replicated clock may be ahead of it.
    pub early_ms: u64,
    /// How far it may be behind.
    pub late_ms: u64,
}

impl Default for Tolerance {
    /// The design's bounds in a healthy cluster: 5 % fast or half speed, the skew bound, and a second for ticks.
    fn default() -> Self {
        Tolerance { early_permille: 50, early_ms: 500, late_permille: 1000, late_ms: 1000, absolute: None }
    }
}

impl Tolerance {
    /// When a key ends that was given this deadline by an operation with these times.
    fn end(&self, deadline: Deadline, called: i64, returned: i64) -> End {
        let us = |ms: u64| i64::try_from(ms).unwrap_or(NEVER).saturating_mul(1000);
        match (deadline, self.absolute) {
            (Deadline::AfterMs(ms), _) => {
                let least = ms.saturating_mul(1000 - i64::from(self.early_permille).min(1000));
                let most = ms.saturating_mul(1000 + i64::from(self.late_permille));
                End {
                    lo: called.saturating_add(least).saturating_sub(us(self.early_ms)).min(NEVER - 1),
                    hi: returned.saturating_add(most).saturating_add(us(self.late_ms)),
                }
            }
            (Deadline::AtMs(ms), Some(absolute)) => {
                let at = ms.saturating_sub(absolute.unix_ms_at_zero).saturating_mul(1000);
                End {
                    lo: at.saturating_sub(us(absolute.early_ms)).min(NEVER - 1),
                    hi: at.saturating_add(us(absolute.late_ms)),
                }
            }
            (Deadline::AtMs(_), None) => End { lo: i64::MIN, hi: NEVER },
        }
    }
}

/// How to check.
#[derive(Clone, Debug)]
pub struct Options {
    /// How exactly keys end.
    pub tolerance: Tolerance,
    /// How long to search for each key. What takes longer is counted as undecided.
    pub time_limit: Duration,
    /// By how much a node may misjudge how old an answer is, in thousandths: its clock may be slow.
    pub bound_permille: u32,
    /// Where to write the picture of a violation, as HTML; the folder has to exist.
    pub pictures: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        let time_limit = Duration::from_secs(10);
        Options { tolerance: Tolerance::default(), time_limit, bound_permille: 0, pictures: None }
    }
}

/// Checks all keys of a history. `checked` and `undecided` count operations on keys.
pub fn check(history: &History, options: &Options) -> Verdict {
    let mut verdict = Verdict::default();
    for bundle in bundles(history, options, &mut verdict) {
        let count = bundle.acts.len() as u64;
        match decide(&bundle, options.time_limit) {
            Decision::Right => verdict.checked += count,
            Decision::Undecided => verdict.undecided += count,
            Decision::Wrong(acts) => {
                verdict.checked += count;
                verdict.violations.push(shrink::explain(history, &bundle, acts, options));
            }
        }
    }
    verdict
}

enum Decision {
    Right,
    /// These acts have no order, also if nothing else had been done.
    Wrong(Vec<Arc<Act>>),
    Undecided,
}

fn decide(bundle: &Bundle, time_limit: Duration) -> Decision {
    let one_key = bundle.keys.len() == 1;
    let eased = eased(&bundle.acts);
    let wrong = match first_wrong(&eased.without_unseen, one_key, time_limit) {
        None => return Decision::Right,
        Some((CheckResult::Illegal, window)) if eased.without_unseen.len() == eased.all.len() => {
            return Decision::Wrong(window);
        }
        Some((_, window)) => window,
    };
    // Perhaps a write that nobody saw explains it. Where it went wrong there are few acts to try that with.
    if let Some(few) = shrink::still_wrong(&wrong, &eased.all, one_key) {
        return Decision::Wrong(few);
    }
    match first_wrong(&eased.all, one_key, time_limit) {
        None => Decision::Right,
        Some((CheckResult::Illegal, window)) => Decision::Wrong(window),
        Some(_) => Decision::Undecided,
    }
}

/// The first window without an order, or for which none was found in time.
fn first_wrong(acts: &[Arc<Act>], one_key: bool, time_limit: Duration) -> Option<(CheckResult, Vec<Arc<Act>>)> {
    let until = Instant::now() + time_limit;
    let windows = if one_key { windows(acts.to_vec()) } else { vec![acts.to_vec()] };
    windows.into_iter().find_map(|window| {
        let left = until.saturating_duration_since(Instant::now());
        match try_orders(&window, left) {
            CheckResult::Ok => None,
            other => Some((other, window)),
        }
    })
}

/// Whether there is an order. (porcupine's variants that also collect what it needs for a picture say "illegal" when
/// their time is over, so they must not decide.)
fn try_orders(acts: &[Arc<Act>], time_limit: Duration) -> CheckResult {
    porcupine_rs::check_operations_timeout(&operations(acts), time_limit)
}

fn operations(acts: &[Arc<Act>]) -> Vec<porcupine_rs::Operation<Rules>> {
    let operation = |act: &Arc<Act>| porcupine_rs::Operation {
        client_id: Some(act.client),
        call_time: act.called,
        return_time: act.returned,
        op: Arc::clone(act),
        metadata: None,
    };
    acts.iter().map(operation).collect()
}

/// Below this, cutting costs more than it saves.
const WINDOW_ACTS: usize = 64;

/// Cuts where a write that looks at nothing stands all alone: whatever was before, after it there is one state.
fn windows(mut acts: Vec<Arc<Act>>) -> Vec<Vec<Arc<Act>>> {
    acts.sort_by_key(|act| act.called);
    let mut windows = Vec::new();
    let mut window: Vec<Arc<Act>> = Vec::new();
    let mut busy_until = i64::MIN;
    for (at, act) in acts.iter().enumerate() {
        let alone = busy_until < act.called && acts.get(at + 1).is_none_or(|next| act.returned < next.called);
        if alone && window.len() >= WINDOW_ACTS && act.is_blind() {
            windows.push(std::mem::take(&mut window));
        }
        busy_until = busy_until.max(act.returned);
        window.push(Arc::clone(act));
    }
    windows.push(window);
    windows
}

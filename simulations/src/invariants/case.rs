//! What the judges at the end look at: the clients' history and the nodes' ledger, brought together.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use talon_history::linear::{Absolute, Options, Tolerance};
use talon_history::{History, Operation, Outcome, once};

use super::i13::Settled;
use crate::ambient::START_MS;
use crate::ledger::{Committed, CommittedContent};
use crate::plan::Plan;
use crate::replay::{Done, Replay, flat};
use crate::truth::ClockErrors;

/// How long porcupine may take for one key, in real time.
const SEARCH_MAX: Duration = Duration::from_secs(5);
/// A leader's clock gains at most so much on right clocks, thousandths; twice that on wrong ones.
pub const SLEW_PERMILLE: u32 = 50;
/// By how much the clocks of a healthy cluster may differ, ms (`clock_skew_ms_max`).
pub const SKEW_MS: u64 = 500;

/// A run that is over.
pub struct Case<'a> {
    /// What was meant to happen.
    pub plan: &'a Plan,
    /// What the clients did.
    pub history: &'a History,
    /// The same with each sequence of `ONCE` sent once.
    pub merged: History,
    /// What the nodes did, by log index.
    pub entries: &'a BTreeMap<u64, Committed>,
    /// `T` as the nodes had it, by log index.
    pub clocks: &'a BTreeMap<u64, u64>,
    /// How wrong the clocks were.
    pub errors: &'a ClockErrors,
    /// Whether nothing at all went wrong around the nodes.
    pub healthy: bool,
    /// Whether clocks went wrong, or stood still for a while.
    pub clock_faults: bool,
    /// How the run ended.
    pub settled: &'a Settled,
    /// Where pictures go.
    pub pictures: Option<PathBuf>,
    /// The ledger as the model went along it.
    pub steps: Vec<Step>,
    /// Which entry each acknowledged write is in.
    pub matched: Vec<Matched<'a>>,
    /// Acknowledged writes that no entry can hold.
    pub lost: Vec<&'a Operation>,
    /// Calls of entries that nobody asked for, or more often than they were asked for: index, and what was asked.
    pub surplus: Vec<(u64, String)>,
}

/// One entry, as the model went along.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// When it was first applied, simulated µs.
    pub first_us: u64,
    /// `T` behind it, Unix ms.
    pub clock_ms: i64,
    /// Whether it has a stamp.
    pub is_stamped: bool,
    /// When the next key ends, Unix ms.
    pub next_end_ms: Option<i64>,
}

impl Step {
    /// True time when it was first applied, Unix ms.
    pub fn true_ms(&self) -> i64 {
        (START_MS + self.first_us / 1000) as i64
    }
}

/// An acknowledged write and the entry that holds it.
#[derive(Clone, Debug)]
pub struct Matched<'a> {
    /// The write.
    pub operation: &'a Operation,
    /// The place of the entry in [`Case::steps`].
    pub step: usize,
}

struct Occurrence {
    step: usize,
    done: Done,
}

impl<'a> Case<'a> {
    /// Brings them together.
    #[allow(clippy::too_many_arguments, reason = "each is a part of a run")]
    pub fn new(
        plan: &'a Plan,
        history: &'a History,
        entries: &'a BTreeMap<u64, Committed>,
        clocks: &'a BTreeMap<u64, u64>,
        errors: &'a ClockErrors,
        settled: &'a Settled,
        paused: bool,
        pictures: Option<PathBuf>,
    ) -> Case<'a> {
        let mut case = Case {
            plan,
            history,
            merged: once::merged(history),
            entries,
            clocks,
            errors,
            healthy: plan.faults.is_empty() && !errors.wrong && !errors.drifted,
            clock_faults: errors.wrong || errors.drifted || paused,
            settled,
            pictures,
            steps: Vec::with_capacity(entries.len()),
            matched: Vec::new(),
            lost: Vec::new(),
            surplus: Vec::new(),
        };
        let occurrences = case.walk();
        case.bring_together(occurrences);
        case
    }

    /// Goes along the ledger; what is asked for in it, by its words.
    fn walk(&mut self) -> BTreeMap<String, Vec<Occurrence>> {
        let mut occurrences: BTreeMap<String, Vec<Occurrence>> = BTreeMap::new();
        let mut replay = Replay::default();
        for (index, entry) in self.entries {
            // What is wrong with the entry was said when it was first applied.
            let Ok(all_done) = replay.step(*index, entry) else { break };
            let step = self.steps.len();
            for done in all_done.into_iter().filter(|done| done.actions.iter().any(talon_history::Action::writes)) {
                occurrences.entry(words(done.actions.iter())).or_default().push(Occurrence { step, done });
            }
            self.steps.push(Step {
                index: *index,
                term: entry.term,
                first_us: entry.first.1,
                clock_ms: replay.clock_ms(),
                is_stamped: matches!(entry.content, CommittedContent::Writes { .. }),
                next_end_ms: replay.entries().values().filter_map(|entry| entry.expire_at_ms).min(),
            });
        }
        occurrences
    }

    fn bring_together(&mut self, mut occurrences: BTreeMap<String, Vec<Occurrence>>) {
        let mut asked: BTreeMap<String, Vec<&'a Operation>> = BTreeMap::new();
        let history = self.history;
        for operation in history.operations().iter().filter(|operation| operation.may_have_written()) {
            asked.entry(words(flat(&operation.action).into_iter())).or_default().push(operation);
        }
        for (words, operations) in asked {
            let held = occurrences.remove(&words).unwrap_or_default();
            self.bring_one_together(&words, operations, held);
        }
        for (words, held) in occurrences {
            let surplus = held.iter().map(|one| (self.steps[one.step].index, words.clone()));
            self.surplus.extend(surplus);
        }
        self.matched.sort_by_key(|matched| matched.operation.id);
        self.lost.sort_by_key(|operation| operation.id);
        self.surplus.sort();
    }

    /// All that asked for one thing, and all entries that hold it.
    fn bring_one_together(&mut self, words: &str, operations: Vec<&'a Operation>, held: Vec<Occurrence>) {
        let (mut acknowledged, mut unknown): (Vec<_>, Vec<_>) =
            operations.into_iter().partition(|operation| matches!(operation.outcome, Outcome::Reply(_)));
        // Each entry goes to the one who has to have it soonest; that leaves none without who could have one.
        acknowledged.sort_by_key(|operation| operation.returned_us);
        for occurrence in held {
            let at_us = self.steps[occurrence.step].first_us;
            let fits = |operation: &&Operation| {
                let in_time = operation.called_us <= at_us && operation.returned_us.is_some_and(|us| at_us <= us);
                in_time && occurrence.done.answers(operation)
            };
            if let Some(place) = acknowledged.iter().position(fits) {
                self.matched.push(Matched { operation: acknowledged.remove(place), step: occurrence.step });
            } else if let Some(place) = unknown.iter().position(|operation| operation.called_us <= at_us) {
                unknown.remove(place);
            } else {
                self.surplus.push((self.steps[occurrence.step].index, words.to_owned()));
            }
        }
        self.lost.extend(acknowledged);
    }

    /// How far `T` was ever behind true time while a stamped entry was first applied, between two places of [`Case::steps`], ms.
    pub fn lag_ms(&self, from: usize, to: usize) -> u64 {
        let stamped = self.steps.get(from..=to).into_iter().flatten().filter(|step| step.is_stamped);
        stamped.map(|step| u64::try_from(step.true_ms() - step.clock_ms).unwrap_or(0)).max().unwrap_or(0)
    }

    /// A relative time may end so much earlier, in thousandths.
    pub fn early_permille(&self) -> u32 {
        if self.errors.drifted { 2 * SLEW_PERMILLE + 3 } else { SLEW_PERMILLE }
    }

    /// By how much a node's clock may misjudge how old an answer is, in thousandths.
    pub fn bound_permille(&self) -> u32 {
        if self.errors.drifted || self.errors.wrong { 2 * SLEW_PERMILLE + 3 } else { 0 }
    }

    /// How the checks of the history take time.
    pub fn options(&self) -> Options {
        let lag_ms = self.lag_ms(0, self.steps.len().saturating_sub(1));
        let ahead_ms = self.errors.ahead_ms(0, u64::MAX);
        let (early_ms, late_ms) = match self.healthy {
            true => (SKEW_MS, 2 * SKEW_MS),
            // Behind a leader change `T` may make up at once for what it was late.
            false => (SKEW_MS + ahead_ms + lag_ms, 2 * SKEW_MS + lag_ms + 10_000),
        };
        Options {
            tolerance: Tolerance {
                early_permille: self.early_permille(),
                early_ms,
                late_permille: if self.healthy { SLEW_PERMILLE } else { 1000 },
                late_ms,
                absolute: Some(Absolute { unix_ms_at_zero: START_MS as i64, early_ms: SKEW_MS + ahead_ms, late_ms }),
            },
            time_limit: SEARCH_MAX,
            bound_permille: self.bound_permille(),
            pictures: self.pictures.clone(),
        }
    }
}

fn words<'a>(actions: impl Iterator<Item = &'a talon_history::Action>) -> String {
    actions.map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

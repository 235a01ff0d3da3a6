//! This node's clocks and what it has heard of the others' clocks, shared by all who need the time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{Clocks, LeaderClock, Offsets, Reading, Shown};

/// The node's time.
pub struct Timekeeper {
    node_id: u64,
    clocks: Arc<dyn Clocks>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    offsets: Offsets,
    voters: Vec<u64>,
    lead: Option<Lead>,
    /// Of leaders before.
    shown: Shown,
}

struct Lead {
    term: u64,
    clock: LeaderClock,
}

impl Lead {
    fn shown(&self) -> Shown {
        Shown { term: self.term, clock_ms: self.clock.shown_ms() }
    }
}

impl Timekeeper {
    /// For a node that reads `clocks`.
    pub fn new(node_id: u64, clocks: Arc<dyn Clocks>) -> Timekeeper {
        Timekeeper { node_id, clocks, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Both clocks now.
    pub fn read(&self) -> Reading {
        self.clocks.read()
    }

    /// The monotonic clock now, ms.
    pub fn monotonic_ms(&self) -> u64 {
        self.clocks.monotonic_ms()
    }

    /// The wall clock now, ms: only to tell other nodes.
    pub fn wall_ms(&self) -> u64 {
        self.read().wall_ms
    }

    /// Another node's wall clock has arrived with a message.
    pub fn hear(&self, node_id: u64, wall_ms: u64) {
        if node_id == 0 || wall_ms == 0 {
            return;
        }
        let now = self.read();
        self.state().offsets.hear(node_id, wall_ms, now.monotonic_ms);
    }

    /// Whose clocks count.
    pub fn set_voters(&self, voters: Vec<u64>) {
        self.state().voters = voters;
    }

    /// This node leads `term` and has applied its first entry: stamps may begin, at or above `clock_ms` (`T`).
    pub fn lead(&self, term: u64, clock_ms: u64) {
        let now = self.read();
        let mut state = self.state();
        if state.lead.as_ref().is_some_and(|lead| lead.term == term) {
            return;
        }
        let median_ms = state.offsets.median_ms(&state.voters, self.node_id, now);
        state.lead = Some(Lead { term, clock: LeaderClock::start(clock_ms, median_ms, now) });
    }

    /// This node does not lead any more.
    pub fn follow(&self) {
        let mut state = self.state();
        if let Some(lead) = state.lead.take() {
            state.shown = state.shown.max(lead.shown());
        }
    }

    /// The latest leader's clock that this node has answered by.
    pub fn shown(&self) -> Shown {
        let state = self.state();
        state.lead.as_ref().map_or(state.shown, |lead| state.shown.max(lead.shown()))
    }

    /// This node is going to answer by a leader's clock. Its state must have come to that leader's term: what was kept of terms before is lost.
    pub fn show(&self, shown: Shown) {
        let mut state = self.state();
        state.shown = state.shown.max(shown);
    }

    /// The term it leads and its clock now, if it leads and may stamp.
    pub fn stamp(&self) -> Option<(u64, u64)> {
        self.stamp_at(self.read())
    }

    /// As [`Timekeeper::stamp`], by a reading of just now.
    pub fn stamp_at(&self, now: Reading) -> Option<(u64, u64)> {
        let State { offsets, voters, lead, .. } = &mut *self.state();
        let lead = lead.as_mut()?;
        Some((lead.term, lead.clock.now_ms(|| offsets.median_ms(voters, self.node_id, now), now)))
    }

    /// By how much this node's wall clock is ahead of the voters' median, ms, if a majority was heard.
    pub fn offset_ms(&self) -> Option<i64> {
        let now = self.read();
        let state = self.state();
        let median_ms = state.offsets.median_ms(&state.voters, self.node_id, now)?;
        i64::try_from(i128::from(now.wall_ms) - i128::from(median_ms)).ok()
    }
}

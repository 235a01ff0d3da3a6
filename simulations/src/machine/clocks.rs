//! Clocks that drift and jump.

use std::sync::{Arc, Mutex};

use talon_core::planted::{Bug, is_planted};
use talon_raft::clock::{Clocks, Reading};

use super::{Pause, lock};
use crate::ambient::{START_MS, elapsed_us};

/// A machine's monotonic clock, which drifts, and its wall clock, which goes with it and can be set.
#[derive(Debug)]
pub struct MachineClocks {
    state: Mutex<State>,
    pause: Arc<Pause>,
}

#[derive(Debug)]
struct State {
    /// When the rate was last changed: true time and the monotonic clock then, µs.
    since_us: u64,
    monotonic_us: u64,
    /// By how many parts in a million it runs fast.
    fast_ppm: i64,
    /// The wall clock less the monotonic clock, ms.
    wall_ms: i64,
}

impl MachineClocks {
    /// Right ones.
    pub fn new(pause: Arc<Pause>) -> MachineClocks {
        // As after a day of running.
        let monotonic_us = 86_400_000_000;
        let wall_ms = START_MS as i64 - (monotonic_us / 1000) as i64;
        MachineClocks { state: Mutex::new(State { since_us: 0, monotonic_us, fast_ppm: 0, wall_ms }), pause }
    }

    /// From now on they run fast by so many parts in a million; slow if negative.
    pub fn drift(&self, fast_ppm: i64) {
        let mut state = lock(&self.state);
        let now_us = elapsed_us();
        state.monotonic_us = state.monotonic_us(now_us);
        state.since_us = now_us;
        state.fast_ppm = fast_ppm;
    }

    /// Somebody sets the wall clock by so many ms forward, or back.
    pub fn jump(&self, by_ms: i64) {
        lock(&self.state).wall_ms += by_ms;
    }

    /// The wall clock is set right, and drifts no more.
    pub fn set_right(&self) {
        self.drift(0);
        let mut state = lock(&self.state);
        let now_us = elapsed_us();
        state.wall_ms = (START_MS + now_us / 1000) as i64 - (state.monotonic_us(now_us) / 1000) as i64;
    }

    /// By how many ms the wall clock is wrong.
    pub fn wrong_ms(&self) -> i64 {
        self.wall() - (START_MS + elapsed_us() / 1000) as i64
    }

    /// Whether they drift, or the wall clock is noticeably wrong.
    pub fn are_wrong(&self) -> bool {
        let drifts = lock(&self.state).fast_ppm != 0;
        drifts || self.wrong_ms().abs() > 50
    }

    /// What the monotonic clock shows, ms.
    pub fn monotonic_ms(&self) -> u64 {
        lock(&self.state).monotonic_us(elapsed_us()) / 1000
    }

    fn wall(&self) -> i64 {
        let state = lock(&self.state);
        (state.monotonic_us(elapsed_us()) / 1000) as i64 + state.wall_ms
    }
}

impl State {
    fn monotonic_us(&self, now_us: u64) -> u64 {
        let passed_us = now_us.saturating_sub(self.since_us) as i64;
        self.monotonic_us.saturating_add_signed(passed_us + passed_us * self.fast_ppm / 1_000_000)
    }
}

impl Clocks for MachineClocks {
    fn read(&self) -> Reading {
        let wall_ms = u64::try_from(self.wall()).unwrap_or(0);
        let monotonic_us = lock(&self.state).monotonic_us(elapsed_us());
        // Planted: a clock like `CLOCK_MONOTONIC`, which does not count the time in which the machine is suspended.
        let stopped_us = if is_planted(Bug::LeaseByStoppingClock) { self.pause.total_us() } else { 0 };
        Reading { monotonic_ms: monotonic_us.saturating_sub(stopped_us) / 1000, wall_ms }
    }
}

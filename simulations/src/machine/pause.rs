//! A machine that stands still: suspended, or starved of its processor. Nothing comes in and nothing goes out until it goes on; its clocks
//! have gone on meanwhile.

use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use super::lock;
use crate::ambient::elapsed_us;

/// Whether the machine stands still, and who waits for it to go on.
#[derive(Debug, Default)]
pub struct Pause {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Until when, µs; 0 = it runs.
    until_us: u64,
    /// For how long it has stood still in all, and will until then, µs.
    total_us: u64,
    waiting: Vec<Waker>,
}

impl State {
    fn left_us(&self) -> u64 {
        self.until_us.saturating_sub(elapsed_us())
    }
}

impl Pause {
    /// It stands still from now until then, simulated µs. Whoever drives the world calls [`Pause::resume`] then.
    pub fn begin(&self, until_us: u64) {
        let mut state = lock(&self.state);
        state.total_us -= state.left_us();
        state.until_us = until_us;
        state.total_us += state.left_us();
    }

    /// It goes on.
    pub fn resume(&self) {
        let mut state = lock(&self.state);
        state.total_us -= state.left_us();
        state.until_us = 0;
        state.waiting.drain(..).for_each(Waker::wake);
    }

    /// For how much longer it stands still, µs.
    pub fn left_us(&self) -> u64 {
        lock(&self.state).left_us()
    }

    /// For how long it has stood still in all, µs: what a clock that stops with the machine does not count.
    pub fn total_us(&self) -> u64 {
        let state = lock(&self.state);
        state.total_us - state.left_us()
    }

    /// Ready when it runs.
    pub fn poll_running(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.until_us == 0 {
            return Poll::Ready(());
        }
        state.waiting.push(context.waker().clone());
        Poll::Pending
    }
}

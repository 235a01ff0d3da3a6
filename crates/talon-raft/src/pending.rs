//! What this node has proposed and not yet answered, by the proposal's seed, which no other proposal has.
//!
//! A reply belongs to a proposal, not to a place in the log: after a loss of leadership another entry may stand at that place.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use talon_core::{Call, Denied, Outcome, Watch};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// One pipeline's calls on their way through the log, and who waits for the outcomes.
#[derive(Debug)]
pub struct Ticket {
    /// In order; reads in between are answered at their place by the node that proposed them, and not replicated.
    pub calls: Vec<Call>,
    /// Where the outcomes go, one a call.
    pub done: oneshot::Sender<Vec<Outcome>>,
    /// Until when it may be held while nobody leads, monotonic ms.
    pub deadline_ms: u64,
    /// The bytes of its writes.
    pub size_bytes: usize,
    /// What it depends on: then it is one call, which is proposed only while they hold.
    pub watches: Vec<Watch>,
    /// Its part of the bytes that may wait; given back when it is answered.
    pub permit: OwnedSemaphorePermit,
}

impl Ticket {
    /// Answers every call alike.
    pub fn deny(self, denied: &Denied) {
        let outcomes = self.calls.iter().map(|_| Err(denied.clone())).collect();
        // Whoever asked may be gone.
        let _ = self.done.send(outcomes);
    }
}

/// A proposal that was handed to raft.
#[derive(Debug)]
pub struct Proposed {
    /// What it is made of.
    pub tickets: Vec<Ticket>,
    /// When it was proposed, monotonic ms.
    pub at_ms: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Pending(Mutex<BTreeMap<u64, Proposed>>);

impl Pending {
    fn map(&self) -> MutexGuard<'_, BTreeMap<u64, Proposed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a proposal before it is handed to raft.
    pub fn insert(&self, seed: u64, proposed: Proposed) {
        self.map().insert(seed, proposed);
    }

    /// Takes the proposal out: whoever has it answers it.
    pub fn take(&self, seed: u64) -> Option<Proposed> {
        self.map().remove(&seed)
    }

    /// Planted: takes out the one that was proposed first, if it has so many calls.
    pub fn take_oldest(&self, calls: usize) -> Option<Proposed> {
        let mut map = self.map();
        let (seed, oldest) = map.iter().min_by_key(|(seed, proposed)| (proposed.at_ms, **seed))?;
        let fits = oldest.tickets.iter().map(|ticket| ticket.calls.len()).sum::<usize>() == calls;
        let seed = fits.then_some(*seed)?;
        map.remove(&seed)
    }

    /// Answers those that were proposed before `before_ms`: nobody knows what becomes of them.
    pub fn give_up(&self, before_ms: u64) {
        self.deny(before_ms, &Denied::InDoubt);
    }

    /// Answers those that were proposed before `before_ms`.
    pub fn deny(&self, before_ms: u64, denied: &Denied) {
        let old: Vec<Proposed> =
            self.map().extract_if(.., |_, proposed| proposed.at_ms < before_ms).map(|(_, p)| p).collect();
        for proposed in old {
            tracing::warn!(calls = proposed.tickets.len(), ?denied, "answering calls whose fate is unknown");
            proposed.tickets.into_iter().for_each(|ticket| ticket.deny(denied));
        }
    }
}

//! What this node has proposed and not yet answered, by the proposal's seed, which no other proposal has.
//!
//! A reply belongs to a proposal, not to a place in the log: after a loss of leadership another entry may stand at that place.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use talon_core::{Call, Denied, Outcome, Watch};
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

/// One pipeline's calls on their way through the log, and who waits for the outcomes.
#[derive(Debug)]
pub struct Ticket {
    /// In order; reads in between are answered at their place by the node that proposed them, and not replicated.
    pub calls: Vec<Call>,
    /// Where the outcomes go, one a call.
    pub done: oneshot::Sender<Vec<Outcome>>,
    /// To the calls before these, which were carried out by an entry that then had written enough.
    pub outcomes: Vec<Outcome>,
    /// Until when it may be held while nobody leads, monotonic ms.
    pub deadline_ms: u64,
    /// How long that was from the beginning, ms: so long it may be held again when it has been taken up by an entry.
    pub hold_ms: u64,
    /// The bytes of its writes.
    pub size_bytes: usize,
    /// What it depends on: then it is one call, which is proposed only while they hold.
    pub watches: Vec<Watch>,
    /// Its part of the bytes that may wait; given back when it is answered.
    pub _permit: OwnedSemaphorePermit,
}

impl Ticket {
    /// Answers the calls that have no outcome yet.
    pub fn answer(mut self, outcomes: impl IntoIterator<Item = Outcome>) {
        self.outcomes.extend(outcomes);
        // Whoever asked may be gone.
        let _ = self.done.send(self.outcomes);
    }

    /// Answers them all alike.
    pub fn deny(self, denied: &Denied) {
        let count = self.calls.len();
        self.answer((0..count).map(|_| Err(denied.clone())));
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
pub struct Pending {
    proposed: Mutex<BTreeMap<u64, Proposed>>,
    postponed: Mutex<Postponed>,
    /// Somebody was postponed.
    called: Notify,
}

/// Tickets whose entry had written enough before it came to their end. What is left of them was certainly not carried out.
#[derive(Debug, Default)]
pub struct Postponed {
    /// The entry carried out none of their calls: they come before all others.
    pub untouched: Vec<Ticket>,
    /// It carried out some: now others have their turn.
    pub begun: Vec<Ticket>,
    /// Nobody proposes any more.
    closed: bool,
}

impl Postponed {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.untouched.is_empty() && self.begun.is_empty()
    }

    /// Answers what is left of them.
    pub fn deny(self, denied: &Denied) {
        self.untouched.into_iter().chain(self.begun).for_each(|ticket| ticket.deny(denied));
    }
}

impl Pending {
    fn map(&self) -> MutexGuard<'_, BTreeMap<u64, Proposed>> {
        self.proposed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn postponed(&self) -> MutexGuard<'_, Postponed> {
        self.postponed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps tickets until they are taken up.
    pub fn postpone(&self, untouched: Vec<Ticket>, begun: Vec<Ticket>) {
        let new = Postponed { untouched, begun, closed: false };
        if new.is_empty() {
            return;
        }
        let mut postponed = self.postponed();
        if postponed.closed {
            return new.deny(&Denied::ShuttingDown);
        }
        postponed.untouched.extend(new.untouched);
        postponed.begun.extend(new.begun);
        drop(postponed);
        self.called.notify_one();
    }

    /// Takes them out, to be proposed again.
    pub fn take_up(&self) -> Postponed {
        let mut postponed = self.postponed();
        let closed = postponed.closed;
        std::mem::replace(&mut *postponed, Postponed { closed, ..Postponed::default() })
    }

    /// Returns when there is something to take up.
    pub async fn called(&self) {
        self.called.notified().await;
    }

    /// Nobody proposes any more.
    pub fn close(&self) {
        let all = std::mem::replace(&mut *self.postponed(), Postponed { closed: true, ..Postponed::default() });
        all.deny(&Denied::ShuttingDown);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use talon_core::{Reply, Request};
    use tokio::sync::Semaphore;

    use super::*;

    fn ticket(outcomes: Vec<Outcome>) -> (Ticket, oneshot::Receiver<Vec<Outcome>>) {
        let call = Call::One(Request::parse(b"INCR", vec!["n".into()]).unwrap());
        let _permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (done, answer) = oneshot::channel();
        let (calls, watches) = (vec![call; 2], Vec::new());
        (Ticket { calls, done, outcomes, deadline_ms: 0, hold_ms: 0, size_bytes: 1, watches, _permit }, answer)
    }

    #[test]
    fn what_is_left_of_a_ticket_is_denied_behind_what_was_carried_out() {
        let pending = Pending::default();
        let (begun, mut first) = ticket(vec![Ok(Reply::Integer(1))]);
        let (untouched, mut second) = ticket(Vec::new());
        pending.postpone(vec![untouched], vec![begun]);
        let taken = pending.take_up();
        assert_eq!((taken.untouched.len(), taken.begun.len(), pending.take_up().is_empty()), (1, 1, true));
        pending.postpone(taken.untouched, taken.begun);
        pending.close();
        let down = || Err(Denied::ShuttingDown);
        assert_eq!(first.try_recv().unwrap(), [Ok(Reply::Integer(1)), down(), down()]);
        assert_eq!(second.try_recv().unwrap(), [down(), down()]);
        let (late, mut third) = ticket(Vec::new());
        pending.postpone(vec![late], Vec::new());
        assert_eq!(third.try_recv().unwrap(), [down(), down()], "nobody would ever take it up");
    }
}

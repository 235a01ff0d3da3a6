//! The one who proposes: folds what all connections have handed in into log entries, stamps them, and keeps several in flight.
//!
//! A rule like Nagle's: with nothing under way, whatever waits is packed, at once or with those that are about to come back; a second
//! entry goes beside it for the other half of many clients (`gathering.rs`), and more only if they are full. Large ones take turns with all
//! others (`queue.rs`).
//!
//! A ticket that raft did not append is held and proposed again; one that was appended is never proposed again, whatever becomes of it. But for
//! one case: an entry that had written enough leaves its last calls undone, on every node, and this one learns that by applying it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::errors::ClientWriteError;
use openraft::impls::OneshotResponder;
use talon_core::planted::{Bug, is_planted};
use talon_core::random::SplitMix64;
use talon_core::{Call, Denied, Member, Outcome, Proposal, Watch};
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::Instant;

use crate::gathering::Gathering;
use crate::leadership::Leadership;
use crate::pending::{Pending, Proposed, Ticket};
use crate::queue::{Queue, is_large};
use crate::state::Raft;
use crate::timekeeper::Timekeeper;
use crate::types::{LeaderId, ProposalEntry, TypeConfig};
use crate::watched::UnderWay as Footprints;

/// How many entries are under way at most; all but [`SMALL_IN_FLIGHT_MAX`] were full, or large.
const IN_FLIGHT_MAX: usize = 16;
/// How many entries are under way when one that is not full may still be the next.
///
/// An entry costs three nodes more than half a millisecond of CPU, whatever is in it: syncs, messages, threads that wake each other. With
/// sixteen small ones under way, 50 clients without pipelines filled entries of a few calls each, and a SET cost twice as much as
/// with one. With one, the nodes had nothing to do a third of the time; with three nothing more was won.
const SMALL_IN_FLIGHT_MAX: usize = 2;
/// With so many bytes under way no other entry follows: whoever comes meanwhile would wait for all of them, one behind the other.
const IN_FLIGHT_BYTES_MAX: usize = 4 << 20;
/// How many bytes of calls wait or are under way at most; beyond that, whoever asks waits.
const QUEUED_BYTES_MAX: usize = 256 << 20;
/// Queued bytes are counted in lumps of this size.
const PERMIT_BYTES: usize = 1 << 10;
/// How often held tickets are looked at while nobody leads.
const HELD_CHECK: Duration = Duration::from_millis(20);

/// Where calls are handed in.
pub struct Proposer {
    queue: Mutex<Queue>,
    wake: Notify,
    permits: Arc<Semaphore>,
    paused: AtomicBool,
    in_flight: AtomicUsize,
    clients: Clients,
    time: Arc<Timekeeper>,
    pending: Arc<Pending>,
}

/// How many have handed calls in and have no answer yet.
#[derive(Default)]
struct Clients {
    now: AtomicUsize,
    /// The most since this was last asked.
    peak: AtomicUsize,
}

/// One of them.
struct Client<'a>(&'a Clients);

impl Clients {
    fn enter(&self) -> Client<'_> {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(now, Ordering::Relaxed);
        Client(self)
    }

    fn take_peak(&self) -> usize {
        self.peak.swap(self.now.load(Ordering::Relaxed), Ordering::Relaxed)
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An entry that raft has and that has not come to its end.
struct UnderWay {
    seed: u64,
    since: Instant,
    /// How many there are in it that are waited for to come back: none if it is large.
    pipelines: usize,
    size_bytes: usize,
    is_large: bool,
}

/// While it lives, tickets are taken; then every ticket there is gets its answer.
struct Open<'a>(&'a Proposer);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut queue = self.0.queue();
            queue.closed = true;
            queue.take_all()
        };
        waiting.into_iter().for_each(|ticket| ticket.deny(&Denied::ShuttingDown));
        self.0.pending.close();
        self.0.pending.give_up(u64::MAX);
    }
}

/// No proposals while it lives: a transfer of leadership is under way.
pub struct Pause<'a>(&'a Proposer);

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.paused.store(false, Ordering::Release);
        self.0.wake.notify_one();
    }
}

impl Proposer {
    /// With nothing waiting.
    pub fn new(time: Arc<Timekeeper>, pending: Arc<Pending>) -> Proposer {
        Proposer {
            queue: Mutex::default(),
            wake: Notify::new(),
            permits: Arc::new(Semaphore::new(QUEUED_BYTES_MAX / PERMIT_BYTES)),
            paused: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            clients: Clients::default(),
            time,
            pending,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends calls through the log; none = a tick. They may overtake calls that were handed in before and have no answer yet.
    /// Returns one outcome a call. They are held until `deadline_ms` (monotonic) if nobody leads.
    pub async fn submit(&self, calls: Vec<Call>, deadline_ms: u64) -> Vec<Outcome> {
        self.submit_watched(calls, Vec::new(), deadline_ms).await
    }

    /// The same for one call that is only to be proposed while these watches hold; else it is answered with [`talon_core::Reply::NullArray`].
    pub async fn submit_watched(&self, calls: Vec<Call>, watches: Vec<Watch>, deadline_ms: u64) -> Vec<Outcome> {
        let count = calls.len();
        let size_bytes = calls.iter().map(Call::size_bytes).sum::<usize>();
        let permits = u32::try_from((size_bytes / PERMIT_BYTES).min(QUEUED_BYTES_MAX / PERMIT_BYTES)).unwrap_or(0) + 1;
        let permits = permits.min((QUEUED_BYTES_MAX / PERMIT_BYTES) as u32);
        let hold_ms = deadline_ms.saturating_sub(self.time.monotonic_ms());
        let deny = |denied: Denied| (0..count).map(|_| Err(denied.clone())).collect();
        let acquiring = self.permits.clone().acquire_many_owned(permits);
        let Ok(Ok(permit)) = tokio::time::timeout(Duration::from_millis(hold_ms), acquiring).await else {
            return deny(Denied::Busy);
        };
        let (done, outcomes) = oneshot::channel();
        let ticket =
            Ticket { calls, done, outcomes: Vec::new(), deadline_ms, hold_ms, size_bytes, watches, _permit: permit };
        // Large ones are not waited for.
        let _client = (!is_large(&ticket)).then(|| self.clients.enter());
        let wakes = {
            let mut queue = self.queue();
            if queue.closed {
                return deny(Denied::ShuttingDown);
            }
            queue.push_back(ticket)
        };
        if wakes {
            self.wake.notify_one();
        }
        // Every ticket is answered. Should one be lost, nobody can say how far it came.
        outcomes.await.unwrap_or_else(|_| deny(Denied::InDoubt))
    }

    /// Stops proposing until the answer is dropped; calls are held. For a transfer of leadership.
    /// `None` if one is under way already.
    pub fn pause(&self) -> Option<Pause<'_>> {
        let paused = self.paused.swap(true, Ordering::AcqRel);
        (!paused).then(|| Pause(self))
    }

    /// Whether it proposes: no transfer of leadership is under way.
    pub fn is_running(&self) -> bool {
        !self.paused.load(Ordering::Acquire)
    }

    /// Whether no entries are under way.
    pub fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) == 0
    }

    /// How many entries are under way and how many tickets wait.
    pub fn load(&self) -> (usize, usize) {
        (self.in_flight.load(Ordering::Acquire), self.queue().len())
    }

    /// Runs until the node is dropped.
    pub async fn run(
        &self,
        raft: Raft,
        mut leadership: watch::Receiver<Leadership>,
        leader: impl Fn() -> Option<Member>,
        is_busy: impl Fn() -> bool,
        is_unwatched: impl Fn() -> bool,
        disk_denial: impl Fn() -> Option<Denied>,
    ) {
        let _open = Open(self);
        let mut in_flight = FuturesUnordered::new();
        // Numbers that no other proposal of any node has: from a random start, none comes twice.
        let mut seeds = SplitMix64(rand::random());
        // openraft may refuse for a moment what this node still believes it may propose.
        let mut refused = false;
        let mut gathering = Gathering::default();
        let mut in_flight_bytes = 0;
        let mut footprints = Footprints::default();
        // How many pipelines are under way, without large ones.
        let mut under_way = 0;
        loop {
            self.take_up_postponed(&disk_denial);
            let now = *leadership.borrow_and_update();
            let may_act = !std::mem::take(&mut refused) && !self.paused.load(Ordering::Acquire);
            let may_propose = may_act && matches!(now, Leadership::Leading { .. });
            if !may_propose {
                // Else a wait that is over, and those who are there, would end the sleep below at once, again and again.
                gathering.give_up();
            }
            if may_act {
                match now {
                    Leadership::Leading { .. } => {
                        while in_flight.len() < IN_FLIGHT_MAX && in_flight_bytes < IN_FLIGHT_BYTES_MAX {
                            let since = Instant::now();
                            let packed = {
                                let mut queue = self.queue();
                                let goes = in_flight.len() < SMALL_IN_FLIGHT_MAX
                                    && gathering.is_over(queue.small_len(), under_way, since);
                                queue.pack(goes, since, &is_busy)
                            };
                            let Some(tickets) = packed else { break };
                            let Some((term, stamp_ms)) = self.time.stamp() else {
                                // This node may not stamp any more.
                                self.queue().put_back(tickets);
                                gathering.give_up();
                                break;
                            };
                            let seed = seeds.draw();
                            let judged = footprints.judge(seed, tickets, term, stamp_ms, &is_unwatched);
                            self.queue().hold(judged.held);
                            let tickets = judged.ready;
                            if tickets.is_empty() {
                                continue;
                            }
                            let is_large = tickets.iter().any(is_large);
                            if !is_large {
                                gathering.proposed(self.clients.take_peak());
                            }
                            let entry = UnderWay {
                                seed,
                                since,
                                pipelines: if is_large { 0 } else { tickets.len() },
                                size_bytes: tickets.iter().map(|ticket| ticket.size_bytes).sum(),
                                is_large,
                            };
                            let Some(result) = self.propose(&raft, term, stamp_ms, seed, tickets).await else {
                                footprints.remove(seed);
                                self.queue().release();
                                gathering.give_up();
                                break;
                            };
                            in_flight_bytes += entry.size_bytes;
                            under_way += entry.pipelines;
                            in_flight.push(async move { (entry, result.await) });
                        }
                    }
                    Leadership::Following { .. } => {
                        if let Some(leader) = leader() {
                            let denied = Denied::NotLeader { leader };
                            if is_planted(Bug::ProposeTwice) {
                                self.pending.deny(u64::MAX, &denied);
                            }
                            let waiting = self.queue().take_all();
                            waiting.into_iter().for_each(|ticket| ticket.deny(&denied));
                        }
                    }
                    Leadership::Unsettled | Leadership::Nobody => {}
                }
            }
            self.expire(if matches!(now, Leadership::Leading { .. }) { &Denied::Busy } else { &Denied::NoLeader });
            self.in_flight.store(in_flight.len(), Ordering::Release);
            let (held, until) = {
                let mut queue = self.queue();
                let has_room = |entries: usize| in_flight.len() < entries && in_flight_bytes < IN_FLIGHT_BYTES_MAX;
                let wanted = gathering.wanted(under_way).filter(|_| has_room(SMALL_IN_FLIGHT_MAX));
                queue.wanted = wanted.unwrap_or(usize::MAX);
                if queue.small_len() >= queue.wanted {
                    // They have come while nobody looked.
                    self.wake.notify_one();
                }
                let small = gathering.until().filter(|_| queue.small_len() > 0 && under_way == 0);
                let small = small.filter(|_| may_propose && has_room(SMALL_IN_FLIGHT_MAX));
                // One whose time has come and that waits all the same, for the storage, is looked at again after a while.
                let large = queue.large_goes_at().filter(|at| *at > Instant::now());
                let large = large.filter(|_| may_propose && has_room(IN_FLIGHT_MAX));
                (queue.len() > 0, small.into_iter().chain(large).min())
            };
            tokio::select! {
                Some((entry, result)) = in_flight.next(), if !in_flight.is_empty() => {
                    in_flight_bytes -= entry.size_bytes;
                    under_way -= entry.pipelines;
                    footprints.remove(entry.seed);
                    {
                        let mut queue = self.queue();
                        queue.ended(entry.is_large, entry.since, Instant::now());
                        queue.release();
                    }
                    refused = self.settle(entry.seed, result);
                }
                () = self.wake.notified() => {}
                () = self.pending.called() => {}
                changed = leadership.changed() => if changed.is_err() { break },
                () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
                () = tokio::time::sleep(HELD_CHECK), if held => {}
            }
        }
    }

    /// Queues again what its entry left undone, unless the disk has become too full for more.
    fn take_up_postponed(&self, disk_denial: &impl Fn() -> Option<Denied>) {
        let mut postponed = self.pending.take_up();
        if postponed.is_empty() {
            return;
        }
        if let Some(denied) = disk_denial() {
            return postponed.deny(&denied);
        }
        let now_ms = self.time.monotonic_ms();
        for ticket in postponed.untouched.iter_mut().chain(&mut postponed.begun) {
            ticket.deadline_ms = ticket.deadline_ms.max(now_ms + ticket.hold_ms);
        }
        let mut queue = self.queue();
        queue.put_back(postponed.untouched);
        for ticket in postponed.begun {
            queue.push_back(ticket);
        }
    }

    /// Denies what was held too long.
    fn expire(&self, denied: &Denied) {
        let now_ms = self.time.monotonic_ms();
        let late = self.queue().take_if(|ticket| ticket.deadline_ms <= now_ms);
        late.into_iter().for_each(|ticket| ticket.deny(denied));
    }

    /// Hands an entry to raft, to be appended only in this term; `None` if raft takes no more.
    async fn propose(
        &self,
        raft: &Raft,
        term: u64,
        stamp_ms: u64,
        seed: u64,
        tickets: Vec<Ticket>,
    ) -> Option<oneshot::Receiver<WriteResult>> {
        let writes = tickets.iter().flat_map(|ticket| ticket.calls.iter().filter(|call| call.is_write()));
        let entry = ProposalEntry::from_bytes(Proposal::encode_calls(stamp_ms, seed, writes));
        // Before raft has it: apply may come before this task goes on.
        self.pending.insert(seed, Proposed { tickets, at_ms: self.time.monotonic_ms() });
        let (responder, result) = OneshotResponder::new_pair();
        // Only in the term the stamp was made for.
        let handed = raft.write(entry).with_leader(LeaderId::new(term)).responder(responder).await;
        if let Err(error) = handed {
            tracing::warn!(%error, "raft takes no more proposals");
            self.pending.take(seed).into_iter().flat_map(|proposed| proposed.tickets).for_each(|ticket| {
                ticket.deny(&Denied::ShuttingDown);
            });
            return None;
        }
        Some(result)
    }

    /// An entry's end, as raft reports it. Whether it was refused: not appended, and to be proposed again.
    fn settle(&self, seed: u64, result: Result<WriteResult, oneshot::error::RecvError>) -> bool {
        let tickets = |proposed: Option<Proposed>| proposed.into_iter().flat_map(|proposed| proposed.tickets);
        match result {
            // Answered when it was applied.
            Ok(Ok(_)) => false,
            // Not appended: held, or redirected, on the next round.
            Ok(Err(ClientWriteError::ForwardToLeader(_))) => {
                self.queue().put_back(tickets(self.pending.take(seed)).collect());
                true
            }
            Ok(Err(_)) | Err(_) if is_planted(Bug::ReplyByIndex) => false,
            // Appended. That it is gone from this log does not say that no other node has it.
            Ok(Err(error)) => {
                tracing::warn!(%error, "an appended entry's fate is unknown");
                tickets(self.pending.take(seed)).for_each(|ticket| ticket.deny(&Denied::InDoubt));
                false
            }
            Err(_) => {
                tickets(self.pending.take(seed)).for_each(|ticket| ticket.deny(&Denied::InDoubt));
                false
            }
        }
    }
}

type WriteResult = openraft::raft::ClientWriteResult<TypeConfig>;

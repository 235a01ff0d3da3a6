//! How a node that does not lead learns where a read has to stand: it asks the leader, once for all reads that wait.
//!
//! What an answer is worth counts from the moment the question was *sent*, by this node's own monotonic clock, which counts
//! suspended time: an answer that lay in a socket's buffer while the process stood still is as old as it is. No two nodes'
//! clocks are compared.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use talon_core::Status;
use talon_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Shown;
use crate::liveness::Liveness;
use crate::timekeeper::Timekeeper;
use crate::transport::{Gate, Network};
use crate::types::NodeAddress;

/// How many reads may wait for a round.
const WAITING_MAX: usize = 65_536;
/// How long one round may take, ms.
const ROUND_MS_MAX: u64 = 1_000;
/// How often the leader is asked in a round whose connections break.
const TRIES_MAX: usize = 3;

/// Where the leader's state stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When it was asked for, monotonic ms.
    pub sent_ms: u64,
    /// The state at this log index holds all that was acknowledged before.
    pub index: u64,
    /// The leader's clock: no key is left in that state that had ended by it.
    pub clock: Shown,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Nobody listens where the leader with this number did.
    Gone(u64),
    /// Whatever else there may be: it says nothing about who leads.
    Unknown,
}

type Ask = oneshot::Sender<Result<Point, Unanswered>>;

/// Where reads ask for one.
pub struct Prober {
    proved: mpsc::Sender<Ask>,
    leased: mpsc::Sender<Ask>,
    time: Arc<Timekeeper>,
    known: Arc<Mutex<Known>>,
}

/// What the answers have said.
#[derive(Debug)]
struct Known {
    newest: Option<Point>,
    /// The newest one that this node's state was seen to have reached.
    held: Option<Point>,
    /// When the node was started: before that, nothing is known.
    started_ms: u64,
}

impl Known {
    fn learn(&mut self, point: Point) {
        if self.newest.is_none_or(|newest| newest.sent_ms <= point.sent_ms) {
            self.newest = Some(point);
        }
    }

    /// This node's state is at this index.
    fn reach(&mut self, applied_index: u64) {
        if let Some(newest) = self.newest.filter(|newest| newest.index <= applied_index) {
            self.held = Some(newest);
        }
    }

    /// One that was sent no earlier than this; if there is one, one that this node has reached.
    fn since(&self, oldest_ms: u64) -> Option<Point> {
        [self.held, self.newest].into_iter().flatten().find(|point| point.sent_ms > oldest_ms)
    }

    fn behind_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.held.map_or(self.started_ms, |point| point.sent_ms))
    }
}

/// Who asks.
#[derive(Clone)]
struct Asker {
    network: Network,
    /// Is told of leaders that are gone.
    gate: Arc<dyn Gate>,
    status: watch::Receiver<Arc<Status>>,
    time: Arc<Timekeeper>,
    known: Arc<Mutex<Known>>,
    liveness: Arc<Liveness>,
}

impl Prober {
    /// Starts the tasks that ask; they end when the handle is dropped.
    pub fn start(
        network: Network,
        gate: Arc<dyn Gate>,
        status: watch::Receiver<Arc<Status>>,
        time: Arc<Timekeeper>,
        liveness: Arc<Liveness>,
    ) -> Prober {
        let started_ms = time.monotonic_ms();
        let known = Arc::new(Mutex::new(Known { newest: None, held: None, started_ms }));
        let asker = Asker { network, gate, status, time: time.clone(), known: known.clone(), liveness };
        let (proved, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(asker.clone().run(waiting, false));
        let (leased, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(asker.run(waiting, true));
        Prober { proved, leased, time, known }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the leader's state stands at some moment after the call, or why nobody has said so by the deadline or before.
    /// `lease_will_do`: the leader may rely on its lease.
    pub async fn ask(&self, lease_will_do: bool, deadline_ms: u64) -> Result<Point, Unanswered> {
        let (ask, answer) = oneshot::channel();
        let asks = if lease_will_do { &self.leased } else { &self.proved };
        let left = Duration::from_millis(deadline_ms.saturating_sub(self.time.monotonic_ms()));
        let asking = async {
            asks.send(ask).await.map_err(|_| Unanswered::Unknown)?;
            answer.await.unwrap_or(Err(Unanswered::Unknown))
        };
        tokio::time::timeout(left, asking).await.unwrap_or(Err(Unanswered::Unknown))
    }

    /// Where the leader's state stood at some moment not before this one, if it has been asked since. This node's state is at
    /// `applied_index`.
    pub fn since(&self, oldest_ms: u64, applied_index: u64) -> Option<Point> {
        let mut known = self.known();
        known.reach(applied_index);
        known.since(oldest_ms)
    }

    /// From how long ago on this node's state may lack something, as far as the answers say, ms.
    pub fn behind_ms(&self, now_ms: u64) -> u64 {
        self.known().behind_ms(now_ms)
    }
}

impl Asker {
    async fn run(self, mut waiting: mpsc::Receiver<Ask>, lease_will_do: bool) {
        let mut round = Vec::new();
        // Everybody who asked before a round begins shares it; who comes during it waits for the next.
        while waiting.recv_many(&mut round, WAITING_MAX).await > 0 {
            let answer = self.probe(lease_will_do).await;
            match answer {
                Ok(point) => self.known.lock().unwrap_or_else(PoisonError::into_inner).learn(point),
                Err(Unanswered::Gone(leader_id)) => self.gate.left(leader_id),
                Err(Unanswered::Unknown) => {}
            }
            round.drain(..).for_each(|ask| {
                let _ = ask.send(answer);
            });
        }
    }

    /// Asks whoever leads now, for as long as it does.
    async fn probe(&self, lease_will_do: bool) -> Result<Point, Unanswered> {
        let mut status = self.status.clone();
        let (leader, version) = {
            let status = status.borrow_and_update();
            let leader = status.leader().filter(|leader| leader.id != status.node_id).cloned();
            (leader.ok_or(Unanswered::Unknown)?, status.version)
        };
        let address = NodeAddress::from(&leader);
        let request = v1::ReadIndexRequest { lease_will_do, wait_ms: ROUND_MS_MAX };
        let ask = async || {
            let sent_ms = self.time.monotonic_ms();
            let time_max = Duration::from_millis(ROUND_MS_MAX);
            (sent_ms, self.network.read_index(leader.id, &address, request, time_max).await)
        };
        let asking = async {
            let mut answered = ask().await;
            for _ in 1..TRIES_MAX {
                // A connection that has broken does not tell whether anybody is there: a new one does. One that is made while a process
                // ends may be accepted all the same.
                match &answered.1 {
                    Err(error) if talon_proto::is_broken(error) => answered = ask().await,
                    Ok(_) | Err(_) => break,
                }
            }
            answered
        };
        let (sent_ms, answer) = tokio::select! {
            answer = asking => answer,
            _ = status.wait_for(|status| status.version != version) => return Err(Unanswered::Unknown),
        };
        match answer {
            Ok(reply) => {
                self.liveness.learn(leader.id, sent_ms, reply.members);
                let clock = Shown { term: reply.term, clock_ms: reply.clock_ms };
                Ok(Point { sent_ms, index: reply.index, clock })
            }
            Err(error) => {
                tracing::debug!(leader = leader.id, message = error.message(), "the leader gave no read index");
                let gone = talon_proto::nobody_listens(&error);
                Err(if gone { Unanswered::Gone(leader.id) } else { Unanswered::Unknown })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(sent_ms: u64, index: u64) -> Point {
        Point { sent_ms, index, clock: Shown::default() }
    }

    #[test]
    fn what_is_known_is_as_old_as_its_question() {
        let mut known = Known { newest: None, held: None, started_ms: 50 };
        assert_eq!((known.since(0), known.behind_ms(100)), (None, 50));
        known.learn(point(100, 7));
        // Within one millisecond nobody knows what came first.
        assert_eq!((known.since(99), known.since(100)), (Some(point(100, 7)), None));
        known.reach(6);
        assert_eq!(known.behind_ms(200), 150, "its state is not there yet");
        known.reach(7);
        assert_eq!(known.behind_ms(200), 100);
        known.learn(point(150, 9));
        assert_eq!(known.since(99), Some(point(100, 7)), "one that was reached need not be waited for");
        assert_eq!(known.since(100), Some(point(150, 9)));
        known.learn(point(120, 8));
        assert_eq!(known.since(121), Some(point(150, 9)), "an answer that comes late makes nothing older");
    }
}

//! Calls that are for the leader, carried out there for a client of another node (`writes_on_follower = "forward"`).
//!
//! What the leader certainly did not carry out is sent again, to whoever leads then, for as long as a call may be held. What it may have
//! carried out is never sent again: [`Denied::InDoubt`]. Before the client hears of its writes, this node's own state has come to
//! where they are, so that the client's next read finds them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use talon_core::planted::{Bug, is_planted};
use talon_core::{Call, Consistency, Denied, Member, Outcome, Proposal, Refusal, Reply, outcomes};
use talon_proto::v1;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::{Code, Status};

use crate::clock::Shown;
use crate::database::{self, is_resent};
use crate::leadership::Leadership;
use crate::node::Inner;
use crate::reads::reached;
use crate::transport::Network;
use crate::types::NodeAddress;
use crate::watch_handles::WatchHandles;

/// How many bytes of calls are under way to the leader at most; beyond that, whoever asks waits.
const UNDER_WAY_BYTES_MAX: usize = 64 << 20;
/// These bytes are counted in lumps of this size.
const PERMIT_BYTES: usize = 1 << 10;
/// How many bytes of calls go together, unless one call alone is larger.
const TOGETHER_BYTES_MAX: usize = 8 << 20;
/// How many calls go together: their answers come as one message, and each may have megabytes.
const TOGETHER_CALLS_MAX: usize = 64;
/// How many bytes of outcomes one answer carries.
const ANSWER_BYTES_MAX: usize = 128 << 20;
/// How long an answer is waited for beyond the time that calls may be held, ms: the leader itself gives up earlier.
const ANSWER_MS_MAX: u64 = 20_000;
/// How long the answer of a node that leads no more is waited for: it, too, knows that it does not know.
const DEPOSED_MAX: Duration = Duration::from_millis(2_000);
/// How long an answer waits for this node's state to come to where the leader carried out the calls, ms. After that, reads wait for it.
const REACH_MS_MAX: u64 = 1_000;
/// For no longer than this, a leader is waited for to be heard again before it is sent the next call, ms.
const SUSPECT_MS_MAX: u64 = 1_000;
/// How long to wait before looking again who leads.
pub(crate) const RETRY: Duration = Duration::from_millis(10);

/// The way to the leader.
pub(crate) struct Forwarder {
    pub network: Network,
    /// What the leader watches for clients of this node.
    pub handles: Arc<WatchHandles>,
    permits: Arc<Semaphore>,
    /// What clients of this node have written by way of the leader is in the state from this log index on: their reads wait for it.
    floor: AtomicU64,
    /// When the way to the leader broke under a call, monotonic ms; 0 = never. Until the leader is heard again, nothing more is sent.
    broken_ms: AtomicU64,
}

impl Forwarder {
    /// With nothing under way.
    pub fn new(network: Network) -> Forwarder {
        let permits = Arc::new(Semaphore::new(UNDER_WAY_BYTES_MAX / PERMIT_BYTES));
        Forwarder { network, handles: Arc::default(), permits, floor: AtomicU64::new(0), broken_ms: AtomicU64::new(0) }
    }

    /// The log index that this node's state has to have come to before plain reads are answered here.
    pub fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// Waits for room for so many bytes. `None`: there was none before the deadline.
    pub async fn room(&self, inner: &Inner, size_bytes: usize, deadline_ms: u64) -> Option<SemaphorePermit<'_>> {
        let left = Duration::from_millis(deadline_ms.saturating_sub(inner.time.monotonic_ms()));
        let permits = (size_bytes / PERMIT_BYTES + 1).min(UNDER_WAY_BYTES_MAX / PERMIT_BYTES) as u32;
        tokio::time::timeout(left, self.permits.acquire_many(permits)).await.ok()?.ok()
    }

    /// This node's clients have written, or seen, what is in the state from this log index on. Waits for it a while.
    pub async fn has_seen(&self, inner: &Inner, index: u64) {
        self.floor.fetch_max(index, Ordering::AcqRel);
        reached(inner, index, inner.time.monotonic_ms() + REACH_MS_MAX).await;
    }
}

/// Carries out a pipeline here or there, wherever each call has to be.
pub(crate) async fn execute(inner: &Arc<Inner>, calls: Vec<Call>, consistency: Consistency) -> Vec<Outcome> {
    let deadline_ms = inner.hold_deadline_ms();
    let mut done: Vec<Outcome> = Vec::with_capacity(calls.len());
    let mut sent = false;
    loop {
        let rest = &calls[done.len()..];
        if rest.is_empty() {
            return done;
        }
        let leads = matches!(*inner.leadership.borrow(), Leadership::Leading { .. });
        let here = if leads {
            rest.len()
        } else if sent {
            // What is behind a call that went to the leader has to see it.
            0
        } else {
            rest.iter().take_while(|call| is_for_here(call, consistency)).count()
        };
        sent |= here == 0;
        let outcomes = if here > 0 {
            database::carry_out(inner, rest[..here].to_vec(), consistency, deadline_ms, false).await
        } else {
            send(inner, rest, consistency, deadline_ms).await
        };
        let refused = outcomes.iter().find_map(is_resent);
        done.extend(outcomes.into_iter().take_while(|outcome| is_resent(outcome).is_none()));
        let Some(refused) = refused else { continue };
        let ends = here > 0 && refused == Denied::ShuttingDown;
        if ends || inner.time.monotonic_ms() >= deadline_ms {
            // Nobody is told to go elsewhere: there, it would be the same.
            let denied = if let Denied::NotLeader { .. } = refused { Denied::NoLeader } else { refused };
            done.resize(calls.len(), Err(denied));
            return done;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Whether a node that does not lead carries it out itself.
fn is_for_here(call: &Call, consistency: Consistency) -> bool {
    !call.is_write() && consistency != Consistency::Lease
}

/// The first of these calls that go together, sent to the leader; one outcome for each that was sent.
async fn send(inner: &Arc<Inner>, calls: &[Call], consistency: Consistency, deadline_ms: u64) -> Vec<Outcome> {
    let bytes_max = inner.settings.request_bytes_max;
    let (mut count, mut size_bytes) = (0, 0);
    for call in calls {
        let call_bytes = call.size_bytes();
        if call_bytes > bytes_max && count == 0 {
            return vec![Err(Denied::TooLarge { size_bytes: call_bytes, bytes_max })];
        }
        if call_bytes > bytes_max
            || count >= TOGETHER_CALLS_MAX
            || (count > 0 && size_bytes + call_bytes > TOGETHER_BYTES_MAX)
        {
            break;
        }
        (count, size_bytes) = (count + 1, size_bytes + call_bytes);
    }
    let calls = &calls[..count];
    let deny = |denied: Denied| vec![Err(denied); count];
    let Some(_room) = inner.forwarder.room(inner, size_bytes, deadline_ms).await else { return deny(Denied::Busy) };
    match ask(inner, calls, consistency, deadline_ms).await {
        Ok(answered) if answered.outcomes.len() == count => {
            // Also what was only read behind a write, for which a client may look here next. Who asks for the leader's word each time does not
            // keep the plain reads of others waiting.
            let stays = consistency != Consistency::Lease || calls.iter().any(Call::is_write);
            if stays && answered.outcomes.iter().any(Outcome::is_ok) && !is_planted(Bug::ForwardForgets) {
                inner.forwarder.has_seen(inner, answered.index).await;
            }
            answered.show_clock(inner);
            answered.outcomes
        }
        Ok(_) => deny_in_doubt(calls),
        Err(Unanswered::NotCarriedOut) => deny(Denied::NoLeader),
        Err(Unanswered::InDoubt) if is_planted(Bug::ForwardTwice) => deny(Denied::NoLeader),
        Err(Unanswered::InDoubt) => deny_in_doubt(calls),
    }
}

/// A read leaves nothing behind: it may be asked again.
fn deny_in_doubt(calls: &[Call]) -> Vec<Outcome> {
    let writes = calls.iter().any(Call::is_write);
    vec![Err(if writes { Denied::InDoubt } else { Denied::NoLeader }); calls.len()]
}

/// Why there are no outcomes.
pub(crate) enum Unanswered {
    /// Certainly not carried out.
    NotCarriedOut,
    /// Perhaps carried out.
    InDoubt,
}

/// What the leader has said.
pub(crate) struct Answered {
    /// One for each call.
    pub outcomes: Vec<Outcome>,
    /// The log index at which its state holds them.
    pub index: u64,
    /// By which they were counted.
    clock: Shown,
}

impl Answered {
    /// From here on this node counts from no earlier clock, if its state is of that term by now.
    pub fn show_clock(&self, inner: &Inner) {
        if inner.stores.applied_term() >= self.clock.term {
            inner.time.show(self.clock);
        }
    }
}

/// The leader's outcomes.
async fn ask(
    inner: &Inner,
    calls: &[Call],
    consistency: Consistency,
    deadline_ms: u64,
) -> Result<Answered, Unanswered> {
    let leader = other_leader(inner).ok_or(Unanswered::NotCarriedOut)?;
    let now_ms = inner.time.monotonic_ms();
    // A process that ends still takes connections for a moment, and what is sent on those would be in doubt, too.
    let heard_ms = now_ms.saturating_sub(inner.watch_over.heard.age_ms(now_ms));
    let broken_ms = inner.forwarder.broken_ms.load(Ordering::Acquire);
    if broken_ms != 0 && heard_ms <= broken_ms && now_ms < broken_ms + SUSPECT_MS_MAX {
        return Err(Unanswered::NotCarriedOut);
    }
    let wait_ms = deadline_ms.saturating_sub(now_ms);
    let request = v1::ForwardRequest {
        calls: Proposal::encode_calls(0, 0, calls.iter()),
        linearizable: consistency == Consistency::Linearizable,
        wait_ms,
    };
    let address = NodeAddress::from(&leader);
    let asking = inner.forwarder.network.forward(leader.id, &address, request, answer_time_max(wait_ms));
    let reply = answered(inner, leader.id, asking).await;
    if matches!(reply, Err(Unanswered::InDoubt)) {
        inner.forwarder.broken_ms.store(inner.time.monotonic_ms(), Ordering::Release);
    }
    read(leader.id, &reply?)
}

/// Who leads, if it is another node.
pub(crate) fn other_leader(inner: &Inner) -> Option<Member> {
    inner.status.borrow().leader().filter(|leader| leader.id != inner.settings.node_id).cloned()
}

/// How long an answer to what may be held for so long is waited for.
pub(crate) fn answer_time_max(wait_ms: u64) -> Duration {
    Duration::from_millis(wait_ms + ANSWER_MS_MAX)
}

/// What the leader answers. Not waited for much longer once another node leads.
pub(crate) async fn answered<T>(
    inner: &Inner,
    leader_id: u64,
    asking: impl Future<Output = Result<T, Status>>,
) -> Result<T, Unanswered> {
    let mut status = inner.status.clone();
    let deposed = async {
        // The sender lives as long as the node.
        let _ = status.wait_for(|status| status.leader_id.is_some_and(|id| id != leader_id)).await;
        tokio::time::sleep(DEPOSED_MAX).await;
    };
    let answer = tokio::select! {
        answer = asking => answer,
        () = deposed => return Err(Unanswered::InDoubt),
    };
    answer.map_err(|status| {
        tracing::debug!(leader_id, message = status.message(), "the leader did not answer");
        if is_before_all(&status) { Unanswered::NotCarriedOut } else { Unanswered::InDoubt }
    })
}

/// What an answer says.
pub(crate) fn read(leader_id: u64, reply: &v1::ForwardReply) -> Result<Answered, Unanswered> {
    let outcomes = outcomes::decode(&reply.outcomes).map_err(|fault| {
        tracing::warn!(leader_id, %fault, "the leader's answer cannot be read");
        Unanswered::InDoubt
    })?;
    // The leader's fault is not this node's.
    let own = |outcome: Outcome| {
        outcome.map_err(|denied| if let Denied::Fault(_) = denied { Denied::InDoubt } else { denied })
    };
    let clock = Shown { term: reply.clock_term, clock_ms: reply.clock_ms };
    Ok(Answered { outcomes: outcomes.into_iter().map(own).collect(), index: reply.index, clock })
}

/// Whether the request has certainly not come to where calls are carried out: it was not sent, or refused at the door.
fn is_before_all(status: &Status) -> bool {
    let refused = [
        Code::Unauthenticated,
        Code::PermissionDenied,
        Code::FailedPrecondition,
        Code::InvalidArgument,
        Code::Unimplemented,
    ];
    refused.contains(&status.code()) || talon_proto::not_even_sent(status)
}

/// As the leader: carries out what member `from` has sent. An error: nothing was carried out.
pub(crate) async fn answer(
    inner: &Arc<Inner>,
    from: u64,
    request: v1::ForwardRequest,
) -> Result<v1::ForwardReply, Status> {
    check_member(inner, from)?;
    let calls = Proposal::decode(request.calls).map_err(|fault| Status::invalid_argument(fault.0))?.calls;
    let reads: Vec<bool> = calls.iter().map(|call| !call.is_write()).collect();
    let deadline_ms = inner.time.monotonic_ms() + request.wait_ms.min(inner.settings.hold_ms_max);
    let consistency = if request.linearizable { Consistency::Linearizable } else { Consistency::Lease };
    // They are held by whoever asks: that node may hear of another leader before this one does.
    let leads = matches!(*inner.leadership.borrow(), Leadership::Leading { .. });
    let outcomes = if leads {
        database::carry_out(inner, calls, consistency, deadline_ms, true).await
    } else {
        vec![Err(Denied::NoLeader); calls.len()]
    };
    Ok(reply(inner, outcomes, &reads))
}

/// Only members have their clients' calls carried out.
pub(crate) fn check_member(inner: &Inner, from: u64) -> Result<(), Status> {
    let is_member = inner.status.borrow().members.iter().any(|member| member.id == from);
    if is_member { Ok(()) } else { Err(Status::permission_denied(format!("node {from} is not a member"))) }
}

/// The answer with these outcomes, now that they are in the state; replies that would make it too long are left out.
pub(crate) fn reply(inner: &Inner, outcomes: Vec<Outcome>, reads: &[bool]) -> v1::ForwardReply {
    let (index, clock) = (inner.stores.applied_index(), inner.time.shown());
    let outcomes = encode(outcomes, reads, ANSWER_BYTES_MAX);
    v1::ForwardReply { outcomes, index, clock_ms: clock.clock_ms, clock_term: clock.term }
}

/// The bytes of outcomes, at most so many: replies that take more than their share are left out.
fn encode(mut all: Vec<Outcome>, reads: &[bool], bytes_max: usize) -> bytes::Bytes {
    let sizes_bytes: Vec<usize> = all.iter().map(outcomes::size_bytes).collect();
    let room_bytes = bytes_max.saturating_sub(outcomes::HEADER_BYTES);
    if sizes_bytes.iter().sum::<usize>() > room_bytes {
        let share_bytes = room_bytes / all.len().max(1);
        let too_large = all.iter_mut().zip(reads).zip(sizes_bytes).filter(|(_, size_bytes)| *size_bytes > share_bytes);
        for ((outcome, is_read), _) in too_large {
            *outcome = if *is_read {
                Ok(Reply::Error(Refusal::new(
                    "ERR the reply is too large to come by way of another node: ask the leader",
                )))
            } else {
                Err(Denied::InDoubt)
            };
        }
    }
    outcomes::encode(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_keeps_to_its_bound() {
        let large = || Ok(Reply::Bulk(vec![b'x'; 600].into()));
        let small = || Ok(Reply::Integer(1));
        assert_eq!(
            outcomes::decode(&encode(vec![large(), small()], &[true, false], 1_000)).unwrap(),
            [large(), small()]
        );
        let bytes = encode(vec![large(), small(), large()], &[true, false, false], 1_000);
        assert!(bytes.len() <= 1_000);
        let read = outcomes::decode(&bytes).unwrap();
        assert!(matches!(&read[0], Ok(Reply::Error(refusal)) if refusal.line().contains("ask the leader")));
        assert_eq!(read[1..], [small(), Err(Denied::InDoubt)]);
    }
}

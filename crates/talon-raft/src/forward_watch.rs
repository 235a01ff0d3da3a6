//! Watched keys of a node that forwards (`writes_on_follower = "forward"`): the leader watches for it.
//!
//! `WATCH` has the leader watch, and is answered once this node's state has come to the one that the watch began with: what the client
//! reads here is that state or a later one, and the watch tells of all that comes behind it. `EXEC` goes to whoever keeps the watch. If that
//! node leads no more, or has it no more, nothing is carried out, and the client hears that its keys were touched; as on the
//! leader, a change of leader ends every watch. What may have been carried out is never sent again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use talon_core::{Call, Denied, Outcome, Proposal, RemoteWatch, Reply, Request, Watch, WatchId};
use talon_proto::v1;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::database;
use crate::forward::{self, Answered, RETRY, Unanswered, answered, other_leader};
use crate::leadership::Leadership;
use crate::node::Inner;
use crate::reads::reached;
use crate::types::NodeAddress;
use crate::watched;

/// How often the leader is told which watches are still needed: several times before it gives them up
/// ([`crate::remote_watches::KEPT_MS_MAX`]).
const RENEWAL: Duration = Duration::from_secs(15);
/// Released watches are gathered for so long.
const GATHERED: Duration = Duration::from_millis(20);
/// How long the leader may take to hear of it.
const NEWS_MAX: Duration = Duration::from_secs(2);
/// How often watches that are over are looked for.
const PRUNING: Duration = Duration::from_secs(1);

/// See [`talon_core::Database::watch`].
pub(crate) async fn watch(inner: &Arc<Inner>, keys: Vec<Bytes>) -> Result<Watch, Denied> {
    let deadline_ms = inner.hold_deadline_ms();
    let size_bytes = keys.iter().map(Bytes::len).sum();
    let bytes_max = inner.settings.request_bytes_max;
    if size_bytes > bytes_max {
        return Err(Denied::TooLarge { size_bytes, bytes_max });
    }
    loop {
        let leads = matches!(*inner.leadership.borrow(), Leadership::Leading { .. });
        let watched = if leads {
            watched::watch(inner, &keys, deadline_ms).await.map(|begun| begun.watch.into())
        } else {
            ask(inner, &keys, size_bytes, deadline_ms).await.map(Watch::Remote)
        };
        match watched {
            Err(Denied::NotLeader { .. } | Denied::NoLeader) => {}
            watched => return watched,
        }
        if inner.time.monotonic_ms() >= deadline_ms {
            return Err(Denied::NoLeader);
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Has the leader watch, and waits for its state.
async fn ask(inner: &Arc<Inner>, keys: &[Bytes], size_bytes: usize, deadline_ms: u64) -> Result<RemoteWatch, Denied> {
    let _room = inner.forwarder.room(inner, size_bytes, deadline_ms).await.ok_or(Denied::Busy)?;
    let leader = other_leader(inner).ok_or(Denied::NoLeader)?;
    let wait_ms = deadline_ms.saturating_sub(inner.time.monotonic_ms());
    let request = v1::WatchRequest { keys: keys.to_vec(), index: inner.stores.applied_index(), wait_ms };
    let address = NodeAddress::from(&leader);
    let time_max = forward::answer_time_max(wait_ms);
    let asking = inner.forwarder.network.watch(leader.id, &address, request, time_max);
    // A watch that was begun and not heard of ends by itself.
    let reply = answered(inner, leader.id, asking).await.map_err(|_| Denied::NoLeader)?;
    if reply.full {
        return Err(Denied::TooMuchWatched);
    }
    let id = WatchId { node_id: leader.id, term: reply.term, number: reply.number };
    let watch = inner.forwarder.handles.hold(id, keys);
    if !reached(inner, reply.index, deadline_ms).await {
        let now_ms = inner.time.monotonic_ms();
        let behind_ms = inner.watch_over.heard.age_ms(now_ms).max(inner.disk.behind_ms(now_ms));
        return Err(Denied::Stale { behind_ms, bound_ms: 0 });
    }
    Ok(watch)
}

/// As the leader: watches for a member. An error: nothing is watched.
pub(crate) async fn answer_watch(
    inner: &Inner,
    from: u64,
    request: v1::WatchRequest,
) -> Result<v1::WatchReply, Status> {
    forward::check_member(inner, from)?;
    let deadline_ms = inner.time.monotonic_ms() + request.wait_ms.min(inner.settings.hold_ms_max);
    let not_leading = || Status::failed_precondition("this node does not lead");
    // It is held by whoever asks: that node may hear of another leader before this one does.
    if !matches!(*inner.leadership.borrow(), Leadership::Leading { .. }) {
        return Err(not_leading());
    }
    // Else the client could have seen a write there that touches the watch here.
    if !reached(inner, request.index, deadline_ms).await {
        return Err(not_leading());
    }
    let begun = watched::watch(inner, &request.keys, deadline_ms).await;
    let begun = begun.map_err(|denied| Status::unavailable(format!("not watched: {denied:?}")))?;
    let number = inner.remote_watches.keep(from, begun.watch, begun.term, inner.time.monotonic_ms());
    Ok(v1::WatchReply {
        number: number.unwrap_or_default(),
        term: begun.term,
        index: begun.index,
        full: number.is_none(),
    })
}

/// See [`talon_core::Database::execute_if`].
pub(crate) async fn execute_if(inner: &Arc<Inner>, requests: Vec<Request>, watches: Vec<Watch>) -> Outcome {
    let deadline_ms = inner.hold_deadline_ms();
    let mut remote = Vec::new();
    let mut local = Vec::new();
    for watch in watches {
        match watch {
            Watch::Local(watch) => local.push(Watch::Local(watch)),
            Watch::Remote(watch) => remote.push(watch),
        }
    }
    if remote.is_empty() {
        return match database::execute_if(inner, requests, local, deadline_ms).await {
            // It led when it began to watch.
            Err(Denied::NotLeader { .. }) => Ok(Reply::NullArray),
            outcome => outcome,
        };
    }
    // This node cannot have led while another one did.
    if !local.is_empty() {
        return Ok(Reply::NullArray);
    }
    execute_there(inner, Call::Transaction(requests), remote, deadline_ms).await
}

/// Has whoever keeps the watches carry out a transaction.
async fn execute_there(inner: &Arc<Inner>, call: Call, watches: Vec<RemoteWatch>, deadline_ms: u64) -> Outcome {
    call.check_size(inner.settings.request_bytes_max)?;
    let Some(keeper) = the_keeper(&watches) else { return Ok(Reply::NullArray) };
    let _room = inner.forwarder.room(inner, call.size_bytes(), deadline_ms).await.ok_or(Denied::Busy)?;
    loop {
        if is_over(inner, keeper) {
            return Ok(Reply::NullArray);
        }
        match send(inner, &call, &watches, keeper.node_id, deadline_ms).await {
            Ok(answered) => {
                inner.forwarder.handles.forget(watches);
                if matches!(answered.outcomes[..], [Ok(Reply::Array(_))]) {
                    inner.forwarder.has_seen(inner, answered.index).await;
                }
                answered.show_clock(inner);
                return match answered.outcomes.into_iter().next().unwrap_or(Err(Denied::InDoubt)) {
                    // It leads no more, or goes down.
                    Err(Denied::NotLeader { .. } | Denied::NoLeader | Denied::ShuttingDown) => Ok(Reply::NullArray),
                    outcome => outcome,
                };
            }
            Err(Unanswered::InDoubt) => return Err(if call.is_write() { Denied::InDoubt } else { Denied::NoLeader }),
            Err(Unanswered::NotCarriedOut) => {}
        }
        if inner.time.monotonic_ms() >= deadline_ms {
            return Err(Denied::NoLeader);
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Who keeps all of them, in one term.
fn the_keeper(watches: &[RemoteWatch]) -> Option<WatchId> {
    let first = watches.first()?.id();
    let same = |watch: &RemoteWatch| (watch.id().node_id, watch.id().term) == (first.node_id, first.term);
    watches.iter().all(same).then_some(first)
}

/// Whether the term of the watch is over, as far as this node knows.
fn is_over(inner: &Inner, keeper: WatchId) -> bool {
    let status = inner.status.borrow();
    status.term > keeper.term || status.leader_id.is_some_and(|leader_id| leader_id != keeper.node_id)
}

/// Sends it once.
async fn send(
    inner: &Inner,
    call: &Call,
    watches: &[RemoteWatch],
    keeper_id: u64,
    deadline_ms: u64,
) -> Result<Answered, Unanswered> {
    let keeper = inner.status.borrow().members.iter().find(|member| member.id == keeper_id).cloned();
    let address = keeper.as_ref().map(NodeAddress::from).ok_or(Unanswered::NotCarriedOut)?;
    let wait_ms = deadline_ms.saturating_sub(inner.time.monotonic_ms());
    let request = v1::ForwardIfRequest {
        calls: Proposal::encode_calls(0, 0, std::iter::once(call)),
        watches: watches.iter().map(|watch| watch.id().number).collect(),
        wait_ms,
    };
    let time_max = forward::answer_time_max(wait_ms);
    let asking = inner.forwarder.network.forward_if(keeper_id, &address, request, time_max);
    let reply = answered(inner, keeper_id, asking).await?;
    forward::read(keeper_id, &reply)
}

/// Carries out a member's transaction, if the watches that are kept for it hold. An error: nothing was carried out.
pub(crate) async fn answer_if(
    inner: &Arc<Inner>,
    from: u64,
    request: v1::ForwardIfRequest,
) -> Result<v1::ForwardReply, Status> {
    forward::check_member(inner, from)?;
    let calls = Proposal::decode(request.calls).map_err(|fault| Status::invalid_argument(fault.0))?.calls;
    let Ok([Call::Transaction(requests)]) = <[Call; 1]>::try_from(calls) else {
        return Err(Status::invalid_argument("one transaction is what depends on watches"));
    };
    let is_read = !requests.iter().any(|request| request.command.is_write());
    let deadline_ms = inner.time.monotonic_ms() + request.wait_ms.min(inner.settings.hold_ms_max);
    let outcome = match inner.remote_watches.take(from, &request.watches, inner.time.monotonic_ms()) {
        Some(watches) if !watches.is_empty() => database::execute_if(inner, requests, watches, deadline_ms).await,
        _ => Ok(Reply::NullArray),
    };
    Ok(forward::reply(inner, vec![outcome], &[is_read]))
}

/// What a member still needs of what is kept for it, and what not.
pub(crate) fn hear_news(inner: &Inner, from: u64, news: &v1::KeepWatchesRequest) {
    inner.remote_watches.release(from, &news.released);
    inner.remote_watches.renew(from, &news.renewed, inner.time.monotonic_ms());
}

/// Tells the leader what was released, soon, and what is still needed, now and then. A message that is lost is not sent again: what was released
/// ends by itself, and what is needed is in the next one.
pub(crate) async fn tell_news(inner: Arc<Inner>) {
    let handles = inner.forwarder.handles.clone();
    let mut renewal = Instant::now() + RENEWAL;
    loop {
        // Whether something was released or it is time to renew is looked at below.
        if timeout_at(renewal, handles.released.notified()).await.is_ok() {
            tokio::time::sleep(GATHERED).await;
        }
        let leader = other_leader(&inner);
        let (released, held) = handles.take_news(leader.as_ref().map(|leader| leader.id));
        let renews = Instant::now() >= renewal;
        if renews {
            renewal = Instant::now() + RENEWAL;
        }
        let renewed = if renews { held } else { Vec::new() };
        let Some(leader) = leader.filter(|_| !released.is_empty() || !renewed.is_empty()) else { continue };
        let news = v1::KeepWatchesRequest { released, renewed };
        let address = NodeAddress::from(&leader);
        if let Err(status) = inner.forwarder.network.keep_watches(leader.id, &address, news, NEWS_MAX).await {
            tracing::debug!(leader = leader.id, message = status.message(), "the leader did not hear of watches");
        }
    }
}

/// Ends what is watched for members that have not named it for long, or in a term that is over.
pub(crate) async fn prune(inner: Arc<Inner>) {
    loop {
        tokio::time::sleep(PRUNING).await;
        let leadership = *inner.leadership.borrow();
        let may_count = |term: u64| match leadership {
            Leadership::Leading { term: led } => term == led,
            Leadership::Following { .. } => false,
            Leadership::Unsettled | Leadership::Nobody => true,
        };
        inner.remote_watches.prune(inner.time.monotonic_ms(), may_count);
    }
}

//! Watches raft, and tells the rest of the node who leads, what may be served, and what to show.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Instant, ServerState};
use talon_core::planted::{Bug, is_planted};
use talon_core::{Member, MemberRole, Role, Status};
use tokio::sync::watch;

use crate::leadership::Leadership;
use crate::liveness::Sight;
use crate::node::Inner;
use crate::settings::Settings;
use crate::transport::Gate;
use crate::types::TypeConfig;

/// How often it looks, even if nothing turns: ages and positions grow by themselves.
const INTERVAL: Duration = Duration::from_millis(50);

type Metrics = openraft::RaftMetrics<TypeConfig>;

/// What a node shows before it knows anything.
pub(crate) fn first_status(settings: &Settings) -> Status {
    Status {
        version: 0,
        node_id: settings.node_id,
        cluster_id: String::new(),
        role: Role::Follower,
        clustered: true,
        leader_id: None,
        last_leader_id: None,
        led_ms_ago: None,
        term: 0,
        members: Vec::new(),
        applied_index: 0,
        committed_index: 0,
        last_log_index: 0,
        first_log_index: 0,
        clock_ms: 0,
        serving: false,
        heard_from_leader_ms: 0,
        expired_keys: 0,
    }
}

/// Runs for as long as the node does.
pub(crate) async fn run(inner: Arc<Inner>, leadership: watch::Sender<Leadership>, status: watch::Sender<Arc<Status>>) {
    let mut metrics = inner.raft.metrics();
    // Who votes, leads and belongs: that turns seldom. All of the metrics change several times an entry, and looking at them
    // each time cost more than the entry.
    let mut turning = inner.raft.server_metrics();
    let mut serving = false;
    let mut turned_lately = false;
    loop {
        turning.borrow_and_update();
        let seen = metrics.borrow_and_update().clone();
        allow_elections(&inner, &seen);
        let now = judge(&inner, &seen);
        serving |= may_serve(&inner, &seen, now);
        let next = describe(&inner, &seen, now, serving);
        // First what is shown, then what is acted on: whoever is redirected must find the leader in the status.
        status.send_if_modified(|old| {
            let changed = has_turned(old, &next);
            let version = old.version + u64::from(changed);
            *old = Arc::new(Status { version, ..next });
            changed
        });
        let turned = leadership.send_if_modified(|old| std::mem::replace(old, now) != now);
        if turned
            && let Leadership::Leading { term } = now
            && let Some(observer) = &inner.environment.observer
        {
            observer.leads(term);
        }
        // openraft tells of a turn before the metrics show it: after one, the next metrics are looked at, too.
        let settled = serving
            && !std::mem::take(&mut turned_lately)
            && matches!(now, Leadership::Leading { .. } | Leadership::Following { .. });
        let ended = tokio::select! {
            changed = turning.changed() => {
                turned_lately = true;
                changed.is_err()
            }
            changed = metrics.changed(), if !settled => changed.is_err(),
            () = inner.watch_over.hung_up.notified() => false,
            () = tokio::time::sleep(INTERVAL) => false,
        };
        if ended {
            return;
        }
    }
}

/// A node campaigns only when it may; see [`crate::node::WatchOver`].
fn allow_elections(inner: &Inner, seen: &Metrics) {
    let watch_over = &inner.watch_over;
    let caught_up = watch_over
        .heard
        .first_committed()
        .is_some_and(|committed| seen.last_applied.is_some_and(|applied| applied.index >= committed));
    if watch_over.joining.load(Ordering::Acquire)
        && caught_up
        && let Err(error) = watch_over.joined()
    {
        inner.stores.fail(&talon_core::Fault(error.to_string()));
    }
    inner.raft.runtime_config().elect(watch_over.why_no_vote().is_none());
}

fn judge(inner: &Inner, seen: &Metrics) -> Leadership {
    let membership = seen.membership_config.membership();
    let sets: Vec<Vec<u64>> = membership.get_joint_config().iter().map(|set| set.iter().copied().collect()).collect();
    let mut voters: Vec<u64> = membership.voter_ids().collect();
    voters.sort_unstable();
    voters.dedup();
    inner.time.set_voters(voters);
    *inner.voter_sets() = sets;
    let id = inner.settings.node_id;
    if seen.state != ServerState::Leader {
        inner.time.follow();
        let heard = &inner.watch_over.heard;
        let lately = heard.age_ms(inner.time.monotonic_ms()) <= inner.settings.election_timeout_ms_max;
        return match seen.current_leader {
            // One whose process has ended would else be named until its lease is over, and clients would knock at its door all the while.
            Some(leader_id) if leader_id != id && lately && !heard.has_left(leader_id) => {
                Leadership::Following { leader_id }
            }
            Some(leader_id) if leader_id == id => Leadership::Unsettled,
            _ => Leadership::Nobody,
        };
    }
    let term = seen.current_term;
    if inner.stores.applied_term() != term || has_lost_quorum(inner, seen) {
        return Leadership::Unsettled;
    }
    inner.watch_over.heard.hear(inner.time.monotonic_ms(), None);
    inner.time.lead(term, inner.stores.live().machine.applied().clock_ms);
    Leadership::Leading { term }
}

/// No majority has answered for a lease and an election: there may be another leader.
fn has_lost_quorum(inner: &Inner, seen: &Metrics) -> bool {
    let alone = inner.voter_sets().iter().all(|set| set.as_slice() == [inner.settings.node_id]);
    // Planted: one that does not look. And openraft's clock, unlike the simulated one, stands still while a real machine is suspended.
    if is_planted(Bug::ReadWithoutLease) || is_planted(Bug::LeaseByStoppingClock) {
        return false;
    }
    let age_max = Duration::from_millis(2 * inner.settings.election_timeout_ms_max);
    !alone && seen.last_quorum_acked.is_some_and(|acked| acked.elapsed() > age_max)
}

/// A follower serves once it has reached what a leader had committed when it was first heard.
fn may_serve(inner: &Inner, seen: &Metrics, now: Leadership) -> bool {
    match now {
        Leadership::Leading { .. } => true,
        Leadership::Following { .. } => {
            let applied = seen.last_applied.map(|applied| applied.index);
            inner.watch_over.heard.first_committed().is_some_and(|committed| applied.is_some_and(|at| at >= committed))
        }
        Leadership::Unsettled | Leadership::Nobody => false,
    }
}

fn describe(inner: &Inner, seen: &Metrics, now: Leadership, serving: bool) -> Status {
    let membership = seen.membership_config.membership();
    let voters: Vec<u64> = membership.voter_ids().collect();
    let matched = |id: &u64| seen.replication.as_ref()?.get(id)?.map(|position| position.index);
    let members = membership
        .nodes()
        .map(|(id, address)| Member {
            id: *id,
            host: address.host.clone(),
            resp_port: address.resp_port,
            grpc_port: address.grpc_port,
            raft_port: address.raft_port,
            role: if voters.contains(id) { MemberRole::Voter } else { MemberRole::Learner },
            matched_index: matched(id),
            silent_ms: None,
        })
        .collect();
    let (role, leader_id) = match now {
        Leadership::Leading { .. } => (Role::Leader, Some(inner.settings.node_id)),
        Leadership::Following { leader_id } => (follower_role(inner, &voters), Some(leader_id)),
        Leadership::Unsettled | Leadership::Nobody => (follower_role(inner, &voters), None),
    };
    let now_ms = inner.time.monotonic_ms();
    let leader_heard_ms = inner.watch_over.heard.age_ms(now_ms);
    let mut status = Status {
        version: 0,
        node_id: inner.settings.node_id,
        cluster_id: inner.link.cluster_id(),
        role,
        clustered: true,
        leader_id,
        last_leader_id: leader_id.or(inner.status.borrow().last_leader_id),
        led_ms_ago: None,
        term: seen.current_term,
        members,
        applied_index: seen.last_applied.map_or(0, |position| position.index),
        committed_index: seen.local_committed.map_or(0, |position| position.index),
        last_log_index: seen.last_log_index.unwrap_or(0),
        first_log_index: seen.purged.map_or(0, |position| position.index + 1),
        clock_ms: inner.stores.live().machine.applied().clock_ms,
        serving,
        heard_from_leader_ms: match role {
            Role::Leader => 0,
            Role::Follower | Role::Learner => leader_heard_ms,
        },
        expired_keys: inner.stores.live().machine.expired_keys(),
    };
    let (own_id, lease) = (inner.settings.node_id, &inner.lease);
    let sight = Sight { own_id, leadership: now, lease, leader_heard_ms, now_ms };
    inner.liveness.describe(sight, &mut status);
    status
}

/// What is known, with the positions as they are now: the status itself is up to [`INTERVAL`] behind.
pub(crate) fn with_positions(inner: &Inner, known: &Status) -> Status {
    let metrics = inner.raft.metrics();
    let seen = metrics.borrow_watched();
    let mut now = known.clone();
    // Not what the metrics say, which comes behind the replies.
    now.applied_index = inner.stores.live().machine.applied().index;
    now.committed_index = seen.local_committed.map_or(0, |position| position.index).max(now.applied_index);
    now.last_log_index = seen.last_log_index.unwrap_or(0).max(now.applied_index);
    if let Some(replication) = &seen.replication {
        for member in &mut now.members {
            let matched = replication.get(&member.id);
            member.matched_index = matched.and_then(|position| Some(position.as_ref()?.index));
        }
    }
    now
}

fn follower_role(inner: &Inner, voters: &[u64]) -> Role {
    if voters.contains(&inner.settings.node_id) { Role::Follower } else { Role::Learner }
}

/// Whether what clients and operators act on is different now.
fn has_turned(old: &Status, new: &Status) -> bool {
    let who = |status: &Status| -> Vec<(u64, String, u16, MemberRole, bool)> {
        status.members.iter().map(|m| (m.id, m.host.clone(), m.resp_port, m.role, m.is_down())).collect()
    };
    (old.role, old.leader_id, old.term, old.serving) != (new.role, new.leader_id, new.term, new.serving)
        || old.cluster_id != new.cluster_id
        || who(old) != who(new)
}

/// Figures for the metrics endpoint.
pub(crate) fn gauges(inner: &Inner) -> Vec<(&'static str, &'static str, f64)> {
    let status = inner.status.borrow().clone();
    let (in_flight, queued) = inner.proposer.load();
    let number = |value: u64| value as f64;
    let mut gauges = vec![
        ("raft_term", "The current term.", number(status.term)),
        ("raft_is_leader", "1 on the leader.", f64::from(u8::from(status.role == Role::Leader))),
        ("raft_applied_index", "The last log index applied.", number(status.applied_index)),
        ("raft_committed_index", "The last log index known to be committed.", number(status.committed_index)),
        ("raft_last_log_index", "The last log index in the log.", number(status.last_log_index)),
        ("raft_first_log_index", "The first log index in the log.", number(status.first_log_index)),
        ("raft_log_bytes", "The size of the log in bytes.", number(inner.log.entry_bytes())),
        ("raft_entries_in_flight", "Proposed entries under way.", in_flight as f64),
        ("raft_pipelines_queued", "Pipelines that wait to be proposed.", queued as f64),
        ("remote_watches", "What the leader watches for clients of other nodes.", inner.remote_watches.len() as f64),
        ("raft_heard_from_leader_ms", "Milliseconds since a leader was heard.", number(status.heard_from_leader_ms)),
        ("clock_ms", "The replicated clock T, Unix milliseconds.", number(status.clock_ms)),
        ("serving", "1 if reads and writes are answered.", f64::from(u8::from(status.serving))),
    ];
    gauges.push((
        "disk_is_low",
        "1 while writes are refused for want of room.",
        f64::from(u8::from(inner.disk.is_low())),
    ));
    if let Some(free_bytes) = inner.disk.free_bytes() {
        gauges.push(("disk_free_bytes", "Room on the disk of the data folder.", number(free_bytes)));
    }
    if let Some(offset_ms) = inner.time.offset_ms() {
        gauges.push(("clock_offset_ms", "This machine's clock less the voters' median.", offset_ms as f64));
    }
    gauges
}

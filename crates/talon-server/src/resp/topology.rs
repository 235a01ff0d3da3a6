//! The cluster as Redis clients see it: one shard with all slots, a master and its replicas.

use talon_core::{Member, Role, Status};

/// The 40 hex digits that name a node for Redis clients: the cluster's first 24 and the node's number.
pub(crate) fn node_name(status: &Status, id: u64) -> String {
    let cluster: String = status.cluster_id.chars().filter(char::is_ascii_hexdigit).take(24).collect();
    format!("{cluster:0<24}{id:016x}")
}

/// The 40 hex digits that name the history of the data.
pub(crate) fn replication_name(status: &Status) -> String {
    let cluster: String = status.cluster_id.chars().filter(char::is_ascii_hexdigit).take(40).collect();
    format!("{cluster:0<40}")
}

pub(crate) fn leads(status: &Status) -> bool {
    status.role == Role::Leader
}

pub(crate) fn is_led_by_another(status: &Status) -> bool {
    !leads(status) && status.leader_id.is_some()
}

/// Everyone but the master.
pub(crate) fn followers(status: &Status) -> impl Iterator<Item = &Member> {
    let master = master(status);
    status.members.iter().filter(move |member| master.is_none_or(|master| master.id != member.id))
}

/// Those of them that have been heard lately.
pub(crate) fn live_followers(status: &Status) -> impl Iterator<Item = &Member> {
    followers(status).filter(|member| !has_failed(status, member))
}

/// Who is named as the master of all slots: the leader, or while there is none, who was the last one, as in a Redis cluster whose master
/// has failed.
pub(crate) fn master(status: &Status) -> Option<&Member> {
    status.last_leader()
}

/// The master of the slots first, then the others.
pub(crate) fn master_first(status: &Status) -> impl Iterator<Item = &Member> {
    master(status).into_iter().chain(followers(status))
}

/// Whether a member is not to be counted on: it has been silent for too long, or was the leader and is so no more. A node says this of others
/// only.
pub(crate) fn has_failed(status: &Status, member: &Member) -> bool {
    let led = status.leader_id.is_none() && status.last_leader_id == Some(member.id);
    member.id != status.node_id && (led || member.is_down())
}

/// For so long after it led, a node reckons with clients that take it for the leader still, ms: those of a cluster client learn of another
/// leader by being redirected, and reads are not.
const LED_LATELY_MS_MAX: u64 = 60_000;

/// Whether this node has led a short time ago.
pub(crate) fn led_lately(status: &Status) -> bool {
    status.led_ms_ago.is_some_and(|led_ms_ago| led_ms_ago < LED_LATELY_MS_MAX)
}

/// Whether a follower's word from its leader is recent enough to call the link up.
pub(crate) fn link_up(status: &Status) -> bool {
    const SILENCE_MAX_MS: u64 = 10_000;
    leads(status) || (status.leader().is_some() && status.heard_from_leader_ms <= SILENCE_MAX_MS)
}

/// How many followers hold everything up to the log index `target`, as far as the leader knows.
pub(crate) fn followers_holding(status: &Status, target: u64) -> usize {
    followers(status).filter(|member| member.matched_index.is_some_and(|matched| matched >= target)).count()
}

/// Whether the leader's own log has everything up to the log index `target` on its disk. (A majority had, when it was acknowledged; the
/// leader need not have been one of them.)
pub(crate) fn leader_holds(status: &Status, target: u64) -> bool {
    status.leader().is_some_and(|leader| leader.matched_index.is_some_and(|matched| matched >= target))
}

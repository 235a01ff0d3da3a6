//! What Sentinels tell those who subscribe, as this node sees the cluster: node-redis, Lettuce and others follow the leader by it.
//!
//! The names and words are those of Redis's Sentinel: <https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/>
//! ("Pub/Sub messages").

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use talon_core::{Member, MemberRole, Refusal, Status};

use super::topology;

/// A channel and a message.
pub(crate) type Event = (&'static str, Bytes);

/// Where they are told. Nobody else publishes there: with Redis, Sentinels are other processes, and what they say sends all clients elsewhere.
const CHANNELS: [&str; 9] = [
    "+sdown",
    "-sdown",
    "+odown",
    "-odown",
    "+elected-leader",
    "+failover-end",
    "+switch-master",
    "+slave",
    "+sentinel",
];

/// What a client is told that publishes there.
pub(crate) const RESERVED: Refusal =
    Refusal::new("ERR this channel is for what the cluster itself tells of its leader and members");

/// Whether this channel is for events only.
pub(crate) fn is_reserved(channel: &[u8]) -> bool {
    matches!(channel, [b'+' | b'-', ..]) && CHANNELS.iter().any(|own| own.as_bytes() == channel)
}

/// Follows the status, and says what is to be told.
pub(crate) struct Events {
    name: String,
    /// The last leader that was known, until another one is.
    leader: Option<Member>,
    /// Whether it was said that nobody leads.
    is_down: bool,
    /// Of which followers it was said that they are down.
    down: BTreeSet<u64>,
    seen: Arc<Status>,
}

impl Events {
    /// From this status on; `name` is what `SENTINEL` calls the cluster.
    pub fn new(name: &str, status: Arc<Status>) -> Events {
        Events {
            name: name.to_owned(),
            leader: status.leader().cloned(),
            is_down: false,
            down: BTreeSet::new(),
            seen: status,
        }
    }

    /// What has happened since.
    pub fn follow(&mut self, now: Arc<Status>) -> Vec<Event> {
        let mut events = Vec::new();
        match (&self.leader, now.leader()) {
            (Some(old), None) if !self.is_down => {
                let voters = now.members.iter().filter(|member| member.role == MemberRole::Voter).count();
                events.push(("+sdown", self.master(old)));
                events.push(("+odown", format!("{} #quorum {voters}/{}", self.master(old), voters / 2 + 1)));
                self.is_down = true;
            }
            (Some(old), Some(new)) => {
                if place(old) != place(new) {
                    events.push(("+elected-leader", self.master(old)));
                    events.push(("+failover-end", self.master(old)));
                    let (host, port) = place(new);
                    let words = format!("{} {} {} {host} {port}", self.name, old.host, old.resp_port);
                    events.push(("+switch-master", words));
                    let others = now.members.iter().filter(|member| member.id != new.id);
                    events.extend(others.map(|member| ("+slave", self.other("slave", member, new))));
                } else if self.is_down {
                    events.push(("-odown", self.master(old)));
                    events.push(("-sdown", self.master(old)));
                }
                self.is_down = false;
            }
            _ => {}
        }
        if let Some(new) = now.leader() {
            let joined =
                now.members.iter().filter(|member| self.seen.members.iter().all(|known| known.id != member.id));
            // Before the first status with a leader nobody was known at all.
            for member in joined.filter(|_| !self.seen.members.is_empty()) {
                events.push(("+slave", self.other("slave", member, new)));
                events.push(("+sentinel", self.other("sentinel", member, new)));
            }
            self.leader = Some(new.clone());
            self.down.retain(|id| now.members.iter().any(|member| member.id == *id));
            for member in &now.members {
                let failed = member.id != new.id && topology::has_failed(&now, member);
                if failed && self.down.insert(member.id) {
                    events.push(("+sdown", self.other("slave", member, new)));
                } else if !failed && self.down.remove(&member.id) {
                    events.push(("-sdown", self.other("slave", member, new)));
                }
            }
        }
        self.seen = now;
        events.into_iter().map(|(channel, words)| (channel, Bytes::from(words))).collect()
    }

    /// `master <name> <host> <port>`
    fn master(&self, leader: &Member) -> String {
        format!("master {} {} {}", self.name, leader.host, leader.resp_port)
    }

    /// `slave <host>:<port> <host> <port> @ <name> <leader's host> <leader's port>`
    fn other(&self, kind: &str, member: &Member, leader: &Member) -> String {
        let (host, port) = place(member);
        format!("{kind} {host}:{port} {host} {port} @ {} {} {}", self.name, leader.host, leader.resp_port)
    }
}

fn place(member: &Member) -> (&str, u16) {
    (&member.host, member.resp_port)
}

#[cfg(test)]
mod tests {
    use talon_core::{DOWN_AFTER_MS, Role};

    use super::*;

    fn status(members: u64, leader_id: Option<u64>) -> Arc<Status> {
        let members = (1..=members).map(|id| Member {
            id,
            host: format!("h{id}"),
            resp_port: 6380 + id as u16,
            grpc_port: 0,
            raft_port: 0,
            role: MemberRole::Voter,
            matched_index: None,
            silent_ms: None,
        });
        Arc::new(Status {
            version: 0,
            node_id: 1,
            cluster_id: String::new(),
            role: Role::Follower,
            clustered: true,
            leader_id,
            last_leader_id: leader_id,
            led_ms_ago: None,
            term: 1,
            members: members.collect(),
            applied_index: 0,
            committed_index: 0,
            last_log_index: 0,
            first_log_index: 0,
            clock_ms: 0,
            serving: true,
            heard_from_leader_ms: 0,
            expired_keys: 0,
        })
    }

    fn lines(events: Vec<Event>) -> Vec<String> {
        assert!(events.iter().all(|(channel, _)| is_reserved(channel.as_bytes())), "{events:?}");
        events.iter().map(|(channel, words)| format!("{channel} {}", String::from_utf8_lossy(words))).collect()
    }

    #[test]
    fn a_switch_is_told_once_the_new_leader_is_known() {
        let mut events = Events::new("talon", status(3, Some(1)));
        let down = lines(events.follow(status(3, None)));
        assert_eq!(down, ["+sdown master talon h1 6381", "+odown master talon h1 6381 #quorum 3/2"]);
        assert!(events.follow(status(3, None)).is_empty());
        let switched = lines(events.follow(status(3, Some(2))));
        assert_eq!(
            switched,
            [
                "+elected-leader master talon h1 6381",
                "+failover-end master talon h1 6381",
                "+switch-master talon h1 6381 h2 6382",
                "+slave slave h1:6381 h1 6381 @ talon h2 6382",
                "+slave slave h3:6383 h3 6383 @ talon h2 6382",
            ]
        );
        assert!(events.follow(status(3, Some(2))).is_empty());
    }

    #[test]
    fn a_follower_that_is_not_heard_is_down_until_it_is_heard() {
        let silent = |silent_ms| {
            let mut status = Status::clone(&status(3, Some(1)));
            status.members[2].silent_ms = Some(silent_ms);
            Arc::new(status)
        };
        let mut events = Events::new("talon", silent(0));
        assert!(events.follow(silent(DOWN_AFTER_MS - 1)).is_empty());
        assert_eq!(lines(events.follow(silent(DOWN_AFTER_MS))), ["+sdown slave h3:6383 h3 6383 @ talon h1 6381"]);
        assert!(events.follow(silent(DOWN_AFTER_MS + 1)).is_empty(), "it is said once");
        assert_eq!(lines(events.follow(silent(10))), ["-sdown slave h3:6383 h3 6383 @ talon h1 6381"]);
    }

    #[test]
    fn the_same_leader_again_and_new_nodes() {
        let mut events = Events::new("talon", status(1, None));
        assert!(events.follow(status(1, Some(1))).is_empty(), "the first leader replaces nobody");
        events.follow(status(1, None));
        assert_eq!(
            lines(events.follow(status(1, Some(1)))),
            ["-odown master talon h1 6381", "-sdown master talon h1 6381"]
        );
        assert_eq!(
            lines(events.follow(status(2, Some(1)))),
            ["+slave slave h2:6382 h2 6382 @ talon h1 6381", "+sentinel sentinel h2:6382 h2 6382 @ talon h1 6381"]
        );
    }
}

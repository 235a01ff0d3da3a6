//! Which members are alive: how long ago the leader has heard each of them. The leader knows it by what they acknowledge, the others by asking
//! the leader.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use talon_core::{DOWN_AFTER_MS, Status};
use talon_proto::v1;

use crate::leadership::Leadership;
use crate::lease::LeaseGuard;

/// What a node knows of the others.
#[derive(Debug, Default)]
pub struct Liveness(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The term that this node leads, and since when each member has been there to be heard.
    leads: Option<(u64, BTreeMap<u64, u64>)>,
    /// When this node was last seen to lead, monotonic ms.
    led_ms: Option<u64>,
    /// What the leader said last, be it this node.
    told: Option<Told>,
}

#[derive(Debug)]
struct Told {
    leader_id: u64,
    /// When it was asked, monotonic ms.
    asked_ms: u64,
    members: Vec<v1::MemberKnown>,
}

/// How a node sees the members at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The node itself.
    pub own_id: u64,
    /// Who leads.
    pub leadership: Leadership,
    /// What it has heard as a leader.
    pub lease: &'a LeaseGuard,
    /// When it heard a leader, ms ago.
    pub leader_heard_ms: u64,
    /// The moment, monotonic ms.
    pub now_ms: u64,
}

impl Liveness {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The leader was asked at this moment, and says this.
    pub fn learn(&self, leader_id: u64, asked_ms: u64, members: Vec<v1::MemberKnown>) {
        let mut known = self.known();
        if known.told.as_ref().is_none_or(|told| told.asked_ms <= asked_ms) {
            known.told = Some(Told { leader_id, asked_ms, members });
        }
    }

    /// Writes down in `status` how long every member has been silent, and what the leader knows it to hold.
    pub fn describe(&self, sight: Sight<'_>, status: &mut Status) {
        let Sight { own_id, leadership, lease, leader_heard_ms, now_ms } = sight;
        let mut known = self.known();
        if let Leadership::Leading { term } = leadership {
            let known = &mut *known;
            known.led_ms = Some(now_ms);
            if known.leads.as_ref().is_none_or(|(led, _)| *led != term) {
                // Who was silent before is not alive by an election.
                let since = known
                    .told
                    .iter()
                    .flat_map(|told| told.members.iter().map(|of| (of.id, told.asked_ms.saturating_sub(of.silent_ms))));
                known.leads = Some((term, since.collect()));
            }
            let (_, since) = known.leads.get_or_insert_default();
            since.retain(|id, _| status.members.iter().any(|member| member.id == *id));
            for member in &mut status.members {
                let since_ms = *since.entry(member.id).or_insert(now_ms);
                let heard_ms = lease.last_acknowledged_ms(term, member.id).unwrap_or(0).max(since_ms);
                member.silent_ms = Some(if member.id == own_id { 0 } else { now_ms.saturating_sub(heard_ms) });
            }
            known.told = Some(Told { leader_id: own_id, asked_ms: now_ms, members: to_wire(status) });
        } else {
            known.leads = None;
            for member in &mut status.members {
                (member.silent_ms, member.matched_index) = match (leadership, known.told.as_ref()) {
                    (_, told) if member.id == own_id => (Some(0), told.and_then(|told| told.of(own_id)?.matched_index)),
                    (Leadership::Following { leader_id }, told) => {
                        let told = told.filter(|told| {
                            told.leader_id == leader_id && now_ms.saturating_sub(told.asked_ms) < DOWN_AFTER_MS
                        });
                        let of = told.and_then(|told| told.of(member.id));
                        let silent_ms = of.map(|of| of.silent_ms);
                        let silent_ms = if member.id == leader_id { Some(leader_heard_ms) } else { silent_ms };
                        (silent_ms, of.and_then(|of| of.matched_index))
                    }
                    // Nobody can say more than the last leader has said; if it said nothing, then since it was heard itself.
                    (_, told) => {
                        let of = told.and_then(|told| Some((told.of(member.id)?, told.asked_ms)));
                        let silent_ms = of.map_or(leader_heard_ms, |(of, asked_ms)| {
                            of.silent_ms.saturating_add(now_ms.saturating_sub(asked_ms))
                        });
                        (Some(silent_ms), of.and_then(|(of, _)| of.matched_index))
                    }
                };
            }
        }
        status.led_ms_ago = known.led_ms.map(|led_ms| now_ms.saturating_sub(led_ms));
    }
}

impl Told {
    fn of(&self, id: u64) -> Option<&v1::MemberKnown> {
        self.members.iter().find(|member| member.id == id)
    }
}

/// What a leader tells of the members.
pub(crate) fn to_wire(status: &Status) -> Vec<v1::MemberKnown> {
    let heard = status.members.iter().filter_map(|member| {
        Some(v1::MemberKnown { id: member.id, silent_ms: member.silent_ms?, matched_index: member.matched_index })
    });
    heard.collect()
}

#[cfg(test)]
mod tests {
    use talon_core::{Member, MemberRole, Role};

    use super::*;

    fn status(ids: &[u64]) -> Status {
        let members = ids.iter().map(|id| Member {
            id: *id,
            host: "h".to_owned(),
            resp_port: 1,
            grpc_port: 2,
            raft_port: 3,
            role: MemberRole::Voter,
            matched_index: Some(*id),
            silent_ms: None,
        });
        Status {
            version: 0,
            node_id: 1,
            cluster_id: String::new(),
            role: Role::Follower,
            clustered: true,
            leader_id: None,
            last_leader_id: None,
            led_ms_ago: None,
            term: 1,
            members: members.collect(),
            applied_index: 0,
            committed_index: 0,
            last_log_index: 0,
            first_log_index: 0,
            clock_ms: 0,
            expired_keys: 0,
            serving: true,
            heard_from_leader_ms: 0,
        }
    }

    fn silent(liveness: &Liveness, sight: Sight<'_>, ids: &[u64]) -> (Vec<Option<u64>>, Option<u64>) {
        let mut status = status(ids);
        liveness.describe(sight, &mut status);
        (status.members.iter().map(|member| member.silent_ms).collect(), status.led_ms_ago)
    }

    #[test]
    fn a_leader_counts_from_what_was_acknowledged_or_from_its_beginning() {
        let (liveness, lease) = (Liveness::default(), LeaseGuard::new(1_000));
        let at = |now_ms| Sight {
            own_id: 1,
            leadership: Leadership::Leading { term: 5 },
            lease: &lease,
            leader_heard_ms: 0,
            now_ms,
        };
        assert_eq!(silent(&liveness, at(100), &[1, 2, 3]), (vec![Some(0); 3], Some(0)));
        lease.acknowledged(2, 5, lease.sending(300));
        assert_eq!(silent(&liveness, at(500), &[1, 2, 3]).0, [Some(0), Some(200), Some(400)]);
        assert_eq!(silent(&liveness, at(600), &[1, 2, 3, 4]).0[3], Some(0), "one that has just come");
        assert_eq!(silent(&liveness, at(700), &[1, 3, 4]).0, [Some(0), Some(600), Some(100)]);
        let again = silent(&liveness, at(800), &[1, 2]).0;
        assert_eq!(again, [Some(0), Some(0)], "one that was removed and comes again");
        let nobody = Sight { leadership: Leadership::Nobody, ..at(1_000) };
        assert_eq!(silent(&liveness, nobody, &[1, 2]), (vec![Some(0), Some(200)], Some(200)));
    }

    #[test]
    fn the_others_know_what_the_leader_has_told_them_lately() {
        let (liveness, lease) = (Liveness::default(), LeaseGuard::new(1_000));
        let at = |leadership, now_ms| Sight { own_id: 1, leadership, lease: &lease, leader_heard_ms: 7, now_ms };
        let following = |leader_id, now_ms| at(Leadership::Following { leader_id }, now_ms);
        assert_eq!(silent(&liveness, following(2, 0), &[1, 2, 3]).0, [Some(0), Some(7), None]);
        let told = vec![v1::MemberKnown { id: 3, silent_ms: 900, matched_index: Some(4) }];
        liveness.learn(2, 1_000, told);
        assert_eq!(silent(&liveness, following(2, 2_000), &[1, 2, 3]).0, [Some(0), Some(7), Some(900)]);
        assert_eq!(silent(&liveness, following(3, 2_000), &[1, 2, 3]).0, [Some(0), None, Some(7)], "another leader");
        let later = silent(&liveness, following(2, 1_000 + DOWN_AFTER_MS), &[1, 2, 3]);
        assert_eq!(later, (vec![Some(0), Some(7), None], None), "too old to be true");
        liveness.learn(2, 500, Vec::new());
        assert_eq!(silent(&Liveness::default(), at(Leadership::Nobody, 9_000), &[1, 2]).0, [Some(0), Some(7)]);
        assert_eq!(silent(&liveness, at(Leadership::Nobody, 2_000), &[1, 2, 3]).0, [Some(0), Some(7), Some(1_900)]);
    }
}

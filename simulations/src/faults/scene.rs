//! What a fault sees of the world, and acts on.

use talon_core::random::SplitMix64;
use talon_core::{Database, Member, MemberRole};
use turmoil::Sim;

use super::lives::Lives;
use super::network::Network;
use crate::machine::PowerLoss;
use crate::world::World;

/// A fault that was injected and is not over.
pub trait Fault {
    /// Called after each tick; whether it is over. Then it is healed.
    fn step(&mut self, scene: &mut Scene<'_, '_>) -> bool;

    /// Everything is made right again, as far as it has not been.
    fn heal(&mut self, scene: &mut Scene<'_, '_>);

    /// Whether it met something.
    fn hit(&self) -> bool;
}

/// One moment of a run.
pub struct Scene<'a, 's> {
    pub world: &'a World,
    pub sim: &'a mut Sim<'s>,
    pub network: &'a mut Network,
    pub lives: &'a mut Lives,
    pub random: &'a mut SplitMix64,
    pub now_us: u64,
}

impl Scene<'_, '_> {
    /// Who leads the newest term, if it runs.
    pub fn leader(&self) -> Option<u64> {
        self.world.leader().filter(|id| self.lives.is_up(*id))
    }

    /// The members, by the leader's word.
    pub fn members(&self) -> Vec<Member> {
        let node = self.leader().and_then(|id| self.world.process(id)).and_then(|process| process.node());
        node.map(|node| node.status().members.clone()).unwrap_or_default()
    }

    /// Who votes, by the leader's word; without one, who founded the cluster.
    pub fn voters(&self) -> Vec<u64> {
        let members = self.members();
        let voters = members.iter().filter(|member| member.role == MemberRole::Voter);
        let voters: Vec<u64> = voters.map(|member| member.id).collect();
        if voters.is_empty() { (1..=self.world.plan.voters).collect() } else { voters }
    }

    /// Who belongs to the cluster: as [`Scene::voters`], with those who do not vote.
    pub fn nodes(&self) -> Vec<u64> {
        let members: Vec<u64> = self.members().iter().map(|member| member.id).collect();
        if members.is_empty() { (1..=self.world.plan.voters).collect() } else { members }
    }

    /// Who is hit: the leader as often as not, else any member; only one that runs.
    pub fn target(&mut self) -> Option<u64> {
        let leader = self.leader();
        if leader.is_some() && self.chance(50) {
            return leader;
        }
        let up: Vec<u64> = self.nodes().into_iter().filter(|id| self.lives.is_up(*id)).collect();
        self.one_of(&up)
    }

    /// One of these, if there are any.
    pub fn one_of(&mut self, ids: &[u64]) -> Option<u64> {
        if ids.is_empty() { None } else { Some(ids[self.random.below(ids.len() as u64) as usize]) }
    }

    /// True so many times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    /// A time between these, ms, more often a short one; in µs.
    pub fn lasting(&mut self, ms_min: u64, ms_max: u64) -> u64 {
        let span = ms_max - ms_min;
        let below = 1 + self.random.below(span.max(1));
        (ms_min + self.random.below(below)) * 1000
    }

    /// How long a node stays down: often it is back at once.
    pub fn down_for(&mut self) -> u64 {
        if self.chance(50) { self.lasting(1, 300) } else { self.lasting(300, 10_000) }
    }

    /// Ends a process, and lets it start again later.
    pub fn end(&mut self, id: u64, loss: PowerLoss, start_us: u64) {
        self.lives.end(self.world, self.sim, self.network, id, loss, start_us);
    }

    /// What a node's log has not synced, bytes.
    pub fn unsynced_bytes(&self, id: u64) -> usize {
        self.world.process(id).map_or(0, |process| process.machine.disks.log().unsynced_bytes())
    }

    /// Whether the log that a member needs is gone on the leader: only a checkpoint helps it.
    pub fn is_far_behind(&self, id: u64) -> bool {
        let Some(leader) = self.leader().filter(|leader| *leader != id) else { return false };
        let node = self.world.process(leader).and_then(|process| process.node());
        let Some(first_index) = node.map(|node| node.status().first_log_index) else { return false };
        let standing = self.world.ledger.open().standing.get(&id).map_or(0, |(index, _)| *index);
        standing + 1 < first_index
    }
}

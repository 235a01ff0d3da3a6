//! Leaders whose lease must not count any more, though they have heard nothing of it.

use super::scene::{Fault, Scene};
use crate::host::{Order, name};
use crate::machine::PowerLoss;

/// Between nodes, from one to another.
type Ways = Vec<(String, String)>;

fn to(leader: u64, others: &[u64]) -> Ways {
    others.iter().map(|other| (name(*other), name(leader))).collect()
}

fn to_and_from(leader: u64, others: &[u64]) -> Ways {
    to(leader, others)
        .into_iter()
        .flat_map(|(other, leader)| [(leader.clone(), other.clone()), (other, leader)])
        .collect()
}

fn others(scene: &Scene<'_, '_>, leader: u64) -> Vec<u64> {
    scene.voters().into_iter().filter(|id| *id != leader && scene.lives.is_up(*id)).collect()
}

/// A rival campaigns, for it does not hear the leader. Then all who hear it are restarted, and the leader is cut off from them.
struct Usurped {
    leader: u64,
    rival: u64,
    ways: Ways,
    restart_us: u64,
    /// Set when that has happened.
    until_us: Option<u64>,
    hit: bool,
}

impl Fault for Usurped {
    fn step(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        if let Some(until_us) = self.until_us {
            self.hit |= scene.leader().is_some_and(|id| id != self.leader);
            return scene.now_us >= until_us;
        }
        if scene.now_us < self.restart_us {
            return false;
        }
        if scene.leader() != Some(self.leader) || !scene.lives.is_up(self.rival) {
            return true;
        }
        let mut faithful = others(scene, self.leader);
        faithful.retain(|id| *id != self.rival);
        let ways = to_and_from(self.leader, &faithful);
        scene.network.cut(scene.sim, &ways);
        self.ways.extend(ways);
        for id in faithful {
            let start_us = scene.now_us + scene.lasting(1, 60);
            scene.end(id, PowerLoss::Process, start_us);
        }
        self.until_us = Some(scene.now_us + scene.lasting(700, 3_000));
        false
    }

    fn heal(&mut self, scene: &mut Scene<'_, '_>) {
        scene.network.mend(scene.sim, &self.ways);
    }

    fn hit(&self) -> bool {
        self.hit
    }
}

/// Voters that are restarted while somebody campaigns. Hit: another node was elected.
pub fn usurped(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let leader = scene.leader()?;
    let others = others(scene, leader);
    let rival = scene.one_of(&others)?;
    let ways = to_and_from(leader, &[rival]);
    scene.network.cut(scene.sim, &ways);
    let restart_us = scene.now_us + scene.lasting(1_200, 3_000);
    Some(Box::new(Usurped { leader, rival, ways, restart_us, until_us: None, hit: false }))
}

/// Leadership is handed over, and whoever led hears nothing more from then on.
struct Unheard {
    leader: u64,
    order: Order,
    ways: Ways,
    cut_us: u64,
    /// Set when it is cut off.
    until_us: Option<u64>,
    hit: bool,
}

impl Fault for Unheard {
    fn step(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        if let Some(until_us) = self.until_us {
            self.hit |= scene.leader().is_some_and(|id| id != self.leader);
            return scene.now_us >= until_us;
        }
        if scene.now_us >= self.cut_us {
            scene.network.cut(scene.sim, &self.ways);
            self.until_us = Some(scene.now_us + scene.lasting(400, 2_000));
        }
        false
    }

    fn heal(&mut self, scene: &mut Scene<'_, '_>) {
        if self.until_us.is_some() {
            scene.network.mend(scene.sim, &self.ways);
        }
        if let Some(process) = scene.world.process(self.leader) {
            process.answer(self.order);
        }
    }

    fn hit(&self) -> bool {
        self.hit
    }
}

/// A transfer whose end the old leader does not hear. Hit: another node was elected meanwhile.
pub fn unheard_transfer(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let leader = scene.leader()?;
    let others = others(scene, leader);
    let order = Order::Transfer(scene.one_of(&others));
    let process = scene.world.process(leader).filter(|process| process.node().is_some())?;
    process.order(order);
    let cut_us = scene.now_us + scene.random.below(40_000);
    Some(Box::new(Unheard { leader, order, ways: to(leader, &others), cut_us, until_us: None, hit: false }))
}

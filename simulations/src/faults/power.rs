//! Processes and machines that end without a warning.

use super::scene::{Fault, Scene};
use crate::machine::PowerLoss;

/// Over as soon as whoever is down runs again.
struct Ended {
    who: Vec<u64>,
    hit: bool,
}

impl Fault for Ended {
    fn step(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        self.who.iter().all(|id| scene.lives.is_up(*id))
    }

    fn heal(&mut self, scene: &mut Scene<'_, '_>) {
        self.who.iter().for_each(|id| scene.lives.start_from(*id, 0));
    }

    fn hit(&self) -> bool {
        self.hit
    }
}

fn one(scene: &mut Scene<'_, '_>, loss: PowerLoss) -> Option<Box<dyn Fault>> {
    let id = scene.target()?;
    let hit = scene.leader() == Some(id) || scene.unsynced_bytes(id) > 0;
    let start_us = scene.now_us + scene.down_for();
    scene.end(id, loss, start_us);
    Some(Box::new(Ended { who: vec![id], hit }))
}

/// The process is killed. What it wrote is still written. Hit: it led, or had not synced everything.
pub fn crash(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    one(scene, PowerLoss::Process)
}

/// The machine loses its power, and what was not synced. Hit: as [`crash`].
pub fn cut_one(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    one(scene, PowerLoss::Machine)
}

/// All machines at once. Hit: at least one had something that was not synced.
pub fn cut_all(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let who: Vec<u64> = scene.world.processes.iter().map(|process| process.id).collect();
    let hit = who.iter().any(|id| scene.unsynced_bytes(*id) > 0);
    let together = scene.chance(50);
    let start_us = scene.now_us + scene.down_for();
    for id in &who {
        let later_us = if together { 0 } else { scene.lasting(1, 3_000) };
        scene.end(*id, PowerLoss::Machine, start_us + later_us);
    }
    Some(Box::new(Ended { who, hit }))
}

//! Clocks that jump and drift, and machines that stand still.

use super::scene::{Fault, Scene};
use crate::host::name;

const HOUR_MS: i64 = 3_600_000;

/// A node whose clocks are wrong. Hit: it led meanwhile.
struct Clock {
    id: u64,
    until_us: u64,
    hit: bool,
}

impl Fault for Clock {
    fn step(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        self.hit |= scene.leader() == Some(self.id);
        scene.now_us >= self.until_us
    }

    fn heal(&mut self, scene: &mut Scene<'_, '_>) {
        if let Some(process) = scene.world.process(self.id) {
            process.machine.clocks.set_right();
        }
    }

    fn hit(&self) -> bool {
        self.hit
    }
}

/// Whose clocks may be made wrong: with the clocks of a majority wrong, nobody could tell.
fn target(scene: &mut Scene<'_, '_>) -> Option<u64> {
    let id = scene.target()?;
    let others = scene.world.processes.iter().filter(|process| process.id != id);
    let wrong = others.filter(|process| process.machine.clocks.are_wrong()).count();
    (wrong < (scene.voters().len() - 1) / 2).then_some(id)
}

/// Somebody sets a wall clock, by up to an hour forward or back. It is set right later.
pub fn jump(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let id = target(scene)?;
    let far_ms = match scene.random.below(4) {
        0 => HOUR_MS,
        1 => 200 + scene.random.below(2_000) as i64,
        2 => scene.random.below(60_000) as i64,
        _ => scene.random.below(HOUR_MS as u64) as i64,
    };
    let by_ms = if scene.chance(50) { far_ms } else { -far_ms };
    tracing::info!(node = id, by_ms, "a clock jumps");
    scene.world.process(id)?.machine.clocks.jump(by_ms);
    let until_us = scene.now_us + scene.lasting(500, 30_000);
    Some(Box::new(Clock { id, until_us, hit: false }))
}

/// A node's clocks run up to 5 % too fast or too slow.
pub fn drift(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let id = target(scene)?;
    let fast_ppm = if scene.chance(50) { 50_000 } else { scene.random.below(50_000) as i64 };
    let fast_ppm = if scene.chance(50) { fast_ppm } else { -fast_ppm };
    tracing::info!(node = id, fast_ppm, "a clock drifts");
    scene.world.process(id)?.machine.clocks.drift(fast_ppm);
    let until_us = scene.now_us + scene.lasting(2_000, 30_000);
    Some(Box::new(Clock { id, until_us, hit: false }))
}

/// A machine that stands still, and perhaps does not hear the other nodes for a while when it goes on. Hit: it led.
struct Still {
    id: u64,
    until_us: u64,
    /// To the other nodes and back; whole again when simulated time has come to `cut_until_us`.
    ways: Vec<(String, String)>,
    cut_until_us: u64,
    hit: bool,
}

impl Still {
    fn resume(&self, scene: &Scene<'_, '_>) {
        if let Some(process) = scene.world.process(self.id) {
            process.machine.pause.resume();
        }
    }
}

impl Fault for Still {
    fn step(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        if scene.now_us >= self.until_us {
            self.resume(scene);
        }
        scene.now_us >= self.cut_until_us.max(self.until_us)
    }

    fn heal(&mut self, scene: &mut Scene<'_, '_>) {
        self.resume(scene);
        scene.network.mend(scene.sim, &self.ways);
    }

    fn hit(&self) -> bool {
        self.hit
    }
}

/// A machine stands still for longer than a lease. Sometimes its network goes on later than itself.
pub fn pause(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let id = scene.target()?;
    let process = scene.world.process(id)?;
    if process.machine.pause.left_us() > 0 {
        return None;
    }
    let until_us = scene.now_us + scene.lasting(700, 5_000);
    let (mut ways, mut cut_until_us) = (Vec::new(), 0);
    if scene.chance(40) {
        let others: Vec<String> = scene.nodes().into_iter().filter(|other| *other != id).map(name).collect();
        ways.extend(others.into_iter().flat_map(|other| [(name(id), other.clone()), (other, name(id))]));
        cut_until_us = until_us + scene.lasting(50, 1_500);
        scene.network.cut(scene.sim, &ways);
    }
    tracing::info!(node = id, until_us, cut_until_us, "a machine stands still");
    process.machine.pause.begin(until_us);
    Some(Box::new(Still { id, until_us, ways, cut_until_us, hit: scene.leader() == Some(id) }))
}

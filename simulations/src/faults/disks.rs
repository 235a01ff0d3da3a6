//! Disks that are slow, full, or failing.

use super::scene::{Fault, Scene};

struct Disk {
    id: u64,
    wrong: Wrong,
    until_us: u64,
    hit: bool,
}

enum Wrong {
    /// How often it was synced before.
    Slow {
        syncs: u64,
    },
    /// How often the process had ended on a fault before.
    Full {
        faulted: u64,
    },
    Failing {
        faulted: u64,
    },
}

impl Disk {
    fn open(scene: &mut Scene<'_, '_>, id: u64, wrong: Wrong, last_us: u64) -> Box<dyn Fault> {
        Box::new(Disk { id, wrong, until_us: scene.now_us + last_us, hit: false })
    }
}

impl Fault for Disk {
    fn step(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        let id = self.id;
        let now = scene.lives.faulted(id);
        match self.wrong {
            Wrong::Slow { syncs } => {
                let log = scene.world.process(id).map(|process| process.machine.disks.log());
                self.hit |= log.is_some_and(|log| log.syncs() != syncs);
            }
            Wrong::Full { faulted } => self.hit |= now != faulted,
            Wrong::Failing { faulted } => {
                self.hit |= now != faulted;
                return self.hit || scene.now_us >= self.until_us;
            }
        }
        scene.now_us >= self.until_us
    }

    fn heal(&mut self, scene: &mut Scene<'_, '_>) {
        let Some(process) = scene.world.process(self.id) else { return };
        match self.wrong {
            Wrong::Slow { .. } => process.machine.disks.slow_down(scene.world.plan.sync_us_max),
            Wrong::Full { .. } => process.machine.disks.fill(false),
            Wrong::Failing { .. } => {}
        }
    }

    fn hit(&self) -> bool {
        self.hit
    }
}

/// Syncs take up to seconds. Hit: there was one.
pub fn slow(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let id = scene.target()?;
    let sync_us_max = scene.lasting(20, 4_000);
    let disks = scene.world.process(id)?.machine.disks.clone();
    disks.slow_down(sync_us_max);
    let last_us = scene.lasting(2_000, 12_000);
    Some(Disk::open(scene, id, Wrong::Slow { syncs: disks.log().syncs() }, last_us))
}

/// There is no more room for the log. Hit: the node met it, and ended.
pub fn full(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let id = scene.target()?;
    scene.world.process(id)?.machine.disks.fill(true);
    let last_us = scene.lasting(1_000, 10_000);
    let wrong = Wrong::Full { faulted: scene.lives.faulted(id) };
    Some(Disk::open(scene, id, wrong, last_us))
}

/// The next sync fails, or the next read. Hit: the node met it, and ended.
pub fn failing(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let id = scene.target()?;
    let log = scene.world.process(id)?.machine.disks.log();
    if scene.chance(70) {
        log.fail_next_sync()
    } else {
        log.fail_next_read()
    }
    let wrong = Wrong::Failing { faulted: scene.lives.faulted(id) };
    Some(Disk::open(scene, id, wrong, 10_000_000))
}

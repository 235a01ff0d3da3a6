//! Nodes that come back when the log they need is gone, or without anything.

use std::path::Path;

use super::lives::UNTIL_SAID;
use super::network::{Way, around};
use super::orders::start_empty;
use super::scene::{Fault, Scene};
use crate::machine::PowerLoss;

/// How long the others have to write past what a node needs, µs.
const AWAY_US_MAX: u64 = 25_000_000;
/// How long the checkpoint may take, µs.
const BACK_US_MAX: u64 = 20_000_000;

/// Hit: a checkpoint was installed.
struct Behind {
    id: u64,
    away_until_us: u64,
    back: Option<Back>,
    hit: bool,
}

/// How often it was started, and how often a state became its live one, when it began to come back.
struct Back {
    starts: u64,
    opened: u64,
    until_us: u64,
}

fn opened(scene: &Scene<'_, '_>, id: u64) -> u64 {
    scene.world.ledger.open().opened.get(&id).copied().unwrap_or(0)
}

impl Back {
    fn now(scene: &Scene<'_, '_>, id: u64) -> Back {
        Back { starts: scene.lives.starts(id), opened: opened(scene, id), until_us: scene.now_us + BACK_US_MAX }
    }

    /// More states than starts: the rest came as checkpoints.
    fn has_installed(&self, scene: &Scene<'_, '_>, id: u64) -> bool {
        opened(scene, id) - self.opened > scene.lives.starts(id) - self.starts
    }
}

impl Fault for Behind {
    fn step(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        match &self.back {
            None => {
                if scene.now_us >= self.away_until_us || scene.is_far_behind(self.id) {
                    self.back = Some(Back::now(scene, self.id));
                    scene.lives.start_from(self.id, 0);
                }
                false
            }
            Some(back) => {
                self.hit = back.has_installed(scene, self.id);
                self.hit || scene.now_us >= back.until_us
            }
        }
    }

    fn heal(&mut self, scene: &mut Scene<'_, '_>) {
        scene.lives.start_from(self.id, 0);
    }

    fn hit(&self) -> bool {
        self.hit
    }
}

/// A node that does not lead stays away until the log it needs is gone.
pub fn far_behind(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let leader = scene.leader()?;
    if scene.lives.down() > 0 {
        // With two away, three nodes would write nothing more.
        return None;
    }
    let others: Vec<u64> = scene.nodes().into_iter().filter(|id| *id != leader).collect();
    let id = scene.one_of(&others)?;
    let loss = if scene.chance(50) { PowerLoss::Machine } else { PowerLoss::Process };
    scene.end(id, loss, UNTIL_SAID);
    Some(Box::new(Behind { id, away_until_us: scene.now_us + AWAY_US_MAX, back: None, hit: false }))
}

/// Hit: a checkpoint was installed.
struct CutOff {
    id: u64,
    /// What is cut, until it is mended.
    ways: Vec<Way>,
    away_until_us: u64,
    back: Option<Back>,
    hit: bool,
}

impl CutOff {
    fn mend(&mut self, scene: &mut Scene<'_, '_>) {
        let ways = std::mem::take(&mut self.ways);
        scene.network.mend(scene.sim, &ways);
    }
}

impl Fault for CutOff {
    fn step(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        match &self.back {
            None => {
                if scene.now_us >= self.away_until_us || scene.is_far_behind(self.id) {
                    self.back = Some(Back::now(scene, self.id));
                    self.mend(scene);
                }
                false
            }
            Some(back) => {
                self.hit = back.has_installed(scene, self.id);
                self.hit || scene.now_us >= back.until_us
            }
        }
    }

    fn heal(&mut self, scene: &mut Scene<'_, '_>) {
        self.mend(scene);
    }

    fn hit(&self) -> bool {
        self.hit
    }
}

/// A node that does not lead hears nothing from the others until the log it needs is gone. Its clients it hears all the while, and answers them
/// from what it has, as far as it may; also while the checkpoint comes.
pub fn cut_off_behind(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let leader = scene.leader()?;
    if scene.lives.down() > 0 {
        // With two away, three nodes would write nothing more.
        return None;
    }
    let others: Vec<u64> = scene.nodes().into_iter().filter(|id| *id != leader).collect();
    let id = scene.one_of(&others)?;
    let ways = around(scene, id);
    scene.network.cut(scene.sim, &ways);
    Some(Box::new(CutOff { id, ways, away_until_us: scene.now_us + AWAY_US_MAX, back: None, hit: false }))
}

/// One voter loses its disk, while all is well with all others and stays so until it holds everything again: with a second fault at the same
/// time, no protocol of this kind keeps what only the two of them had.
pub fn lost_disk(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let id = scene.target()?;
    start_empty(scene, id);
    let back = Back::now(scene, id);
    Some(Box::new(LostDisk { id, back, hit: false, lacks: None }))
}

/// By the node's own word on its disk.
fn may_vote(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("identity.json")).is_ok_and(|text| text.contains("\"joining\": false"))
}

/// Hit: it got a checkpoint, or all of the log, and holds what the others had.
struct LostDisk {
    id: u64,
    back: Back,
    /// What the others held when it was gone.
    lacks: Option<u64>,
    hit: bool,
}

impl Fault for LostDisk {
    fn step(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        let ledger = scene.world.ledger.open();
        let most = ledger.standing.values().map(|(index, _)| *index).max().unwrap_or(0);
        let lacks = *self.lacks.get_or_insert(most);
        let back = ledger.opened.get(&self.id).is_some_and(|opened| *opened > self.back.opened);
        let holds = back && ledger.standing.get(&self.id).is_some_and(|(index, _)| *index >= lacks);
        // Until it may vote again, its cluster has one voter less: a second disk that is lost then is one too many. (Found in seed 5003 of
        // `lost-disk`: the leader's disk went in the milliseconds between the two.)
        self.hit = holds && scene.world.process(self.id).is_some_and(|process| may_vote(process.machine.folder()));
        self.hit
    }

    fn heal(&mut self, scene: &mut Scene<'_, '_>) {
        scene.lives.start_from(self.id, 0);
    }

    fn hit(&self) -> bool {
        self.hit
    }
}

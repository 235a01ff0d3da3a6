//! What goes wrong around the nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use talon_core::random::SplitMix64;

use crate::ambient::elapsed_us;
use crate::host::name;
use crate::machine::PowerLoss;
use crate::world::World;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FaultKind {
    /// A node's machine loses its power: what was not synced is lost.
    PowerCut,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; 1] = [FaultKind::PowerCut];
}

/// How often a kind of fault happened, and how often it met something: a leader, a write under way, a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCount {
    /// How often it was done.
    pub happened: u64,
    /// How often it hit something.
    pub hit: u64,
}

/// Lets things go wrong when their time has come.
pub struct Injector {
    world: Arc<World>,
    random: SplitMix64,
    next_us: u64,
    counts: BTreeMap<FaultKind, FaultCount>,
}

impl Injector {
    /// Of a run that has not begun.
    pub fn new(world: Arc<World>) -> Injector {
        let random = SplitMix64(world.plan.seed ^ 0xFA17);
        Injector { world, random, next_us: 5_000_000, counts: BTreeMap::new() }
    }

    /// What happened so far.
    pub fn counts(&self) -> BTreeMap<FaultKind, FaultCount> {
        self.counts.clone()
    }

    /// Called after each tick.
    pub fn step(&mut self, sim: &mut turmoil::Sim<'_>) {
        let now_us = elapsed_us();
        if now_us >= self.world.plan.quiet_from_s() * 1_000_000 {
            self.world.be_quiet();
            return;
        }
        if now_us < self.next_us {
            return;
        }
        self.next_us = now_us + 2 * self.random.draw() % (self.world.plan.fault_interval_ms * 1000);
        let id = 1 + self.random.draw() % self.world.plan.voters;
        let Some(process) = self.world.process(id) else { return };
        process.machine.disks.lose(PowerLoss::Machine);
        sim.crash(name(id));
        process.gone();
        sim.bounce(name(id));
        self.counts.entry(FaultKind::PowerCut).or_default().happened += 1;
    }
}

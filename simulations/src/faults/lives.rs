//! Who runs and who does not: ends processes, and starts them again as a service manager would.

use std::collections::BTreeMap;

use talon_core::random::SplitMix64;
use turmoil::Sim;

use super::network::Network;
use crate::ambient::elapsed_us;
use crate::host::name;
use crate::machine::PowerLoss;
use crate::world::World;

/// How long the service manager waits before it starts a process again that ended by itself, at most, µs.
const RESTART_US_MAX: u64 = 1_500_000;
/// A process that was not to be started again before somebody says so.
pub const UNTIL_SAID: u64 = u64::MAX;

/// The service manager of all machines.
pub struct Lives {
    random: SplitMix64,
    /// Who is down, and from when on it runs again, simulated µs.
    down: BTreeMap<u64, u64>,
    starts: BTreeMap<u64, u64>,
    /// How often a process ended on a fault of its own.
    faulted: BTreeMap<u64, u64>,
}

impl Lives {
    /// Everybody has just been started.
    pub fn new(seed: u64) -> Lives {
        Lives { random: SplitMix64(seed), down: BTreeMap::new(), starts: BTreeMap::new(), faulted: BTreeMap::new() }
    }

    /// Whether nobody has ended it.
    pub fn is_up(&self, id: u64) -> bool {
        !self.down.contains_key(&id)
    }

    /// How many are down.
    pub fn down(&self) -> usize {
        self.down.len()
    }

    /// How often it was started again.
    pub fn starts(&self, id: u64) -> u64 {
        self.starts.get(&id).copied().unwrap_or(0)
    }

    /// How often it ended on a fault of its own.
    pub fn faulted(&self, id: u64) -> u64 {
        self.faulted.get(&id).copied().unwrap_or(0)
    }

    /// Ends a process here and now. It is started again when simulated time has come to `start_us`.
    pub fn end(
        &mut self,
        world: &World,
        sim: &mut Sim<'_>,
        network: &Network,
        id: u64,
        loss: PowerLoss,
        start_us: u64,
    ) {
        let Some(process) = world.process(id) else { return };
        if loss == PowerLoss::Machine {
            // A machine without power says no goodbyes.
            network.silence(sim, &name(id));
        }
        process.machine.disks.lose(loss);
        process.machine.pause.resume();
        sim.crash(name(id));
        process.gone();
        if loss == PowerLoss::Machine {
            network.restore(sim, &name(id));
        }
        tracing::info!(node = id, ?loss, "ended");
        let wanted_us = self.down.get(&id).copied().unwrap_or(0);
        self.down.insert(id, wanted_us.max(start_us));
    }

    /// Lets a process that is down start from then on, simulated µs.
    pub fn start_from(&mut self, id: u64, start_us: u64) {
        if let Some(known_us) = self.down.get_mut(&id) {
            *known_us = start_us;
        }
    }

    /// Called after each tick.
    pub fn step(&mut self, world: &World, sim: &mut Sim<'_>) {
        let now_us = elapsed_us();
        for process in &world.processes {
            if let Some(why) = process.ended() {
                tracing::info!(node = process.id, why, "to be started again");
                // A fault, unless somebody asked it to end.
                *self.faulted.entry(process.id).or_default() += u64::from(!why.starts_with("it was asked"));
                process.machine.disks.lose(PowerLoss::Process);
                process.machine.pause.resume();
                sim.crash(name(process.id));
                process.gone();
                let start_us = now_us + 50_000 + self.random.below(RESTART_US_MAX);
                self.down.insert(process.id, start_us);
            }
        }
        if self.down.is_empty() {
            return;
        }
        let due: Vec<u64> = self.down.iter().filter(|(_, start_us)| **start_us <= now_us).map(|(id, _)| *id).collect();
        for id in due {
            self.down.remove(&id);
            *self.starts.entry(id).or_default() += 1;
            tracing::info!(node = id, "started");
            sim.bounce(name(id));
        }
    }

    /// Whoever is down may start now.
    pub fn start_all(&mut self) {
        self.down.values_mut().for_each(|start_us| *start_us = 0);
    }
}

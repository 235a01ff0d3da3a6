//! A cluster with many keys: what a SET costs, what is written, how much memory a node has, how long it takes to come back.

use std::time::{Duration, Instant};

use super::background::wait_until_quiet;
use super::{Bench, Part};
use crate::Outcome;
use crate::load::{Kind, Limit, Load, Mix, drive, key};
use crate::machine::Used;
use crate::report::thousands;

/// As busy clients as it takes to keep all nodes busy.
const PIPELINE: usize = 16;

impl Bench {
    /// Processor time of all nodes for one SET of a random key among so many, in µs: while the load goes on, and with what is flushed and
    /// compacted afterwards.
    fn cost_us(&self, keys: u64) -> Outcome<(f64, f64)> {
        let pids = self.cluster.pids()?;
        let load = Load::new(Mix::only(Kind::Set), keys, Limit::Time(self.time()));
        let before = Used::look(&pids)?;
        let sets = load.pipeline(PIPELINE).value_bytes(self.value_bytes());
        let measured = drive(&self.target()?, &sets)?.without_errors()?;
        let during = Used::look(&pids)?;
        wait_until_quiet(&pids)?;
        let after = Used::look(&pids)?;
        println!("  {} SETs a second, {keys} keys", thousands(measured.rate()));
        let us = |used: &Used| {
            let used: Duration = used.since(&before, 1).servers.iter().sum();
            used.as_secs_f64() * 1e6 / measured.requests().max(1) as f64
        };
        Ok((us(&during), us(&after)))
    }

    /// [`Part::Cost`].
    pub(super) fn cost(&mut self) -> Outcome<()> {
        let (few, many) = (self.options.few_keys, self.options.keys);
        if self.filled > few {
            self.start_afresh()?;
        }
        self.fill(few)?;
        let with_few = self.cost_us(few)?;
        self.fill(many)?;
        let with_many = self.cost_us(many)?;
        for (keys, (during, all)) in [(few, with_few), (many, with_many)] {
            let name = format!("processor time of all nodes per SET, {keys} keys");
            self.find(Part::Cost, format!("{name}, while the load goes on"), (during, "µs"), (None, None));
            self.find(Part::Cost, format!("{name}, until all is quiet again"), (all, "µs"), (None, None));
        }
        let bounds = (Some(2.0), Some(1.3));
        for (when, many_us, few_us) in
            [("while the load goes on", with_many.0, with_few.0), ("until all is quiet again", with_many.1, with_few.1)]
        {
            let ratio = many_us / few_us.max(f64::MIN_POSITIVE);
            self.find(Part::Cost, format!("cost per SET, {many} keys beside {few}, {when}"), (ratio, "×"), bounds);
        }
        Ok(())
    }

    /// [`Part::Disk`].
    pub(super) fn disk(&mut self) -> Outcome<()> {
        self.fill(self.options.keys)?;
        let bytes = (self.options.keys * self.options.value_bytes) as f64;
        let most = self.fill_written.iter().copied().max().unwrap_or_default() as f64;
        let name = "bytes written to a node's disk per byte of value (the node that wrote most)";
        self.find(Part::Disk, name, (most / bytes, "×"), (Some(6.0), Some(4.0)));
        Ok(())
    }

    /// The memory that a node is configured to use, and a quarter more, in MiB.
    pub(super) fn memory_most_mib(&self) -> Outcome<f64> {
        Ok(self.cluster.setting("memory_bytes")? as f64 / f64::from(1 << 20) * 1.25)
    }

    /// [`Part::Memory`].
    pub(super) fn memory(&mut self) -> Outcome<()> {
        let keys = self.options.keys;
        self.fill(keys)?;
        // Reads fill the caches, as they will in use.
        let gets = Load::new(Mix::only(Kind::Get), keys, Limit::Time(self.time())).pipeline(PIPELINE);
        let hits = drive(&self.target()?, &gets)?.without_errors()?.counts.hit_rate().unwrap_or(0.0);
        if hits < 1.0 {
            return Err(format!("only {:.3} % of the GETs hit", hits * 100.0).into());
        }
        let memory = self.cluster.memory()?;
        let most = |figure: fn(&crate::machine::Memory) -> f64| memory.iter().map(figure).fold(0.0, f64::max);
        let (now, peak) = (most(|memory| memory.resident_mib), most(|memory| memory.peak_mib));
        let bound = Some(self.memory_most_mib()?);
        self.find(Part::Memory, format!("resident memory of a node with {keys} keys"), (now, "MiB"), (bound, None));
        self.find(Part::Memory, "at most since its start", (peak, "MiB"), (bound, None));
        Ok(())
    }

    /// [`Part::Restart`].
    pub(super) fn restart(&mut self) -> Outcome<()> {
        let keys = self.options.keys;
        self.fill(keys)?;
        for (what, kill) in [("kill -9", true), ("SIGTERM", false)] {
            let leader = self.cluster.leader()?;
            let place = (leader + 1) % self.cluster.nodes.len();
            if kill {
                self.cluster.kill(place)?
            } else {
                self.cluster.terminate(place)?
            }
            let began = Instant::now();
            self.cluster.start_again(place)?;
            self.cluster.wait_until_it_serves(place, &key(0))?;
            let took = began.elapsed().as_secs_f64();
            let name = format!("restart of a node with {keys} keys after {what}, until it serves");
            self.find(Part::Restart, name, (took, "s"), (Some(10.0), Some(3.0)));
        }
        Ok(())
    }
}

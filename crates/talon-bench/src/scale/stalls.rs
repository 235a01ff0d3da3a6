//! Work that could stall everybody else: removing many keys at once, and large values.

use std::time::{Duration, Instant};

use talon_tests_support::{Client, Value};

use super::background::{Others, Watch, growth_mib};
use super::live::{FLAT_MIB, p99_ms};
use super::{Bench, Part};
use crate::Outcome;
use crate::load::{Keys, Kind, Limit, Load, Measured, Mix, drive};
use crate::report::{Latency, thousands};

const OTHERS: usize = 10;
const OTHERS_PER_S: f64 = 200.0;
/// The others are watched for so long before and after.
const AROUND: Duration = Duration::from_millis(500);
/// A command on many keys may take so long until it answers.
const PATIENCE: Duration = Duration::from_secs(120);
const LARGE_CLIENTS: usize = 4;
/// Each of them keeps this many keys.
const LARGE_KEYS: u64 = 4;
/// Alone, one after the other.
const LARGE_ALONE: u64 = 5;

impl Bench {
    /// Clients that ask for few keys of their own, and are due whatever else goes on.
    fn others(&self, mix: Mix) -> Load {
        let load = Load::new(mix, 1_000, Limit::Requests(u64::MAX));
        Load { seed: 77, ..load.connections(OTHERS).rate(OTHERS_PER_S) }
    }

    /// [`Part::Delete`].
    pub(super) fn delete(&mut self) -> Outcome<()> {
        self.start_afresh()?;
        for words in [vec!["DELPREFIX", "key:"], vec!["FLUSHALL"]] {
            self.filled = 0;
            self.fill(self.options.delete_keys)?;
            let (leadership, pids) = (self.cluster.leadership()?, self.cluster.pids()?);
            let address = self.cluster.nodes[self.cluster.leader()?].resp;
            let mut client = Client::connect(address)?;
            client.set_timeout(PATIENCE)?;
            // Counters, for the keys are what is removed.
            let others = [Kind::Incr, Kind::Get].map(|kind| Others::start(address, self.others(Mix::only(kind))));
            std::thread::sleep(AROUND);
            let watch = Watch::start(&pids);
            let began = Instant::now();
            let reply = client.call(&words);
            let took = began.elapsed();
            std::thread::sleep(AROUND);
            let seen = watch.stop()?;
            let what = format!("{} of {} keys", words[0], self.options.delete_keys);
            self.find_elections(Part::Delete, &what, leadership)?;
            let longest = others.map(|others| others.stop().map(|measured| longest_ms(&measured)));
            let longest = longest.into_iter().collect::<Outcome<Vec<f64>>>()?.into_iter().fold(0.0, f64::max);
            match reply? {
                Value::Integer(removed) => println!("  {} keys are gone", thousands(removed as f64)),
                Value::Simple(text) if text == "OK" => {}
                other => return Err(format!("{words:?} answers {other:?}").into()),
            }
            self.find(Part::Delete, format!("{what}: takes"), (took.as_secs_f64() * 1e3, "ms"), (None, None));
            let stall = (longest, "ms");
            self.find(Part::Delete, format!("{what}: longest stall of others"), stall, (Some(2_000.0), Some(200.0)));
            let growth = (growth_mib(&seen), "MiB");
            self.find(Part::Delete, format!("{what}: memory grows by"), growth, (Some(FLAT_MIB), None));
        }
        Ok(())
    }

    /// [`Part::Large`].
    pub(super) fn large(&mut self) -> Outcome<()> {
        let few = Load::fill(1_000, 64)?;
        drive(&self.target()?, &few)?.without_errors()?;
        let target = self.target()?;
        let bytes = self.options.large_bytes as usize;
        let large = |keys: u64, limit: Limit| {
            let load = Load::new(Mix::only(Kind::Set), keys, limit).value_bytes(bytes);
            // Beyond the keys of the others.
            Load { order: Keys::Beyond(1_000_000), ..load.connections(1) }
        };
        let alone = drive(&target, &large(LARGE_KEYS, Limit::Requests(LARGE_ALONE)))?.without_errors()?;
        let alone = alone.of(Kind::Set).map_or(f64::NAN, |histogram| Latency::of(histogram).p50_ms);
        let what = format!("values of {} MiB", bytes >> 20);
        self.find(Part::Large, format!("{what}: one SET alone, median"), (alone, "ms"), (None, None));
        let (leadership, pids) = (self.cluster.leadership()?, self.cluster.pids()?);
        let address = self.cluster.nodes[self.cluster.leader()?].resp;
        // Apart from each other: a read that waits for a write on the same connection tells nothing of reads.
        let [writers, readers] =
            [Kind::Set, Kind::Get].map(|kind| Others::start(address, self.others(Mix::only(kind))));
        let watch = Watch::start(&pids);
        let clients = LARGE_CLIENTS;
        let load = large(LARGE_KEYS * clients as u64, Limit::Time(self.time())).connections(clients);
        let sets = drive(&target, &load);
        let (seen, written, read) = (watch.stop()?, writers.stop(), readers.stop());
        // First: clients that lost their connection to an election tell less than the election.
        self.find_elections(Part::Large, &what, leadership)?;
        let (written, read, sets) = (written?, read?, sets?.without_errors()?);
        println!("  {} SETs in {:.1} s from {clients} clients", sets.requests(), sets.elapsed.as_secs_f64());
        let during = |figure: &str| format!("{what}, SETs from {clients} clients: {figure}");
        let (reads, writes) = (p99_ms(&read, Kind::Get), p99_ms(&written, Kind::Set));
        self.find(Part::Large, during("p99 of other clients' reads"), (reads, "ms"), (Some(100.0), None));
        self.find(Part::Large, during("p99 of other clients' writes"), (writes, "ms"), (Some(3.0 * alone), None));
        let longest = longest_ms(&written).max(longest_ms(&read));
        self.find(Part::Large, during("longest stall of others"), (longest, "ms"), (None, None));
        self.find(Part::Large, during("memory grows by"), (growth_mib(&seen), "MiB"), (None, None));
        Ok(())
    }
}

/// The longest that anybody waited.
fn longest_ms(measured: &Measured) -> f64 {
    measured.latencies.iter().map(|(_, histogram)| histogram.max() as f64 / 1e6).fold(0.0, f64::max)
}

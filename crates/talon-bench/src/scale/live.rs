//! While writes go on: scans of everything, and a node that comes back with an empty disk.

use std::time::{Duration, Instant};

use talon_client::{Client as GrpcClient, Options as GrpcOptions};
use talon_tests_support::{Client, Value, wait_until};

use super::background::{Others, Watch, growth_mib};
use super::{Bench, Part};
use crate::Outcome;
use crate::load::{Kind, Limit, Load, Measured, Mix, drive, key};
use crate::report::{Latency, thousands};

/// The writes that go on during a scan.
const WRITES_PER_S: f64 = 2_000.0;
const WRITERS: usize = 10;
/// Memory that grows by less is flat.
pub(super) const FLAT_MIB: f64 = 128.0;
/// How many keys SCAN is asked for at once.
const SCAN_COUNT: &str = "10000";
const REJOIN_TIMEOUT: Duration = Duration::from_secs(1800);
/// A node that lags by fewer entries has caught up: so many are under way.
const LAG_ENTRIES_MAX: u64 = 200;
const PIPELINE: usize = 16;

impl Bench {
    fn writes(&self) -> Load {
        // Without an end of its own: it is stopped.
        let load = Load::new(Mix::only(Kind::Set), self.options.keys, Limit::Requests(u64::MAX));
        load.connections(WRITERS).pipeline(PIPELINE).value_bytes(self.value_bytes()).rate(WRITES_PER_S)
    }

    /// [`Part::Scan`].
    pub(super) fn scan(&mut self) -> Outcome<()> {
        self.fill(self.options.keys)?;
        let leader = self.cluster.leader()?;
        let address = self.cluster.nodes[leader].resp;
        let grpc = format!("127.0.0.1:{}", self.cluster.nodes[leader].grpc_port);
        let alone = drive(&self.target()?, &Load { limit: Limit::Time(self.time()), ..self.writes() })?;
        let alone = p99_ms(&alone.without_errors()?, Kind::Set);
        self.find(Part::Scan, "writes alone, p99", (alone, "ms"), (None, None));
        for what in ["SCAN", "SCANPREFIX (gRPC)"] {
            let leadership = self.cluster.leadership()?;
            let pids = self.cluster.pids()?;
            let (others, watch) = (Others::start(address, self.writes()), Watch::start(&pids));
            let (began, mut scans) = (Instant::now(), 0);
            // Once after the other, until there are writes enough to tell their 99th percentile.
            let scanned = loop {
                scans += 1;
                let scanned = if what == "SCAN" { scan_all(address) } else { scan_prefix(&grpc) };
                if scanned.is_err() || began.elapsed() >= self.time() {
                    break scanned;
                }
            };
            let took = began.elapsed() / scans;
            let (seen, measured) = (watch.stop()?, others.stop()?);
            let scanned = scanned?;
            if scanned < self.filled {
                return Err(format!("{what} found {scanned} of {} keys", self.filled).into());
            }
            println!("  {what}: {} keys in {:.1} s", thousands(scanned as f64), took.as_secs_f64());
            let name = |figure: &str| format!("{what} of {} keys: {figure}", self.filled);
            let (p99, growth) = (p99_ms(&measured, Kind::Set), growth_mib(&seen));
            let (ratio_name, growth_name, took_name) =
                (name("p99 of writes beside without"), name("memory grows by"), name("takes"));
            self.find(Part::Scan, ratio_name, (p99 / alone, "×"), (Some(2.0), None));
            self.find(Part::Scan, growth_name, (growth, "MiB"), (Some(FLAT_MIB), None));
            self.find(Part::Scan, took_name, (took.as_secs_f64(), "s"), (None, None));
            self.find_elections(Part::Scan, what, leadership)?;
        }
        Ok(())
    }

    /// [`Part::Rejoin`].
    pub(super) fn rejoin(&mut self) -> Outcome<()> {
        self.fill(self.options.keys)?;
        let target = self.target()?;
        let sets = Load::new(Mix::only(Kind::Set), self.options.keys, Limit::Time(self.time()))
            .pipeline(PIPELINE)
            .value_bytes(self.value_bytes());
        let most = drive(&target, &sets)?.without_errors()?.rate();
        let half = Load { limit: Limit::Requests(u64::MAX), ..sets.rate(most / 2.0) };
        let leader = self.cluster.leader()?;
        let (address, place) = (self.cluster.nodes[leader].resp, (leader + 1) % self.cluster.nodes.len());
        let leadership = self.cluster.leadership()?;
        let others = Others::start(address, half);
        self.cluster.kill(place)?;
        std::fs::remove_dir_all(self.cluster.data(place))?;
        let began = Instant::now();
        self.cluster.start_again(place)?;
        let watch = Watch::start(&[self.cluster.nodes[place].pid, self.cluster.nodes[leader].pid]);
        let is_back = self.cluster.wait_until_it_serves(place, &key(0)).and_then(|()| self.wait_until_caught_up(place));
        let took = began.elapsed().as_secs_f64();
        let (seen, measured) = (watch.stop()?, others.stop());
        is_back?;
        self.find_elections(Part::Rejoin, "a wiped node comes back", leadership)?;
        let measured = measured?;
        println!("  meanwhile {} SETs a second, half of the maximum", thousands(measured.rate()));
        let name = format!("a wiped node with {} MB is back after", self.filled * self.options.value_bytes / 1_000_000);
        self.find(Part::Rejoin, name, (took, "s"), (Some(REJOIN_TIMEOUT.as_secs_f64()), None));
        let bound = Some(self.memory_most_mib()?);
        for (who, seen) in ["the wiped node", "the leader"].into_iter().zip(seen) {
            self.find(Part::Rejoin, format!("memory of {who}, at most"), (seen.most_mib, "MiB"), (bound, None));
        }
        self.find(Part::Rejoin, "p99 of writes meanwhile", (p99_ms(&measured, Kind::Set), "ms"), (None, None));
        Ok(())
    }

    fn wait_until_caught_up(&self, place: usize) -> Outcome<()> {
        let id = self.cluster.nodes[place].id;
        let mut last = String::new();
        let caught_up = wait_until(REJOIN_TIMEOUT, || match self.cluster.status() {
            Err(error) => {
                last = error.to_string();
                false
            }
            Ok(status) => {
                let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
                let node = nodes.into_iter().find(|node| node["id"] == id).unwrap_or_default();
                last = node.to_string();
                node["serving"] == true && node["lag_entries"].as_u64().is_some_and(|lag| lag <= LAG_ENTRIES_MAX)
            }
        });
        if caught_up { Ok(()) } else { Err(format!("node {id} does not catch up: {last}").into()) }
    }
}

/// The 99th percentile of a kind's latencies.
pub(super) fn p99_ms(measured: &Measured, kind: Kind) -> f64 {
    measured.of(kind).map_or(f64::NAN, |histogram| Latency::of(histogram).p99_ms)
}

/// All keys by SCAN, page after page; how many.
fn scan_all(address: std::net::SocketAddr) -> Outcome<u64> {
    let mut client = Client::connect(address)?;
    let (mut cursor, mut count) = ("0".to_owned(), 0);
    loop {
        let reply = client.call(&["SCAN", &cursor, "MATCH", "key:*", "COUNT", SCAN_COUNT])?;
        let Value::Array(parts) = reply else { return Err(format!("SCAN answers {reply:?}").into()) };
        let [next, Value::Array(keys)] = &parts[..] else { return Err(format!("SCAN answers {parts:?}").into()) };
        count += keys.len() as u64;
        cursor = next.text().ok_or("SCAN answers no cursor")?;
        if cursor == "0" {
            return Ok(count);
        }
    }
}

/// All keys with their values as one stream; how many.
fn scan_prefix(grpc: &str) -> Outcome<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = GrpcClient::connect([grpc], GrpcOptions::default()).await?;
        let mut scan = client.scan_prefix("key:", 0, 0).await?;
        let mut count = 0;
        while scan.next().await?.is_some() {
            count += 1;
        }
        Ok(count)
    })
}

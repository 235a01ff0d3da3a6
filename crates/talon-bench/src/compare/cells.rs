//! What is measured on every system.

use std::time::Duration;

use super::etcd::Etcd;
use super::redis_benchmark::{RedisBenchmark, VALUE_BYTES};
use super::systems::{Running, System};
use super::{Options, Sample};
use crate::Outcome;
use crate::load::{Kind, Limit, Load, Measured, Mix, Resp, drive};
use crate::report::Figures;

const CONNECTIONS: u64 = 50;
const MANY_CONNECTIONS: u64 = 500;
/// As etcd's own documentation measures: fewer connections, which the clients share.
const ETCD_CONNECTIONS: usize = 100;
/// The maximum rate is the one that a pipeline of so many reaches on every connection.
const FULL_PIPELINE: usize = 64;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// `redis-benchmark -t … -P …`.
    Benchmark(&'static str, u64),
    /// GET on a node that does not lead.
    Follower(u64),
    /// SET and GET in turn in one pipeline.
    InTurn(u64),
    /// One client that waits for each reply to its SET.
    OneClient,
    /// SET by many clients, each waiting for its replies.
    ManyClients,
    /// SET at half of the maximum rate, in an open loop.
    HalfRate,
}

impl Cell {
    /// All that a system can do.
    pub fn of(system: System, pipelines: &[u64]) -> Vec<Cell> {
        let mut cells = Vec::new();
        if system != System::Etcd {
            for &pipeline in pipelines {
                cells.extend(["set", "get", "incr"].map(|test| Cell::Benchmark(test, pipeline)));
            }
            cells.extend(pipelines.iter().filter(|&&pipeline| pipeline > 1).map(|&pipeline| Cell::InTurn(pipeline)));
            if matches!(system, System::Talon | System::RedisReplicas) {
                cells.extend(pipelines.iter().map(|&pipeline| Cell::Follower(pipeline)));
            }
        }
        cells.extend([Cell::OneClient, Cell::ManyClients, Cell::HalfRate]);
        cells
    }

    /// For a row's head.
    pub fn title(self) -> String {
        match self {
            Cell::Benchmark(test, pipeline) => format!("{} -P {pipeline}", test.to_uppercase()),
            Cell::Follower(pipeline) => format!("GET on a follower -P {pipeline}"),
            Cell::InTurn(pipeline) => format!("SET and GET in turn -P {pipeline}"),
            Cell::OneClient => "SET, one client".into(),
            Cell::ManyClients => "SET, 500 clients".into(),
            Cell::HalfRate => "SET at half of the maximum rate".into(),
        }
    }

    /// Measures it once. `around` is called when the load that is measured begins, and again when it has ended; if there are several, the last counts.
    ///
    /// # Errors
    /// If the system answers with an error.
    pub fn measure(
        self,
        system: System,
        running: &Running,
        options: &Options,
        mut around: impl FnMut() -> Outcome<()>,
    ) -> Outcome<Sample> {
        let time = Duration::from_secs_f64(options.seconds);
        let is_etcd = system == System::Etcd;
        let mut own = |load: &Load| -> Outcome<Sample> {
            around()?;
            let measured = if is_etcd {
                drive(&Etcd { at: running.leader }, load)?
            } else {
                drive(&Resp::at(running.leader), load)?
            };
            around()?;
            Ok(sample(&measured.without_errors()?, load))
        };
        let load = |kinds: &[Kind]| Load {
            value_bytes: VALUE_BYTES,
            seed: options.keys ^ u64::from(std::process::id()),
            ..Load::new(Mix::in_turn(kinds), options.keys, limit(options, time))
        };
        let set = load(&[Kind::Set]);
        let benchmark = |test, address, pipeline, connections| RedisBenchmark {
            address,
            test,
            pipeline,
            connections,
            keys: options.keys,
        };
        let by_redis_benchmark = |load: RedisBenchmark, around: &mut dyn FnMut() -> Outcome<()>| {
            let requests = match options.requests {
                Some(requests) => requests.max(load.pipeline * load.connections),
                None => load.requests(time)?,
            };
            around()?;
            let sample = load.run(requests, time)?;
            around()?;
            Ok(sample)
        };
        match self {
            Cell::Benchmark(test, pipeline) => {
                by_redis_benchmark(benchmark(test, running.leader, pipeline, CONNECTIONS), &mut around)
            }
            Cell::Follower(pipeline) => {
                let follower = *running.followers.first().ok_or("nobody follows")?;
                by_redis_benchmark(benchmark("get", follower, pipeline, CONNECTIONS), &mut around)
            }
            Cell::InTurn(pipeline) => own(&load(&[Kind::Set, Kind::Get]).pipeline(pipeline as usize)),
            Cell::OneClient => own(&Load { connections: 1, limit: Limit::Time(time), ..set }),
            Cell::ManyClients if is_etcd => {
                let each = MANY_CONNECTIONS as usize / ETCD_CONNECTIONS;
                own(&set.connections(ETCD_CONNECTIONS).pipeline(each))
            }
            Cell::ManyClients => by_redis_benchmark(benchmark("set", running.leader, 1, MANY_CONNECTIONS), &mut around),
            Cell::HalfRate => {
                let clients = if is_etcd { (ETCD_CONNECTIONS, 5) } else { (CONNECTIONS as usize, FULL_PIPELINE) };
                let full = set.connections(clients.0).pipeline(clients.1);
                let most = own(&Load { limit: Limit::Time(time), ..full.clone() })?;
                own(&Load { limit: Limit::Time(time), ..full.rate(most.requests_per_s / 2.0) })
            }
        }
    }
}

fn limit(options: &Options, time: Duration) -> Limit {
    options.requests.map_or(Limit::Time(time), Limit::Requests)
}

fn sample(measured: &Measured, load: &Load) -> Sample {
    let figures = Figures::of(measured);
    let kind = if load.mix.has(Kind::Set) { Kind::Set } else { Kind::Get };
    let latency = figures.latency_of(kind);
    Sample {
        requests: figures.requests,
        requests_per_s: figures.requests_per_s,
        p50_ms: latency.p50_ms,
        p99_ms: latency.p99_ms,
        p999_ms: Some(latency.p999_ms),
        hit_rate: figures.hit_rate,
    }
}

/// Sets all keys and shows that they are there: the share of random GETs that find theirs. None for etcd: its cells only write, and
/// filling a million keys would take it minutes.
///
/// # Errors
/// If they are not.
pub fn fill(system: System, running: &Running, options: &Options) -> Outcome<Option<f64>> {
    const SAMPLE: u64 = 100_000;
    let target = Resp::at(running.leader);
    if system == System::Etcd {
        return Ok(None);
    }
    drive(&target, &Load::fill(options.keys, VALUE_BYTES)?)?.without_errors()?;
    let gets = Load::new(Mix::only(Kind::Get), options.keys, Limit::Requests(SAMPLE.min(options.keys)));
    let hits = drive(&target, &gets.pipeline(FULL_PIPELINE))?.without_errors()?.counts.hit_rate().unwrap_or(0.0);
    if hits < 1.0 { Err(format!("only {:.2} % of the GETs hit", hits * 100.0).into()) } else { Ok(Some(hits)) }
}

//! `talon-bench run`: one load on a running cluster, or on an embedded database.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use talon_client::ReadPreference;
use talon_tests_support::{Client, Value};

use crate::Outcome;
use crate::load::{Embedded, Grpc, Keys, Kind, Limit, Load, Measured, Mix, Resp, Target, drive};
use crate::machine::Used;
use crate::picture;
use crate::report::{Figures, Header, Outputs, terminal_table, thousands};

/// How a database is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Door {
    /// A cluster's RESP.
    Resp,
    /// A cluster's gRPC, with Talon's own client.
    Grpc,
    /// The library, in a folder.
    Embedded,
}

/// Drive a running cluster over RESP or gRPC, or the embedded database.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// What is driven.
    #[arg(long, value_enum, default_value = "resp")]
    target: Door,

    /// The nodes (`host:port` of RESP or of gRPC), separated by commas. Over RESP the one that leads is driven.
    #[arg(long, value_delimiter = ',')]
    at: Vec<String>,

    /// Read from nodes that do not lead; over RESP, drive only those.
    #[arg(long)]
    followers: bool,

    /// The embedded database's folder [default: a temporary one].
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,

    /// What is asked for: `get=95,set=5` by chance, `set+get` in turn; of get, set, incr and scan.
    #[arg(long, default_value = "set")]
    mix: Mix,

    /// How many keys there are.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    keys: u64,

    /// Zipfian keys with this exponent, such as 0.99, instead of uniform ones.
    #[arg(long, value_name = "EXPONENT")]
    zipfian: Option<f64>,

    /// The bytes of a value.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=16 << 20))]
    value_bytes: u64,

    /// How many keys a scan reads.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    scan_keys: u64,

    /// How many connections; for the embedded database, threads.
    #[arg(long, short = 'c', default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    connections: u64,

    /// How many requests are under way on each.
    #[arg(long, short = 'P', default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pipeline: u64,

    /// How many threads of this program carry the connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    threads: u64,

    /// Open loop: so many requests a second fall due, and latency counts from when they were due.
    #[arg(long)]
    rate: Option<f64>,

    /// How long it lasts.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,

    /// How many requests are sent, instead of for how long.
    #[arg(long, short = 'n')]
    requests: Option<u64>,

    /// Do not set all keys before. Without this, a load that reads finds them all.
    #[arg(long)]
    no_fill: bool,

    /// Where the random numbers begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    #[command(flatten)]
    outputs: Outputs,
}

/// Between a tenth of a second and a day.
pub fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (0.1..=86_400.0).contains(&number) { Ok(number) } else { Err("between 0.1 and 86400".into()) }
}

#[derive(Serialize)]
struct Results {
    target: String,
    filled_keys: u64,
    load: Load,
    #[serde(flatten)]
    figures: Figures,
    /// This program's own processor time for one request; with the embedded database, the database's too.
    client_us_per_request: f64,
}

impl Options {
    fn load(&self) -> Outcome<Load> {
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate.is_finite())) {
            return Err("--rate: a number of requests a second".into());
        }
        if self.zipfian.is_some_and(|exponent| !(exponent >= 0.0 && exponent.is_finite())) {
            return Err("--zipfian: an exponent such as 0.99".into());
        }
        let time = Limit::Time(Duration::from_secs_f64(self.seconds));
        let threads = if self.target == Door::Embedded { self.connections } else { self.threads };
        Ok(Load {
            order: self.zipfian.map_or(Keys::Uniform, Keys::Zipfian),
            value_bytes: self.value_bytes as usize,
            scan_keys: self.scan_keys,
            connections: self.connections as usize,
            pipeline: self.pipeline as usize,
            threads: threads as usize,
            rate: self.rate,
            seed: self.seed,
            ..Load::new(self.mix.clone(), self.keys, self.requests.map_or(time, Limit::Requests))
        })
    }
}

/// Carries it out.
///
/// # Errors
/// If the target cannot be driven, or a request is answered with an error.
pub fn run(options: &Options) -> Outcome<()> {
    let header = Header::begin("run")?;
    match options.target {
        Door::Resp => {
            let default = ["127.0.0.1:6380", "127.0.0.1:6381", "127.0.0.1:6382"].map(str::to_owned);
            let at = if options.at.is_empty() { &default[..] } else { &options.at[..] };
            let (leader, followers) = roles(at)?;
            let driven = if options.followers { followers } else { vec![leader] };
            if driven.is_empty() {
                return Err("none of the nodes follows".into());
            }
            measure(options, header, &format!("RESP at {driven:?}"), &Resp::at(leader), &Resp::among(driven))
        }
        Door::Grpc => {
            let default = vec!["127.0.0.1:7380".to_owned()];
            let endpoints = if options.at.is_empty() { default } else { options.at.clone() };
            let read_preference = if options.followers { ReadPreference::Follower } else { ReadPreference::Leader };
            let target = Grpc { endpoints, read_preference };
            measure(options, header, &format!("gRPC at {}", target.endpoints.join(", ")), &target, &target)
        }
        Door::Embedded => {
            let temporary = tempfile::tempdir()?;
            let folder = options.folder.clone().unwrap_or_else(|| temporary.path().join("db"));
            let target = Embedded { db: talon::Talon::open(&folder)? };
            measure(options, header, "the embedded database", &target, &target)
        }
    }
}

/// Who of these leads, and who follows. A server that is not a cluster's leads itself.
fn roles(at: &[String]) -> Outcome<(SocketAddr, Vec<SocketAddr>)> {
    let (mut leader, mut followers, mut failure) = (None, Vec::new(), "nobody leads".to_owned());
    for name in at {
        let address = name.to_socket_addrs()?.next().ok_or_else(|| format!("{name} is no address"))?;
        match role(address) {
            Ok(role) if role == "master" => leader = leader.or(Some(address)),
            Ok(_) => followers.push(address),
            Err(error) => failure = format!("{name}: {error}"),
        }
    }
    Ok((leader.ok_or(failure)?, followers))
}

/// What a server says it is: `master` or `slave`.
///
/// # Errors
/// If it does not serve.
pub fn role(address: SocketAddr) -> Outcome<String> {
    match Client::connect(address)?.call(&["ROLE"])? {
        Value::Array(parts) => Ok(parts.first().and_then(Value::text).unwrap_or_default()),
        other => Err(format!("ROLE answers {other:?}").into()),
    }
}

fn measure<F: Target, T: Target>(options: &Options, header: Header, name: &str, fill: &F, target: &T) -> Outcome<()> {
    let load = options.load()?;
    let reads = load.mix.has(Kind::Get) || load.mix.has(Kind::Scan);
    let filled_keys = if reads && !options.no_fill { load.keys } else { 0 };
    if filled_keys > 0 {
        println!("setting {} keys", thousands(filled_keys as f64));
        drive(fill, &Load::fill(load.keys, load.value_bytes)?)?.without_errors()?;
    }
    println!("driving {name}: {}", load.mix);
    let before = Used::look(&[])?;
    let measured = drive(target, &load)?;
    let own = Used::look(&[])?.since(&before, header.machine().cores()).own;
    let figures = Figures::of(&measured);
    show(&figures);
    if let Some(path) = &options.outputs.svg {
        let lines: Vec<_> =
            measured.latencies.iter().map(|(kind, histogram)| (kind.name().to_owned(), histogram)).collect();
        let loop_name = load.rate.map_or("closed loop".into(), |rate| format!("{} due a second", thousands(rate)));
        let (connections, pipeline) = (load.connections, load.pipeline);
        let title = format!("{name}: {}, {connections} connections, pipeline {pipeline}, {loop_name}", load.mix);
        picture::percentiles(path, &title, &lines)?;
    }
    let client_us_per_request = own.as_secs_f64() * 1e6 / measured.requests().max(1) as f64;
    let results = Results { target: name.to_owned(), filled_keys, load, figures, client_us_per_request };
    header.end(&options.outputs, results)?;
    Measured::without_errors(measured).map(drop)
}

fn show(figures: &Figures) {
    let rows = figures.latency.iter().map(|(kind, latency)| {
        let mut row = vec![kind.name().to_owned(), thousands(latency.count as f64)];
        row.push(thousands(latency.count as f64 / figures.seconds));
        row.extend(latency.cells());
        row
    });
    let header = ["", "requests", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms"];
    println!("{}", terminal_table(&header, 1, rows.collect()));
    println!("{} requests/s for {:.1} s", thousands(figures.requests_per_s), figures.seconds);
    if let Some(hits) = figures.hit_rate {
        println!("{:.2} % of the GETs found their key", hits * 100.0);
    }
    if figures.counts.scanned > 0 {
        println!("{} keys were scanned", thousands(figures.counts.scanned as f64));
    }
}

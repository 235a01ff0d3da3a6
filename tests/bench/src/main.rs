//! Talon beside Redis on this machine: starts, one after the other and with fresh data, three real `talon server` nodes,
//! a Redis primary with two replicas that sync every write, and a Redis without persistence; drives each with the same
//! `redis-benchmark`, and with one client that waits for every reply; prints medians and ratios.
//!
//! *Enters*: the binary, already built (`TALON_BIN`, else `release/talon` in the target folder), and Debian's
//! `redis-server` and `redis-benchmark`. *Leaves*: tables for a person and for the README. *Must never know*: anything
//! of Talon's inside.
//!
//! The data lies in the folder for temporary files (`TMPDIR` names another one); it must be on a disk.

#![warn(missing_docs)]

mod load;
mod machine;
mod report;
mod system;

use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;

use load::{RedisBenchmark, closed_loop, fill, hit_share};
use machine::{Machine, Used, load_average};
use report::{Cell, Load, Report};
use system::{Running, System};

/// How much is sent to find out how much fills the time of one cell.
const PROBE_REQUESTS_PER_PIPELINED: u64 = 1_000;
/// After filling the keys: what is still being flushed or replicated ends.
const SETTLE: Duration = Duration::from_secs(3);
/// GETs that miss are cheaper than those that hit, so fewer hits than this are an error.
const HIT_SHARE_MIN: f64 = 0.999;
const TESTS: [&str; 3] = ["set", "get", "incr"];

/// Compares three Talon nodes with Redis under redis-benchmark.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Options {
    /// How often everything is measured; the systems take turns.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// About how long one measurement takes.
    #[arg(long, default_value_t = 4.0, value_parser = seconds)]
    seconds: f64,

    /// How many keys there are (`redis-benchmark -r`); all of them are set before.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    keys: u64,

    /// Requests that a connection sends at once (`redis-benchmark -P`).
    #[arg(long, value_delimiter = ',', default_value = "1,16,64", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pipelines: Vec<u64>,

    /// What is measured.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "talon,redis,redis-memory")]
    systems: Vec<System>,

    /// Further flags for every `talon server`, such as `-- --worker-threads 2`.
    #[arg(last = true, value_name = "SERVER FLAGS")]
    talon_flags: Vec<String>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (0.1..=600.0).contains(&number) { Ok(number) } else { Err("between 0.1 and 600".into()) }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let machine = Machine::look(&std::env::temp_dir())?;
    let load_before = load_average();
    println!("{machine}");
    println!("load average before: {load_before:.1}");
    if machine.has_no_disk() {
        eprintln!("Warning: the folder for temporary files is not on a disk; name one that is in TMPDIR.");
    }
    let mut report = Report::default();
    let mut hits_min = f64::INFINITY;
    for round in 1..=options.rounds {
        for &system in &options.systems {
            println!("round {round} of {}: {}", options.rounds, system.title());
            let mut running = system.start(machine.cores(), &options.talon_flags)?;
            fill(running.leader, options.keys)?;
            let hits = hit_share(running.leader, options.keys)?;
            hits_min = hits_min.min(hits);
            println!("  {} keys are set, {:.1} % of GETs hit", options.keys, hits * 100.0);
            if hits < HIT_SHARE_MIN {
                return Err("GETs that miss would be compared with GETs that hit".into());
            }
            thread::sleep(SETTLE);
            measure(options, &machine, system, &running, &mut report)?;
            if !running.is_as_it_was() {
                return Err(format!("{}: a process ended, or the leader changed", system.title()).into());
            }
        }
    }
    let (others, others_most) = report.others_share();
    println!("\n{}\n", report.details(&options.systems));
    println!(
        "(`CPU µs leader`, `others`: processor time of the servers for one request; `else %`: of the whole machine,"
    );
    println!("used by processes that are none of this benchmark's.)\n");
    println!("{}", report.markdown(&options.systems));
    println!(
        "{machine}. All nodes, the replicas and `redis-benchmark -c 50 -d 64 -r {}` share the machine; medians of {} \
         round(s) of about {} s. {:.1} % of GETs or more hit. Redis acknowledges a write before its replicas have it; \
         Talon when a majority has synced it. Others used {:.0} % of the machine meanwhile ({:.0} % at most).",
        options.keys,
        options.rounds,
        options.seconds,
        hits_min * 100.0,
        others * 100.0,
        others_most * 100.0
    );
    println!("\nload average before {load_before:.1}, after {:.1}", load_average());
    Ok(())
}

/// All loads on one running system.
fn measure(
    options: &Options,
    machine: &Machine,
    system: System,
    running: &Running,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let time = Duration::from_secs_f64(options.seconds);
    let pipelines = options.pipelines.iter();
    let benchmarks = pipelines.flat_map(|&pipeline| TESTS.map(|test| Load::Benchmark(test, pipeline)));
    for load in benchmarks.chain([Load::ClosedLoop]) {
        let (measured, requests, usage) = match load {
            Load::Benchmark(test, pipeline) => {
                let benchmark = RedisBenchmark { address: running.leader, test, pipeline, keys: options.keys };
                let probe = benchmark.run(PROBE_REQUESTS_PER_PIPELINED * pipeline, time)?;
                let requests = benchmark.requests(probe.requests_per_s, time);
                let before = Used::look(&running.pids)?;
                let measured = benchmark.run(requests, time)?;
                (measured, requests as f64, Used::look(&running.pids)?.since(&before, machine.cores()))
            }
            Load::ClosedLoop => {
                let before = Used::look(&running.pids)?;
                let measured = closed_loop(running.leader, options.keys, time)?;
                let requests = measured.requests_per_s * time.as_secs_f64();
                (measured, requests, Used::look(&running.pids)?.since(&before, machine.cores()))
            }
        };
        println!(
            "  {:<16} {:>9.0}/s  p50 {:.2} ms  p99 {:.2} ms",
            load.title(),
            measured.requests_per_s,
            measured.p50_ms,
            measured.p99_ms
        );
        let us = |servers: &[Duration]| servers.iter().sum::<Duration>().as_secs_f64() * 1e6 / requests;
        let (leader, followers) = usage.servers.split_at(1.min(usage.servers.len()));
        report.add(Cell {
            system,
            load,
            measured,
            leader_us: us(leader),
            followers_us: us(followers),
            others_share: usage.others_share,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn options_are_read() {
        Options::command().debug_assert();
        let options =
            Options::parse_from(["bench", "--systems", "talon,redis", "--pipelines", "1,64", "--", "--x", "2"]);
        assert_eq!(options.systems, [System::Talon, System::Redis]);
        assert_eq!((options.pipelines, options.talon_flags), (vec![1, 64], vec!["--x".into(), "2".into()]));
        assert!(Options::try_parse_from(["bench", "--seconds", "0"]).is_err());
    }
}

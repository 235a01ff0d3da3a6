//! `talon-bench compare`: Talon beside its peers on this machine.
//!
//! The systems take turns, one at a time and with fresh data each round, in another order every round: idle neighbours would use processor time
//! too (heartbeats), and differently much. All are driven by the same clients: `redis-benchmark` where it can do it, else this program's own.

mod bars;
mod cells;
mod etcd;
mod redis_benchmark;
mod systems;

use std::thread;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::Outcome;
use crate::machine::{Machine, Used};
use crate::report::{Header, Outputs, markdown_table, median, terminal_table, thousands};
use bars::Verdict;
use cells::Cell;
use systems::{Running, System};

/// After filling the keys: what is still being flushed or replicated ends.
const SETTLE: Duration = Duration::from_secs(3);
const QUICK_KEYS: u64 = 10_000;
const QUICK_SECONDS: f64 = 0.3;

/// Compare Talon with Redis and etcd on this machine.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// About how long one measurement takes.
    #[arg(long, default_value_t = 4.0, value_parser = crate::run::seconds)]
    seconds: f64,

    /// How many requests one measurement has, instead of how long it takes.
    #[arg(long)]
    requests: Option<u64>,

    /// How many keys there are (`redis-benchmark -r`); all of them are set before.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    keys: u64,

    /// Requests that a connection sends at once (`redis-benchmark -P`).
    #[arg(long, value_delimiter = ',', default_value = "1,16,64", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pipelines: Vec<u64>,

    /// What is measured.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "talon,redis-replicas,redis-always,redis,etcd")]
    systems: Vec<System>,

    /// A short run with few keys, to see that everything works.
    #[arg(long)]
    quick: bool,

    #[command(flatten)]
    outputs: Outputs,

    /// Further flags for every `talon server`, such as `-- --worker-threads 2`.
    #[arg(last = true, value_name = "SERVER FLAGS")]
    talon_flags: Vec<String>,
}

/// What a client measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    requests: u64,
    requests_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// `redis-benchmark` does not tell it.
    p999_ms: Option<f64>,
    /// Which share of the GETs hit, where this program's own client sent them.
    hit_rate: Option<f64>,
}

/// One cell of one system in one round.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    round: u32,
    system: System,
    name: String,
    #[serde(skip)]
    cell: Cell,
    #[serde(flatten)]
    sample: Sample,
    /// Processor time of the leader's process for one request.
    leader_us: f64,
    /// Processor time of all other servers together for one request.
    followers_us: f64,
    /// Processor time of the client for one request.
    client_us: f64,
    /// The share of the machine that others used meanwhile.
    others_share: f64,
}

#[derive(Serialize)]
struct Results<'a> {
    options: OptionsShown<'a>,
    bars: Vec<Verdict>,
    /// The least share of GETs that found their key after filling, over all systems and rounds.
    hit_rate: Option<f64>,
    /// Elections during the measurements, and cells that had to be measured again.
    faults: Vec<String>,
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct OptionsShown<'a> {
    rounds: u32,
    seconds: f64,
    requests: Option<u64>,
    keys: u64,
    systems: &'a [System],
    talon_flags: &'a [String],
}

/// Everything that was measured so far.
#[derive(Default)]
struct Gathered {
    entries: Vec<Entry>,
    hits: Vec<f64>,
    faults: Vec<String>,
}

/// Carries it out.
///
/// # Errors
/// If a system cannot be started, or fails twice at the same cell.
pub fn run(options: &Options) -> Outcome<()> {
    let mut options = options.clone();
    if options.quick {
        options.keys = options.keys.min(QUICK_KEYS);
        options.seconds = options.seconds.min(QUICK_SECONDS);
    }
    let header = Header::begin("compare")?;
    let mut gathered = Gathered::default();
    for round in 1..=options.rounds {
        let mut order = options.systems.clone();
        let turn = (round as usize - 1) % order.len().max(1);
        order.rotate_left(turn);
        for system in order {
            println!("round {round} of {}: {}", options.rounds, system.title());
            one_system(&options, header.machine(), round, system, &mut gathered)?;
        }
    }
    let Gathered { entries, hits, faults } = gathered;
    let verdicts = bars::judge(&entries, &options.pipelines);
    show(&options, header.machine(), &entries, &verdicts);
    let hit_rate = hits.iter().copied().reduce(f64::min);
    if let Some(hits) = hit_rate {
        println!("All {} keys were set; {:.2} % of GETs hit.", thousands(options.keys as f64), hits * 100.0);
    }
    faults.iter().for_each(|fault| println!("FAULT: {fault}"));
    if let Some(path) = &options.outputs.svg {
        bars::draw(path, &options, header.machine(), &entries)?;
    }
    let Options { rounds, seconds, requests, keys, ref systems, ref talon_flags, .. } = options;
    let options_shown = OptionsShown { rounds, seconds, requests, keys, systems, talon_flags };
    header.end(&options.outputs, Results { options: options_shown, bars: verdicts, hit_rate, faults, entries })
}

fn one_system(
    options: &Options,
    machine: &Machine,
    round: u32,
    system: System,
    gathered: &mut Gathered,
) -> Outcome<()> {
    let mut running = system.start(&options.talon_flags)?;
    let hits = cells::fill(system, &running, options)?;
    if let Some(hits) = hits {
        println!("  {} keys are set, {:.2} % of GETs hit", thousands(options.keys as f64), hits * 100.0);
    }
    gathered.hits.extend(hits);
    if !options.quick {
        thread::sleep(SETTLE);
    }
    let term = running.term()?;
    for cell in Cell::of(system, &options.pipelines) {
        let entry = match measure(options, machine, (round, system, cell), &running) {
            Ok(entry) => entry,
            Err(error) => {
                let fault = format!("round {round}, {}, {}: {error}", system.title(), cell.title());
                eprintln!("  {fault}; once more");
                gathered.faults.push(fault);
                running.look_again()?;
                measure(options, machine, (round, system, cell), &running)?
            }
        };
        let Entry { sample, leader_us, followers_us, .. } = &entry;
        println!(
            "  {:<32} {:>9}/s  p50 {:.2} ms  p99 {:.2} ms{}  CPU µs {leader_us:.1} + {followers_us:.1}",
            entry.name,
            thousands(sample.requests_per_s),
            sample.p50_ms,
            sample.p99_ms,
            sample.p999_ms.map_or(String::new(), |ms| format!("  p99.9 {ms:.2} ms")),
        );
        gathered.entries.push(entry);
    }
    if let (Some(before), Some(after)) = (term, running.term()?)
        && before != after
    {
        gathered.faults.push(format!("round {round}, {}: {} elections under load", system.title(), after - before));
    }
    running.look_again()
}

fn measure(
    options: &Options,
    machine: &Machine,
    (round, system, cell): (u32, System, Cell),
    running: &Running,
) -> Outcome<Entry> {
    let pids = running.pids()?;
    let mut looks = Vec::new();
    let sample = cell.measure(system, running, options, || {
        looks.push(Used::look(&pids)?);
        Ok(())
    })?;
    let [.., before, after] = &looks[..] else { return Err("nothing was measured".into()) };
    let usage = after.since(before, machine.cores());
    let us = |times: &[Duration]| times.iter().sum::<Duration>().as_secs_f64() * 1e6 / sample.requests.max(1) as f64;
    let (leader, followers) = usage.servers.split_at(1.min(usage.servers.len()));
    Ok(Entry {
        round,
        system,
        name: cell.title(),
        cell,
        sample,
        leader_us: us(leader),
        followers_us: us(followers),
        client_us: us(&[usage.own]),
        others_share: usage.others_share,
    })
}

/// The median over the rounds.
fn median_of(entries: &[Entry], system: System, cell: Cell, figure: impl Fn(&Entry) -> Option<f64>) -> Option<f64> {
    let cells = entries.iter().filter(|entry| entry.system == system && entry.cell == cell);
    median(&cells.filter_map(figure).collect::<Vec<f64>>())
}

fn show(options: &Options, machine: &Machine, entries: &[Entry], verdicts: &[Verdict]) {
    let mut cells: Vec<Cell> = Vec::new();
    for entry in entries {
        if !cells.contains(&entry.cell) {
            cells.push(entry.cell);
        }
    }
    let mut rows = Vec::new();
    for &cell in &cells {
        for &system in &options.systems {
            let figure = |figure: fn(&Entry) -> f64| median_of(entries, system, cell, |entry| Some(figure(entry)));
            let Some(rate) = figure(|entry| entry.sample.requests_per_s) else { continue };
            let shown = |figure: Option<f64>| figure.map_or(String::new(), |figure| format!("{figure:.2}"));
            rows.push(vec![
                cell.title(),
                system.title().to_owned(),
                thousands(rate),
                shown(figure(|entry| entry.sample.p50_ms)),
                shown(figure(|entry| entry.sample.p99_ms)),
                shown(median_of(entries, system, cell, |entry| entry.sample.p999_ms)),
                shown(figure(|entry| entry.leader_us)),
                shown(figure(|entry| entry.followers_us)),
                shown(figure(|entry| entry.client_us)),
                shown(figure(|entry| entry.others_share * 100.0)),
            ]);
        }
    }
    let head = ["", "system", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "leader", "followers", "client", "else %"];
    println!("\n{}", terminal_table(&head, 2, rows));
    println!(
        "(leader, followers, client: µs of processor time for one request; else: the share of the machine that others used)\n"
    );
    println!("{}\n", markdown_table(&bars::HEAD, 1, verdicts.iter().map(Verdict::cells).collect()));
    let mut head = vec!["requests/s"];
    head.extend(options.systems.iter().map(|system| system.title()));
    let rows = cells.iter().map(|&cell| {
        let rate = |system| median_of(entries, system, cell, |entry| Some(entry.sample.requests_per_s));
        let mut row = vec![cell.title()];
        row.extend(options.systems.iter().map(|&system| rate(system).map_or("–".into(), thousands)));
        row
    });
    println!("{}\n", markdown_table(&head, 1, rows.collect()));
    println!(
        "{machine}. The servers and the client share the machine; one system at a time; medians of {} round(s). Redis acknowledges a write before \
         its replicas have it; Talon and etcd when a majority has synced it.",
        options.rounds
    );
}

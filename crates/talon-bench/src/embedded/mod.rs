//! `talon-bench embedded`: the embedded database beside raw RocksDB calls for the same bytes.
//!
//! Each side runs in a process of its own, so that its memory and its writes can be told; the sides take turns, with fresh data every round. Both
//! write the same rows in batches of the same size, with a log and one sync a batch, and read the same keys in the same order.

mod raw;
mod side;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::Outcome;
use crate::picture::{Bar, bars};
use crate::report::{Header, Outputs, markdown_table, median, terminal_table, thousands};
use side::Report;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Side {
    /// The embedded database with its default settings.
    Talon,
    /// The `rocksdb` crate with RocksDB's default options and the same cache.
    Raw,
}

/// Compare the embedded database with raw RocksDB calls for the same bytes.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// How many keys there are.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    keys: u64,

    /// The bytes of a value.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    value_bytes: u64,

    /// How many writes share a batch, and its sync.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    batch: u64,

    /// How many counters there are.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    counters: u64,

    /// How often everything is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// Measure also what it would cost to keep an exact key count (raw calls: a look before each write).
    #[arg(long)]
    kept_count: bool,

    /// Measure one side once and print JSON; this is how the two processes are started.
    #[arg(long, value_enum, hide = true)]
    side: Option<Side>,

    #[command(flatten)]
    outputs: Outputs,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    talon_per_s: f64,
    raw_per_s: f64,
    ratio: f64,
    /// What the ratio is to be at least.
    least: Option<f64>,
    /// What it shall be.
    aim: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Results {
    keys: u64,
    value_bytes: u64,
    batch: u64,
    counters: u64,
    rows: Vec<Row>,
    /// Every round of both sides.
    rounds: BTreeMap<Side, Vec<Report>>,
    kept_count_slower: Option<BTreeMap<&'static str, f64>>,
}

/// Carries it out.
///
/// # Errors
/// If a side fails.
pub fn run(options: &Options) -> Outcome<()> {
    if let Some(side) = options.side {
        let folder = tempfile::tempdir()?;
        let report = match side {
            Side::Talon => side::measure(side::Embedded::open(&folder.path().join("db"))?, options)?,
            Side::Raw => side::measure(raw::Raw::open(&folder.path().join("db"))?, options)?,
        };
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    let header = Header::begin("embedded")?;
    println!(
        "{} random keys of 16 bytes, {}-byte values, batches of {}, each synced\n",
        thousands(options.keys as f64),
        options.value_bytes,
        options.batch
    );
    let mut rounds = BTreeMap::<Side, Vec<Report>>::new();
    for round in 0..options.rounds {
        // Whoever is second finds the disk's caches as the first left them: they take turns in that, too.
        let order = if round % 2 == 0 { [Side::Talon, Side::Raw] } else { [Side::Raw, Side::Talon] };
        for side in order {
            let report = in_a_process(side)?;
            println!("round {} of {}: {side:?} took {:.1} s", round + 1, options.rounds, report.seconds());
            rounds.entry(side).or_default().push(report);
        }
    }
    let kept_count_slower = if options.kept_count { Some(raw::kept_count(options)?) } else { None };
    let rows = rows(&rounds, options.keys);
    print(&rows, &rounds);
    for (what, slower) in kept_count_slower.iter().flatten() {
        println!("an exact key count, kept, makes batch SET of {what} {:.0} % slower (raw calls)", slower * 100.0);
    }
    if let Some(path) = &options.outputs.svg {
        let label = |per_s: f64| format!("{}/s", thousands(per_s));
        let group = |row: &Row| {
            let bar = |per_s: f64| Some(Bar { ratio: per_s / row.raw_per_s, label: label(per_s) });
            (row.name.clone(), vec![bar(row.talon_per_s), bar(row.raw_per_s)])
        };
        let groups: Vec<_> = rows.iter().map(group).collect();
        let title = format!("The embedded database beside raw RocksDB calls, {} keys", thousands(options.keys as f64));
        let series = ["Talon".to_owned(), "raw RocksDB".to_owned()];
        bars(path, &title, &header.machine().to_string(), &series, &groups)?;
    }
    let Options { keys, value_bytes, batch, counters, .. } = *options;
    header.end(&options.outputs, Results { keys, value_bytes, batch, counters, rows, rounds, kept_count_slower })
}

/// This program once more, for one side.
fn in_a_process(side: Side) -> Outcome<Report> {
    let name = side.to_possible_value().ok_or("no such side")?;
    let output = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .args(["--side", name.get_name()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{side:?}: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn rows(rounds: &BTreeMap<Side, Vec<Report>>, keys: u64) -> Vec<Row> {
    let rates = |side: Side, place: usize| -> Vec<f64> {
        let reports = rounds.get(&side).into_iter().flatten();
        reports.filter_map(|report| report.cells.get(place)).map(side::Cell::per_s).collect()
    };
    let first = rounds.get(&Side::Talon).and_then(|reports| reports.first());
    let names = first.into_iter().flat_map(|report| report.cells.iter().map(|cell| cell.name.clone()));
    names
        .enumerate()
        .filter_map(|(place, name)| {
            let talon_per_s = median(&rates(Side::Talon, place))?;
            let raw_per_s = median(&rates(Side::Raw, place))?;
            let (least, aim) = side::bars(&name, keys, raw_per_s);
            Some(Row { name, talon_per_s, raw_per_s, ratio: talon_per_s / raw_per_s, least, aim })
        })
        .collect()
}

fn print(rows: &[Row], rounds: &BTreeMap<Side, Vec<Report>>) {
    let cells = rows.iter().map(|row| {
        let verdict = row.least.map_or("", |least| if row.ratio >= least { "pass" } else { "short" });
        let times = |figure: Option<f64>| figure.map_or(String::new(), |figure| format!("{figure:.2}"));
        vec![
            row.name.clone(),
            thousands(row.talon_per_s / 1e3),
            thousands(row.raw_per_s / 1e3),
            format!("{:.2}", row.ratio),
            times(row.least),
            times(row.aim),
            verdict.to_owned(),
        ]
    });
    let header = ["K operations/s", "Talon", "raw RocksDB", "ratio", "at least", "aim", ""];
    println!("\n{}\n", markdown_table(&header, 1, cells.collect()));
    let of = |side: Side, figure: fn(&Report) -> f64| {
        let figures: Vec<f64> = rounds.get(&side).into_iter().flatten().map(figure).collect();
        median(&figures).map_or("–".into(), |figure| format!("{figure:.1}"))
    };
    let row =
        |name: &str, figure: fn(&Report) -> f64| vec![name.to_owned(), of(Side::Talon, figure), of(Side::Raw, figure)];
    let rows = vec![
        row("resident after the first SETs, MiB", |report| report.memory_after_sets.resident_mib),
        row("resident at the end, MiB", |report| report.memory.resident_mib),
        row("resident at most, MiB", |report| report.memory.peak_mib),
        row("written to the disk, MiB", |report| report.written_bytes as f64 / f64::from(1 << 20)),
        row("closing, s", |report| report.close_s),
    ];
    println!("{}", terminal_table(&["one process each", "Talon", "raw RocksDB"], 1, rows));
}

//! `talon-bench scale`: a cluster with many keys, with large values, and with work that concerns many keys at once. Each part can be run by
//! itself; those that need many keys share one cluster and fill it once.

mod background;
mod filled;
mod live;
mod stalls;

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::Outcome;
use crate::cluster::{Cluster, Leadership};
use crate::load::{Load, Resp, drive};
use crate::machine::written_bytes;
use crate::picture::{self, Bar};
use crate::report::{Header, Outputs, markdown_table, thousands};
use background::wait_until_quiet;

const QUICK_KEYS: u64 = 20_000;
const QUICK_SECONDS: f64 = 0.5;

/// One part. They run in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Part {
    /// Processor time of all nodes per SET with many keys stored, beside few.
    Cost,
    /// Bytes written to the disk per byte of value, all keys set in random order.
    Disk,
    /// Resident memory of a node with all keys.
    Memory,
    /// A scan of all keys, SCAN and SCANPREFIX, while writes go on.
    Scan,
    /// Restart of a node with all keys until it serves.
    Restart,
    /// A node whose disk was wiped comes back, with half of the maximum write rate going on.
    Rejoin,
    /// DELPREFIX and FLUSHALL over many keys, with other clients at work.
    Delete,
    /// Values of 16 MB, with other clients at work.
    Large,
}

/// Measure a cluster with many keys, large values, and work on many keys at once.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// What is measured.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "cost,disk,memory,scan,restart,rejoin,delete,large"
    )]
    parts: Vec<Part>,

    /// How many keys are many.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    keys: u64,

    /// How many keys are few.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    few_keys: u64,

    /// Over how many keys DELPREFIX and FLUSHALL go.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    delete_keys: u64,

    /// The bytes of a value.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    value_bytes: u64,

    /// The bytes of a large value.
    #[arg(long, default_value_t = 16 << 20, value_parser = clap::value_parser!(u64).range(1..=16 << 20))]
    large_bytes: u64,

    /// About how long a load lasts that has no other end.
    #[arg(long, default_value_t = 10.0, value_parser = crate::run::seconds)]
    seconds: f64,

    /// A short run with few keys, to see that everything works.
    #[arg(long)]
    quick: bool,

    #[command(flatten)]
    outputs: Outputs,

    /// Further flags for every `talon server`, such as `-- --memory-bytes 268435456`.
    #[arg(last = true, value_name = "SERVER FLAGS")]
    talon_flags: Vec<String>,
}

/// One figure. Less is better.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    part: Part,
    name: String,
    figure: f64,
    unit: &'static str,
    /// What it may be at most.
    most: Option<f64>,
    /// What it shall be at most.
    aim: Option<f64>,
    /// Whether it is within what it may be; none where there is no bound.
    passes: Option<bool>,
}

#[derive(Serialize)]
struct Results {
    keys: u64,
    few_keys: u64,
    delete_keys: u64,
    value_bytes: u64,
    large_bytes: u64,
    talon_flags: Vec<String>,
    findings: Vec<Finding>,
    /// Parts that failed, and why.
    faults: Vec<String>,
}

/// The cluster that the parts share, and what they found.
struct Bench {
    options: Options,
    cluster: Cluster,
    /// So many keys are set.
    filled: u64,
    /// The bytes each node wrote while the last fill went on and was flushed.
    fill_written: Vec<u64>,
    findings: Vec<Finding>,
}

/// Carries it out.
///
/// # Errors
/// If a cluster cannot be started, or a part failed; the others are carried out all the same.
pub fn run(options: &Options) -> Outcome<()> {
    let mut options = options.clone();
    if options.quick {
        options.keys = options.keys.min(QUICK_KEYS);
        options.few_keys = options.few_keys.min(QUICK_KEYS / 10);
        options.delete_keys = options.delete_keys.min(QUICK_KEYS);
        options.seconds = options.seconds.min(QUICK_SECONDS);
    }
    options.parts.sort();
    options.parts.dedup();
    let header = Header::begin("scale")?;
    let cluster = Cluster::start(&options.talon_flags)?;
    let mut bench =
        Bench { options: options.clone(), cluster, filled: 0, fill_written: Vec::new(), findings: Vec::new() };
    let mut faults = Vec::new();
    for &part in &options.parts {
        println!("{part:?}");
        let done = match part {
            Part::Cost => bench.cost(),
            Part::Disk => bench.disk(),
            Part::Memory => bench.memory(),
            Part::Scan => bench.scan(),
            Part::Restart => bench.restart(),
            Part::Rejoin => bench.rejoin(),
            Part::Delete => bench.delete(),
            Part::Large => bench.large(),
        };
        if let Err(error) = done {
            println!("  FAULT: {error}\n{}", bench.cluster.last_lines());
            faults.push(format!("{part:?}: {error}"));
            // What a part left behind is nobody's starting point.
            bench.start_afresh()?;
        }
    }
    let findings = std::mem::take(&mut bench.findings);
    drop(bench);
    println!("\n{}\n", table(&findings));
    if let Some(path) = &options.outputs.svg {
        draw(path, &header.machine().to_string(), &findings)?;
    }
    let failed = faults.join("; ");
    let Options { keys, few_keys, delete_keys, value_bytes, large_bytes, outputs, talon_flags, .. } = options;
    header.end(
        &outputs,
        Results { keys, few_keys, delete_keys, value_bytes, large_bytes, talon_flags, findings, faults },
    )?;
    if failed.is_empty() { Ok(()) } else { Err(failed.into()) }
}

impl Bench {
    /// Ends the cluster and starts an empty one.
    fn start_afresh(&mut self) -> Outcome<()> {
        self.cluster = Cluster::start(&self.options.talon_flags)?;
        self.filled = 0;
        Ok(())
    }

    fn value_bytes(&self) -> usize {
        self.options.value_bytes as usize
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.options.seconds)
    }

    /// The leader.
    fn target(&self) -> Outcome<Resp> {
        Ok(Resp::at(self.cluster.nodes[self.cluster.leader()?].resp))
    }

    /// Sets so many keys in random order, unless they are set, and waits until the nodes have nothing more to do.
    fn fill(&mut self, keys: u64) -> Outcome<()> {
        if self.filled >= keys {
            return Ok(());
        }
        println!("  setting {} keys of {} bytes", thousands(keys as f64), self.options.value_bytes);
        let pids: Vec<u32> = self.cluster.nodes.iter().map(|node| node.pid).collect();
        let written = || pids.iter().map(|&pid| Ok(written_bytes(pid)?)).collect::<Outcome<Vec<u64>>>();
        let before = written()?;
        let measured = drive(&self.target()?, &Load::fill(keys, self.value_bytes())?)?.without_errors()?;
        wait_until_quiet(&pids)?;
        self.fill_written = written()?.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect();
        self.filled = keys;
        println!("  {} SETs a second", thousands(measured.rate()));
        Ok(())
    }

    fn find(
        &mut self,
        part: Part,
        name: impl Into<String>,
        (figure, unit): (f64, &'static str),
        (most, aim): (Option<f64>, Option<f64>),
    ) {
        let name = name.into();
        println!("  {}", format!("{name}: {figure:.2} {unit}").trim_end());
        let passes = most.map(|most| figure <= most);
        self.findings.push(Finding { part, name, figure, unit, most, aim, passes });
    }

    /// Elections, and leaders that stopped leading, since then: there may be none.
    fn find_elections(&mut self, part: Part, what: &str, before: Leadership) -> Outcome<()> {
        let now = self.cluster.leadership()?;
        let none = (Some(0.0), None);
        let elections = now.term.saturating_sub(before.term) as f64;
        self.find(part, format!("{what}: elections"), (elections, ""), none);
        let pauses = now.pauses.saturating_sub(before.pauses) as f64;
        self.find(part, format!("{what}: times a leader stopped leading"), (pauses, ""), none);
        Ok(())
    }
}

fn table(findings: &[Finding]) -> String {
    let number = |figure: Option<f64>| figure.map_or(String::new(), |figure| format!("{figure:.2}"));
    let rows = findings.iter().map(|finding| {
        let verdict = finding.passes.map_or("", |passes| if passes { "pass" } else { "short" });
        vec![
            finding.name.clone(),
            format!("{:.2} {}", finding.figure, finding.unit).trim_end().to_owned(),
            number(finding.most),
            number(finding.aim),
            verdict.to_owned(),
        ]
    });
    markdown_table(&["", "measured", "at most", "aim", ""], 1, rows.collect())
}

fn draw(path: &std::path::Path, machine: &str, findings: &[Finding]) -> Outcome<()> {
    let bounded = findings.iter().filter_map(|finding| Some((finding, finding.most.filter(|most| *most > 0.0)?)));
    let groups: Vec<_> = bounded
        .map(|(finding, most)| {
            let label = format!("{:.2} {}", finding.figure, finding.unit);
            (finding.name.clone(), vec![Some(Bar { ratio: finding.figure / most, label })])
        })
        .collect();
    picture::bars(path, "Measured, beside what it may be at most (the line)", machine, &["Talon".into()], &groups)
}

//! `talon-bench stages`: processor time per command by stage, on the leader and on a follower, from profiles that `perf` takes while a load runs.

mod attribute;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::Outcome;
use crate::cluster::Cluster;
use crate::load::{Kind, Limit, Load, Mix, Resp, drive};
use crate::machine::{Machine, Used};
use crate::report::{Header, Outputs, markdown_table, thousands};
use attribute::{Stage, count, samples};

/// The load settles so long before a profile begins.
const WARM_UP: Duration = Duration::from_millis(500);
/// Samples a second, and how many bytes of the stack each keeps.
const SAMPLES_PER_S: &str = "499";
const CALL_GRAPH: &str = "dwarf,16384";

/// Show processor time per command by stage, from profiles (needs `perf` and the right to use it).
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// What is driven: a command and its pipeline.
    #[arg(long, value_delimiter = ',', default_value = "set:1,set:64,incr:64,get:1,get:64", value_parser = workload)]
    loads: Vec<Workload>,

    /// How many keys there are; all of them are set before.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    keys: u64,

    /// How long each profile is.
    #[arg(long, default_value_t = 5.0, value_parser = crate::run::seconds)]
    seconds: f64,

    /// Write everything that was measured to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Keep what `perf script` printed in this folder.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,

    /// Further flags for every `talon server`.
    #[arg(last = true, value_name = "SERVER FLAGS")]
    talon_flags: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Workload {
    kind: Kind,
    pipeline: usize,
}

fn workload(text: &str) -> Result<Workload, String> {
    let (name, pipeline) = text.split_once(':').ok_or("a load is like set:64")?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or("one of get, set, incr, scan")?;
    match pipeline.parse() {
        Ok(pipeline) if (1..=10_000).contains(&pipeline) => Ok(Workload { kind, pipeline }),
        _ => Err("a pipeline between 1 and 10000".into()),
    }
}

impl Workload {
    fn title(self) -> String {
        format!("{} -P {}", self.kind.name().to_uppercase(), self.pipeline)
    }
}

/// One node under one load.
#[derive(Debug, Serialize)]
struct Profile {
    /// Processor time per command, µs.
    us: f64,
    /// The same by stage.
    by_stage_us: BTreeMap<Stage, f64>,
    /// How many samples that rests on.
    samples: u64,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    workload: Workload,
    requests_per_s: f64,
    leader: Profile,
    follower: Profile,
}

/// Carries it out.
///
/// # Errors
/// If the cluster cannot be started, or `perf` cannot be used.
pub fn run(options: &Options) -> Outcome<()> {
    let header = Header::begin("stages")?;
    let cluster = Cluster::start(&options.talon_flags)?;
    let leader = cluster.nodes[cluster.leader()?].resp;
    drive(&Resp::at(leader), &Load::fill(options.keys, 64)?)?.without_errors()?;
    let mut rows = Vec::new();
    for &workload in &options.loads {
        println!("{}", workload.title());
        rows.push(profile(options, header.machine(), &cluster, workload)?);
    }
    drop(cluster);
    println!("\n{}", table(&rows));
    header.end(&Outputs { json: options.json.clone(), svg: None }, rows)
}

fn profile(options: &Options, machine: &Machine, cluster: &Cluster, workload: Workload) -> Outcome<Row> {
    let folder = tempfile::tempdir()?;
    let place = cluster.leader()?;
    let pids = cluster.pids()?;
    let watched = [("leader", pids[0]), ("follower", *pids.get(1).ok_or("nobody follows")?)];
    let time = Duration::from_secs_f64(options.seconds);
    let load = Load::new(Mix::only(workload.kind), options.keys, Limit::Time(WARM_UP + time + WARM_UP));
    let load = load.pipeline(workload.pipeline);
    let target = Resp::at(cluster.nodes[place].resp);
    let before = Used::look(&pids)?;
    let (measured, recorded) = std::thread::scope(|scope| {
        let driven = scope.spawn(|| drive(&target, &load));
        std::thread::sleep(WARM_UP);
        let recorders: Vec<Outcome<Child>> =
            watched.iter().map(|(name, pid)| record(&folder.path().join(name), *pid, time)).collect();
        let recorded: Vec<Outcome<()>> = recorders.into_iter().map(|child| end(child?)).collect();
        (driven.join(), recorded)
    });
    let measured = measured.map_err(|_| "a thread panicked")??.without_errors()?;
    let usage = Used::look(&pids)?.since(&before, machine.cores());
    recorded.into_iter().collect::<Outcome<Vec<()>>>()?;
    let mut profiles = Vec::new();
    for ((name, _), used) in watched.iter().zip(&usage.servers) {
        let text = script(&folder.path().join(name))?;
        if let Some(keep) = &options.keep {
            std::fs::create_dir_all(keep)?;
            std::fs::write(keep.join(format!("{name}-{}-{}.txt", workload.kind.name(), workload.pipeline)), &text)?;
        }
        let us = used.as_secs_f64() * 1e6 / measured.requests().max(1) as f64;
        let counts = count(&samples(&text));
        let all: u64 = counts.values().sum();
        let share = |samples: u64| us * samples as f64 / all.max(1) as f64;
        let by_stage_us = counts.iter().map(|(&stage, &samples)| (stage, share(samples))).collect();
        println!("  {name}: {us:.2} µs per command, {all} samples");
        profiles.push(Profile { us, by_stage_us, samples: all });
    }
    let follower = profiles.pop().ok_or("no profile")?;
    let leader = profiles.pop().ok_or("no profile")?;
    println!("  {} requests/s with perf at work", thousands(measured.rate()));
    Ok(Row { name: workload.title(), workload, requests_per_s: measured.rate(), leader, follower })
}

fn record(file: &Path, pid: u32, time: Duration) -> Outcome<Child> {
    let seconds = format!("{:.2}", time.as_secs_f64());
    Command::new("perf")
        .args(["record", "-q", "-F", SAMPLES_PER_S, "--call-graph", CALL_GRAPH, "-p", &pid.to_string(), "-o"])
        .arg(file)
        .args(["--", "sleep", &seconds])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("perf (apt-get install linux-perf): {error}").into())
}

fn end(child: Child) -> Outcome<()> {
    let output = child.wait_with_output()?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("perf record: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// The samples as text. Without looking for inlined functions, which takes perf minutes.
fn script(file: &Path) -> Outcome<String> {
    let mut command = Command::new("perf");
    command.args(["script", "--no-inline", "-F", "comm,ip,sym", "-i"]).arg(file);
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("perf script: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
    }
}

fn table(rows: &[Row]) -> String {
    let mut head = vec!["µs per command".to_owned()];
    for row in rows {
        head.extend([format!("{} leader", row.name), "follower".to_owned()]);
    }
    let profiles = || rows.iter().flat_map(|row| [&row.leader, &row.follower]);
    let line = |name: &str, figure: &dyn Fn(&Profile) -> Option<f64>| {
        let cell = |profile: &Profile| figure(profile).map_or(String::new(), |us| format!("{us:.2}"));
        std::iter::once(name.to_owned()).chain(profiles().map(cell)).collect::<Vec<String>>()
    };
    let used = Stage::ALL.into_iter().filter(|stage| profiles().any(|profile| profile.by_stage_us.contains_key(stage)));
    let mut lines: Vec<Vec<String>> =
        used.map(|stage| line(stage.title(), &|profile| profile.by_stage_us.get(&stage).copied())).collect();
    lines.push(line("all", &|profile| Some(profile.us)));
    markdown_table(&head.iter().map(String::as_str).collect::<Vec<_>>(), 1, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_read() {
        assert_eq!(workload("incr:64").unwrap().title(), "INCR -P 64");
        assert!(["set", "put:1", "set:0", "set:x"].iter().all(|text| workload(text).is_err()));
    }

    #[test]
    fn the_table_has_all_stages_that_occur() {
        let profile = |us: f64, stage| Profile { us, by_stage_us: [(stage, us)].into(), samples: 10 };
        let row = Row {
            name: "SET -P 1".into(),
            workload: workload("set:1").unwrap(),
            requests_per_s: 1.0,
            leader: profile(7.5, Stage::Propose),
            follower: profile(2.0, Stage::Apply),
        };
        let text = table(&[row]);
        assert!(text.contains("propose") && text.contains("apply") && text.contains("7.50"), "{text}");
        assert!(!text.contains("parse"), "{text}");
    }
}

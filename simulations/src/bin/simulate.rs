//! `simulate`: runs Talon in simulated time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use talon_core::planted::Bug;
use talon_simulations::children::jobs_default;
use talon_simulations::plan::{Plan, scenarios};
use talon_simulations::planted::{Catch, Hunt, hunt, show};
use talon_simulations::report::{Report, table};
use talon_simulations::sweep::{Bound, Sweep, sweep};
use talon_simulations::trace::Trace;
use talon_simulations::{ambient, panics, run};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

type Failure = Box<dyn std::error::Error>;

/// Runs Talon in simulated time, lets things go wrong, and judges what its clients and its nodes saw.
/// Exits with 0 if everything held, 1 if something was violated, 2 if it could not run.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Simulate {
    #[command(subcommand)]
    many: Option<Many>,
    #[command(flatten)]
    one: One,
}

#[derive(Args)]
struct One {
    /// The seed: the same one does the same
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long, in simulated minutes
    #[arg(long, default_value_t = 2)]
    minutes: u64,
    /// What goes wrong: see `simulate scenarios`
    #[arg(long, default_value = "swarm")]
    scenario: String,
    /// How many clients; by default the seed decides
    #[arg(long)]
    clients: Option<u32>,
    /// A bug to plant
    #[arg(long, value_name = "BUG")]
    plant: Option<String>,
    /// Shows the trace on stderr
    #[arg(long)]
    trace: bool,
    /// Prints the report as one line of JSON
    #[arg(long)]
    json: bool,
    /// Where what shows a violation goes, in a folder named by the seed
    #[arg(long, default_value = "target/simulations")]
    out: PathBuf,
}

#[derive(Subcommand)]
enum Many {
    /// Runs many seeds, a process each
    Sweep {
        /// How many seeds
        #[arg(long, conflicts_with = "hours", required_unless_present = "hours")]
        seeds: Option<u64>,
        /// For how long, in hours of real time
        #[arg(long)]
        hours: Option<f64>,
        /// The first seed
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// How long each run is, in simulated minutes
        #[arg(long, default_value_t = 2)]
        minutes: u64,
        /// The scenario of all runs
        #[arg(long, default_value = "swarm")]
        scenario: String,
        /// How many runs at a time; by default as many as there are cores
        #[arg(long)]
        jobs: Option<usize>,
        /// How many seeds run twice, to see whether they do the same
        #[arg(long, default_value_t = 0)]
        repeat: u64,
        /// Where what shows violations goes
        #[arg(long, default_value = "target/simulations")]
        out: PathBuf,
    },
    /// Plants bugs, one at a time, and sees whether they are caught
    Planted {
        /// The bugs; by default all of them
        bugs: Vec<String>,
        /// How many seeds are tried at most
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// After how many catches of a bug it is enough
        #[arg(long, default_value_t = 1)]
        catches: u64,
        /// The first seed
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// How long each run is, in simulated minutes
        #[arg(long, default_value_t = 2)]
        minutes: u64,
        /// How many runs at a time; by default as many as there are cores
        #[arg(long)]
        jobs: Option<usize>,
        /// Where what shows violations goes
        #[arg(long, default_value = "target/simulations/planted")]
        out: PathBuf,
    },
    /// Lists the scenarios
    Scenarios,
}

fn main() -> ExitCode {
    let Simulate { many, one } = Simulate::parse();
    let code = match many {
        None => run_one(&one),
        Some(Many::Sweep { seeds, hours, from, minutes, scenario, jobs, repeat, out }) => {
            let seeds = match (seeds, hours) {
                (Some(seeds), _) => Bound::Seeds(seeds),
                (None, hours) => Bound::Time(Duration::from_secs_f64(hours.unwrap_or(0.0).clamp(0.0, 1e6) * 3600.0)),
            };
            let jobs = jobs.unwrap_or_else(jobs_default);
            let sum = sweep(&Sweep { from, seeds, minutes, scenario, jobs, repeat, out });
            println!("{sum}");
            Ok(sum.exit_code())
        }
        Some(Many::Planted { bugs, seeds, catches, from, minutes, jobs, out }) => {
            let jobs = jobs.unwrap_or_else(jobs_default);
            hunt_all(&bugs, &Hunt { from, seeds, catches, minutes, jobs, out: &out })
        }
        Some(Many::Scenarios) => {
            let mut table = table(&["scenario"]);
            scenarios().into_iter().for_each(|(name, words)| {
                table.add_row([name, words]);
            });
            println!("{table}");
            Ok(0)
        }
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("it could not run: {error}");
            ExitCode::from(2)
        }
    }
}

fn bug(name: &str) -> Result<Bug, Failure> {
    let known = || Bug::ALL.map(|bug| format!("{bug:?}")).join(" ");
    let found = Bug::ALL.into_iter().find(|bug| format!("{bug:?}").eq_ignore_ascii_case(name));
    found.ok_or_else(|| format!("there is no bug {name}; there are {}", known()).into())
}

fn run_one(one: &One) -> Result<u8, Failure> {
    let plan = Plan::scenario(&one.scenario, one.seed, one.minutes.saturating_mul(60), one.clients);
    let mut plan = plan.ok_or_else(|| format!("there is no scenario {}: see `simulate scenarios`", one.scenario))?;
    plan.planted = one.plant.as_deref().map(bug).transpose()?.map(|bug| format!("{bug:?}"));
    let out = one.out.join(one.seed.to_string());
    fs::create_dir_all(&out)?;
    let report = simulate(plan, &out, one.trace)?;
    // It stays only if there is something in it.
    let _ = fs::remove_dir(&out);
    match one.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => print!("{report}"),
    }
    println!("trace {}", report.trace);
    Ok(u8::from(!report.held()))
}

fn simulate(plan: Plan, out: &Path, show_trace: bool) -> Result<Report, Failure> {
    // In memory where there is such a place: the nodes sync small files.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    panics::watch();
    ambient::begin(plan.seed);
    let trace = if show_trace { Trace::beside_another() } else { Trace::default() };
    let registry = tracing_subscriber::registry().with(trace.clone());
    if show_trace {
        registry.with(tracing_subscriber::fmt::layer().without_time().with_writer(std::io::stderr)).init();
    } else {
        registry.init();
    }
    run::run(plan, folder.path(), Some(out), &trace)
}

fn hunt_all(names: &[String], how: &Hunt<'_>) -> Result<u8, Failure> {
    let bugs: Vec<Bug> = match names {
        [] => Bug::ALL.to_vec(),
        names => names.iter().map(|name| bug(name)).collect::<Result<_, _>>()?,
    };
    let mut catches: Vec<(Bug, Catch)> = Vec::new();
    for bug in bugs {
        catches.push((bug, hunt(bug, how)));
        if let [.., (bug, catch)] = &catches[..] {
            let seed = catch.first.map_or_else(|| "no seed".to_owned(), |seed| format!("seed {seed}"));
            eprintln!("{bug:?}: {seed} of {} tried", catch.tried);
            catch.could_not.iter().for_each(|(seed, why)| eprintln!("  seed {seed} could not run: {why}"));
        }
    }
    println!("{}", show(&catches));
    Ok(u8::from(catches.iter().any(|(_, catch)| catch.first.is_none())))
}

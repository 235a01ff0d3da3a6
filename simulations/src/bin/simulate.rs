//! `simulate`: runs Talon in simulated time.

use talon_simulations::plan::Plan;
use talon_simulations::trace::Trace;
use talon_simulations::{ambient, run};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let seed: u64 = args.next().map_or(Ok(1), |text| text.parse())?;
    let minutes: u64 = args.next().map_or(Ok(1), |text| text.parse())?;
    let scenario = args.next().unwrap_or("swarm".to_owned());
    let mut plan = Plan::scenario(&scenario, seed, minutes * 60, None).ok_or("there is no such scenario")?;
    plan.planted = args.next();
    let folder = tempfile::tempdir_in("/dev/shm")?;
    ambient::begin(seed);
    let trace = Trace::default();
    let registry = tracing_subscriber::registry().with(trace.clone());
    if std::env::var_os("SHOW").is_some() {
        registry.with(tracing_subscriber::fmt::layer().without_time().with_writer(std::io::stderr)).init();
    } else {
        registry.init();
    }
    let report = run::run(plan, folder.path(), &trace)?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    println!("trace {}", report.trace);
    Ok(())
}

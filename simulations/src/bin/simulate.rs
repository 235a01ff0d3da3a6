//! `simulate`: runs Talon in simulated time.

use talon_simulations::trace::Trace;
use talon_simulations::{ambient, world};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let seed: u64 = args.next().map_or(Ok(1), |text| text.parse())?;
    let minutes: u64 = args.next().map_or(Ok(1), |text| text.parse())?;
    let folder = tempfile::tempdir_in("/dev/shm")?;
    ambient::begin(seed);
    let trace = Trace::default();
    let registry = tracing_subscriber::registry().with(trace.clone());
    if std::env::var_os("SHOW").is_some() {
        registry.with(tracing_subscriber::fmt::layer().without_time().with_writer(std::io::stderr)).init();
    } else {
        registry.init();
    }
    let ledger = world::run(seed, minutes, folder.path())?;
    let ledger = ledger.open();
    println!("{} entries, checked {:?}, leaders {:?}", ledger.entries.len(), ledger.checked, ledger.leaders);
    for broken in &ledger.broken {
        println!("{}: {}", broken.invariant, broken.what);
    }
    println!("events {} trace {:016x}", trace.events(), trace.hash());
    Ok(())
}

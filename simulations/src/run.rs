//! One run: machines, nodes, clients, faults, and at the end the judge.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use talon_raft::WritesOnFollower;
use tokio::task::JoinSet;

use crate::ambient;
use crate::faults::Injector;
use crate::host::{Process, name};
use crate::ledger::SharedLedger;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::report::Report;
use crate::trace::Trace;
use crate::world::World;
use crate::{client, panics, verdict, workloads};

/// How much may be under way in one direction of a connection, messages.
const TCP_MESSAGES_MAX: usize = 16_384;
/// How long clients have to finish what they are doing, and nodes to come to rest, at the end.
const REST_MIN: Duration = Duration::from_secs(3);
/// How long that may take at most.
const REST_MAX: Duration = Duration::from_secs(6);

/// Carries a plan out. What nodes keep as plain files goes into `folder`, which must be empty; what shows a violation into `out`, if given.
/// Simulated time must have begun ([`ambient::begin`]).
///
/// # Errors
/// If the simulation itself fails.
pub fn run(plan: Plan, folder: &Path, out: Option<&Path>, trace: &Trace) -> Result<Report, Box<dyn std::error::Error>> {
    if let Some(bug) = plan.bug() {
        talon_core::planted::plant(bug);
    }
    let mut sim = turmoil::Builder::new()
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_micros(plan.latency_us.0))
        .max_message_latency(Duration::from_micros(plan.latency_us.1))
        .simulation_duration(Duration::from_secs(plan.duration_s + 600))
        .tcp_capacity(TCP_MESSAGES_MAX)
        .rng_seed(plan.seed)
        .build();
    let ledger = SharedLedger::default();
    let founders: Vec<u64> = (1..=plan.voters).collect();
    let mut processes = Vec::new();
    for id in 1..=plan.voters + plan.spares {
        let machine = Machine::new(&folder.join(name(id)), plan.seed.rotate_left(id as u32) ^ id);
        machine.disks.slow_down(plan.sync_us_max);
        let process = Process::new(id, machine, &founders, ledger.clone(), |settings| {
            settings.log_segment_bytes = 16 << 10;
            settings.log_bytes_before_checkpoint = plan.log_bytes_before_checkpoint;
            settings.log_bytes_max = plan.log_bytes_max;
            if plan.forwards {
                settings.writes_on_follower = WritesOnFollower::Forward;
            }
        });
        processes.push(Arc::new(process));
    }
    let world = Arc::new(World::new(plan, processes, ledger));
    for process in &world.processes {
        let process = process.clone();
        sim.host(name(process.id), move || {
            let process = process.clone();
            async move {
                process.run().await;
                Ok(())
            }
        });
    }
    let mut clients: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for number in 1..=world.plan.clients {
        clients.entry(client::host(number)).or_default().push(number);
    }
    for (host, numbers) in clients {
        let world = world.clone();
        sim.client(host, async move {
            let mut running = JoinSet::new();
            for number in numbers {
                running.spawn_local(workloads::run(world.clone(), number));
            }
            while let Some(ended) = running.join_next().await {
                ended?;
            }
            Ok(())
        });
    }
    let mut injector = Injector::new(world.clone());
    let end = Duration::from_secs(world.plan.duration_s);
    let mut tick = |sim: &mut turmoil::Sim<'_>| -> Result<bool, Box<dyn std::error::Error>> {
        if let Err(error) = sim.step() {
            // A node that panicked ends the run, and is what the run is about.
            return if panics::seen().is_empty() { Err(error) } else { Ok(false) };
        }
        ambient::advance_to(sim.elapsed().as_micros() as u64);
        injector.step(sim);
        world.watch();
        Ok(true)
    };
    while sim.elapsed() < end && tick(&mut sim)? {}
    world.end();
    // Nobody asks any more: what is under way ends, and then all stand at one place.
    let at_rest = |at: Duration| at >= end + REST_MIN && verdict::settled(&world).difference().is_none();
    while sim.elapsed() < end + REST_MAX && !at_rest(sim.elapsed()) && tick(&mut sim)? {}
    let settled = verdict::settled(&world);
    Ok(verdict::conclude(&world, trace, &settled, injector.counts(), out)?)
}

//! What the log costs: `cargo run --release -p talon-raft --example log_bench [DIRECTORY]`.
//!
//! Small entries in groups with one group at a time (the price of a sync), small entries with several groups in flight, and large
//! entries. CPU is that of the whole process, `user + system`, per entry. Beside it the same bytes straight into a
//! preallocated file, with one sync a group: what the disk makes of it without a log.

use std::collections::VecDeque;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use talon_raft::environment::Workers;
use talon_raft::log::{DiskFiles, Files, LogSettings, LogStore};
use talon_raft::types::{Entry, Payload, ProposalEntry, TypeConfig, log_id};

struct Load {
    name: &'static str,
    entry_bytes: usize,
    group_entries: u64,
    groups: u64,
    in_flight: usize,
}

const LOADS: [Load; 5] = [
    Load { name: "100 B, 1 a group", entry_bytes: 100, group_entries: 1, groups: 2_000, in_flight: 1 },
    Load { name: "100 B, 1000 a group", entry_bytes: 100, group_entries: 1_000, groups: 1_000, in_flight: 1 },
    Load {
        name: "100 B, 1000 a group, 8 in flight",
        entry_bytes: 100,
        group_entries: 1_000,
        groups: 2_000,
        in_flight: 8,
    },
    Load {
        name: "100 KB, 1 a group, 8 in flight",
        entry_bytes: 100 << 10,
        group_entries: 1,
        groups: 4_000,
        in_flight: 8,
    },
    Load {
        name: "512 KB, 1 a group, 16 in flight",
        entry_bytes: 512 << 10,
        group_entries: 1,
        groups: 1_000,
        in_flight: 16,
    },
];

fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args().nth(1);
    let temporary = tempfile::tempdir_in(given.as_deref().unwrap_or("."))?;
    println!(
        "{:34} {:>12} {:>8} {:>12} {:>8} {:>18} {:>10}",
        "", "entries/s", "MB/s", "CPU us/entry", "syncs", "sync us avg (max)", "raw MB/s"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (number, load) in LOADS.iter().enumerate() {
        let raw = raw_file(&temporary.path().join(format!("raw-{number}")), load)?;
        runtime.block_on(run(&temporary.path().join(format!("log-{number}")), load, raw))?;
    }
    Ok(())
}

async fn run(directory: &Path, load: &Load, raw_mb: f64) -> Result<(), Box<dyn Error>> {
    let mut store = LogStore::open(Arc::new(DiskFiles::open(directory)?), LogSettings::default(), Workers::Threads)?;
    let payload = Bytes::from(vec![b'x'; load.entry_bytes]);
    let (started, cpu_before) = (Instant::now(), cpu_time()?);
    let mut in_flight = VecDeque::new();
    let mut index = 0;
    for _ in 0..load.groups {
        if in_flight.len() == load.in_flight
            && let Some(oldest) = in_flight.pop_front()
        {
            wait(oldest).await?;
            // As a node does: a commit mark now and then, and what has been applied for long is purged.
            store.save_committed(Some(log_id(1, index))).await?;
        }
        let entries: Vec<Entry> = (index + 1..=index + load.group_entries)
            .map(|index| Entry {
                log_id: log_id(1, index),
                payload: Payload::Normal(ProposalEntry::from_bytes(payload.clone())),
            })
            .collect();
        index += load.group_entries;
        let (sender, receiver) = TypeConfig::oneshot();
        store.append(entries, IOFlushed::signal(sender)).await?;
        in_flight.push_back(receiver);
        if store.entry_bytes() > 256 << 20 {
            let (first, last) = store.first_and_last().unwrap_or_default();
            store.purge(log_id(1, first + (last - first) / 2)).await?;
        }
    }
    for flushed in in_flight {
        wait(flushed).await?;
    }
    let (elapsed, cpu) = (started.elapsed(), cpu_time()? - cpu_before);
    let (seconds, metrics) = (elapsed.as_secs_f64(), store.metrics());
    store.close()?;
    let mb = (index * load.entry_bytes as u64) as f64 / 1e6;
    println!(
        "{:34} {:>12.0} {:>8.1} {:>12.2} {:>8} {:>9} ({:>6}) {:>10.1}",
        load.name,
        index as f64 / seconds,
        mb / seconds,
        cpu.as_secs_f64() * 1e6 / index as f64,
        metrics.syncs,
        metrics.sync_us_average(),
        metrics.sync_us_max,
        raw_mb,
    );
    Ok(())
}

async fn wait(
    flushed: openraft::type_config::alias::OneshotReceiverOf<TypeConfig, Result<(), std::io::Error>>,
) -> Result<(), Box<dyn Error>> {
    Ok(flushed.await??)
}

/// The same bytes with the same syncs, one group after the other, in MB/s.
fn raw_file(directory: &Path, load: &Load) -> Result<f64, Box<dyn Error>> {
    let file = DiskFiles::open(directory)?.create("raw")?;
    let group = vec![b'x'; load.entry_bytes * load.group_entries as usize];
    let groups = load.groups.min(500);
    file.preallocate(group.len() as u64 * groups)?;
    file.sync()?;
    let started = Instant::now();
    for number in 0..groups {
        file.write_at(number * group.len() as u64, &group)?;
        file.sync()?;
    }
    let seconds = started.elapsed().as_secs_f64();
    std::fs::remove_dir_all(directory)?;
    Ok((group.len() as u64 * groups) as f64 / 1e6 / seconds)
}

/// The processor time this process has used.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let usage = std::fs::read_to_string("/proc/self/stat")?;
    // The name in brackets may hold spaces; user and system time are the 14th and 15th word of all.
    let words = usage.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = words.skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    // Linux reports these in hundredths of a second, whatever the kernel's own tick.
    Ok(Duration::from_millis(ticks * 10))
}

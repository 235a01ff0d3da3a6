//! What the RESP front door counts. `INFO` reads it, and the binary exports it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::histogram::Histogram;
use super::table;

/// How many different error prefixes are counted.
const PREFIXES_MAX: usize = 64;

/// Counters of one command.
#[derive(Debug, Default)]
pub struct CommandCounters {
    /// How often it was carried out.
    pub calls: AtomicU64,
    /// The time it took, in microseconds: its share of its pipeline's time.
    pub usec: AtomicU64,
    /// How often it was refused before it was carried out (arity, authentication, …).
    pub rejected: AtomicU64,
    /// How often it was answered with an error.
    pub failed: AtomicU64,
}

/// Counters of the RESP front door; all of them only grow, but for [`Metrics::connections`].
pub struct Metrics {
    /// Connections open now.
    pub connections: AtomicU64,
    /// Connections accepted.
    pub connections_received: AtomicU64,
    /// Connections refused: too many, or protected mode.
    pub connections_rejected: AtomicU64,
    /// Connections closed because this node lost leadership.
    pub connections_demoted: AtomicU64,
    /// Connections cut off: slow readers and endless requests.
    pub connections_cut: AtomicU64,
    /// Connections that sent what is not RESP.
    pub protocol_errors: AtomicU64,
    /// Commands carried out.
    pub commands_processed: AtomicU64,
    /// Batches handed to the database.
    pub batches: AtomicU64,
    /// Bytes read.
    pub bytes_in: AtomicU64,
    /// Bytes written.
    pub bytes_out: AtomicU64,
    /// Reads from clients' sockets.
    pub reads: AtomicU64,
    /// Writes to clients' sockets.
    pub writes: AtomicU64,
    /// What the database had counted of keys that end when CONFIG RESETSTAT was said.
    pub(crate) expired_keys_before: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    commands: Vec<CommandCounters>,
    latencies: Vec<Histogram>,
}

impl fmt::Debug for Metrics {
    /// Settings hold the counters and are printed; hundreds of numbers would drown them.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            connections: AtomicU64::new(0),
            connections_received: AtomicU64::new(0),
            connections_rejected: AtomicU64::new(0),
            connections_demoted: AtomicU64::new(0),
            connections_cut: AtomicU64::new(0),
            protocol_errors: AtomicU64::new(0),
            commands_processed: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            expired_keys_before: AtomicU64::new(0),
            errors: Mutex::new(BTreeMap::new()),
            commands: table::counted().map(|_| CommandCounters::default()).collect(),
            latencies: table::counted().map(|_| Histogram::default()).collect(),
        }
    }
}

impl Metrics {
    /// Every command with its counters, by name.
    pub fn commands(&self) -> impl Iterator<Item = (&'static str, &CommandCounters)> {
        table::counted().map(|entry| entry.facts().name).zip(&self.commands)
    }

    /// Every command with how long its batches took.
    pub(crate) fn latencies(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        table::counted().map(|entry| entry.facts().name).zip(&self.latencies)
    }

    /// How many errors were answered, by their prefix (`ERR`, `WRONGTYPE`, …).
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what `CONFIG RESETSTAT` forgets; the database has counted so many keys that ended.
    pub(crate) fn reset(&self, expired_keys: u64) {
        self.expired_keys_before.store(expired_keys, Ordering::Relaxed);
        for counter in [
            &self.connections_received,
            &self.connections_rejected,
            &self.connections_demoted,
            &self.connections_cut,
            &self.protocol_errors,
            &self.commands_processed,
            &self.batches,
            &self.bytes_in,
            &self.bytes_out,
            &self.reads,
            &self.writes,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        for command in &self.commands {
            for counter in [&command.calls, &command.usec, &command.rejected, &command.failed] {
                counter.store(0, Ordering::Relaxed);
            }
        }
        self.latencies.iter().for_each(Histogram::reset);
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Counts what was carried out in a batch that took so long, each call with this share of the time, and leaves the tally empty.
    pub(crate) fn count_calls(&self, tally: &mut Tally, share: Duration, took: Duration) {
        let mut all = 0;
        for Tallied { command, calls, failed } in tally.0.drain(..) {
            all += calls;
            if let Some(latencies) = self.latencies.get(command) {
                latencies.add(took, calls);
            }
            if let Some(command) = self.commands.get(command) {
                command.calls.fetch_add(calls, Ordering::Relaxed);
                command.usec.fetch_add(calls * share.as_micros() as u64, Ordering::Relaxed);
                if failed > 0 {
                    command.failed.fetch_add(failed, Ordering::Relaxed);
                }
            }
        }
        self.commands_processed.fetch_add(all, Ordering::Relaxed);
    }

    pub(crate) fn count_rejected(&self, command: usize) {
        if let Some(command) = self.commands.get(command) {
            command.rejected.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_error(&self, line: &str) {
        let prefix = line.split(' ').next().unwrap_or_default();
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = errors.get_mut(prefix) {
            *count += 1;
        } else if errors.len() < PREFIXES_MAX {
            errors.insert(prefix.to_owned(), 1);
        }
    }
}

/// The calls of one batch by command, so that what all connections share is touched once a batch.
#[derive(Debug, Default)]
pub(crate) struct Tally(Vec<Tallied>);

#[derive(Debug)]
struct Tallied {
    command: usize,
    calls: u64,
    failed: u64,
}

impl Tally {
    /// Adds a call of the command at this place in the table.
    pub fn add(&mut self, command: usize, failed: bool) {
        // Batches have few different commands.
        let failed = u64::from(failed);
        match self.0.iter_mut().find(|tallied| tallied.command == command) {
            Some(tallied) => {
                tallied.calls += 1;
                tallied.failed += failed;
            }
            None => self.0.push(Tallied { command, calls: 1, failed }),
        }
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}
/// Counts a number of open connections down again when it is dropped.
pub(crate) struct Open<'a>(pub &'a AtomicU64);

impl<'a> Open<'a> {
    pub fn new(count: &'a AtomicU64) -> Open<'a> {
        count.fetch_add(1, Ordering::Relaxed);
        Open(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

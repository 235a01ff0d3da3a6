//! What one side does, and how long it takes.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use talon::{Batch, Kv, Talon};
use talon_core::{Call, Database, Request};

use super::Options;
use crate::Outcome;
use crate::machine::{Memory, written_bytes};

const GETS_MAX: u64 = 1_000_000;
const MGET_KEYS: u64 = 100;
const MGETS: u64 = 1_000;
const INCRS_MAX: u64 = 500_000;
/// Writes that are synced one by one.
const SINGLES_MAX: u64 = 2_000;
const THREADS: u64 = 8;

const SET_NEW: &str = "batch SET, new keys";
const SET_DRAINED: &str = "batch SET, new keys, until all is in files";
const SET_AGAIN: &str = "batch SET, existing keys";
const GET: &str = "GET";
const INCR: &str = "INCR, in pipelines";

/// From so many keys on, a memory layer cannot hold them: other bars hold.
pub const SUSTAINED_KEYS: u64 = 5_000_000;

/// What the ratio of a row is to be at least, and shall be.
pub fn bars(name: &str, keys: u64, raw_per_s: f64) -> (Option<f64>, Option<f64>) {
    if keys >= SUSTAINED_KEYS {
        return match name {
            SET_NEW | SET_DRAINED | SET_AGAIN | GET | INCR => (Some(1.5), Some(2.0)),
            _ => (None, None),
        };
    }
    // What the specification promises, in operations a second.
    let (least, promised_per_s) = match name {
        SET_NEW => (3.0, 744e3),
        GET => (3.0, 900e3),
        INCR => (5.0, 800e3),
        _ => return (None, None),
    };
    (Some(least), Some(promised_per_s / raw_per_s))
}

/// SplitMix64: the same numbers on both sides.
pub fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Which of all keys is asked for at this place.
fn asked(place: u64, keys: u64) -> u64 {
    random(place ^ 0xABCD) % keys
}

/// The key of a number: random, of 16 bytes.
pub fn key(number: u64) -> [u8; 16] {
    let mut key = *b"key:............";
    let random = random(number);
    for (place, digit) in key[4..].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(random >> (4 * place)) as usize & 15];
    }
    key
}

/// A counter's key.
pub fn counter(number: u64) -> Vec<u8> {
    format!("counter:{number:06}").into_bytes()
}

/// The value of a number.
pub fn value(number: u64, bytes: usize) -> Vec<u8> {
    let mut value = vec![0; bytes];
    for (place, part) in value.chunks_mut(8).enumerate() {
        let random = random(number ^ ((place as u64) << 40)).to_le_bytes();
        part.copy_from_slice(&random[..part.len()]);
    }
    value
}

/// One kind of work.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cell {
    /// What was done.
    pub name: String,
    /// How often.
    pub operations: u64,
    /// For how long.
    pub seconds: f64,
}

impl Cell {
    /// Operations a second.
    pub fn per_s(&self) -> f64 {
        self.operations as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }
}

/// What one side's process reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// In the same order on both sides.
    pub cells: Vec<Cell>,
    /// After the first batch SETs.
    pub memory_after_sets: Memory,
    /// At the end, before closing.
    pub memory: Memory,
    /// By the process, from its start to after closing.
    pub written_bytes: u64,
    /// How long closing took.
    pub close_s: f64,
}

impl Report {
    /// How long all of it took.
    pub fn seconds(&self) -> f64 {
        let apart = self.cells.iter().filter(|cell| cell.name != SET_DRAINED);
        apart.map(|cell| cell.seconds).sum::<f64>() + self.close_s
    }
}

/// A database that does the work.
pub trait Store: Sync {
    /// Writes these keys in one batch, synced.
    fn set_batch(&self, numbers: std::ops::Range<u64>, value_bytes: usize) -> Outcome<()>;
    /// Reads one key's value.
    fn get(&self, number: u64) -> Outcome<Option<Vec<u8>>>;
    /// Reads these at once; how many were found.
    fn mget(&self, keys: &[&[u8]]) -> Outcome<usize>;
    /// Adds one to each of these counters, some of which are the same, in one batch, synced.
    fn increment(&self, counters: &[Vec<u8>]) -> Outcome<()>;
    /// The counter's value.
    fn counter(&self, key: &[u8]) -> Outcome<i64>;
    /// Brings what is in memory to the files.
    fn flush(&self) -> Outcome<()>;
    /// Writes one key, synced.
    fn set(&self, number: u64, value_bytes: usize) -> Outcome<()>;
}

/// Does everything once.
///
/// # Errors
/// If the database fails, or does not hold what was written.
pub fn measure(store: impl Store, options: &Options) -> Outcome<Report> {
    let Options { keys, batch, counters, .. } = *options;
    let value_bytes = options.value_bytes as usize;
    let mut cells = Vec::new();
    let set_all = || {
        (0..keys)
            .step_by(batch as usize)
            .try_for_each(|first| store.set_batch(first..keys.min(first + batch), value_bytes))
    };
    cells.push(timed(SET_NEW, keys, set_all)?);
    if keys >= SUSTAINED_KEYS {
        let drain = timed("", keys, || store.flush())?;
        let seconds = drain.seconds + cells.iter().map(|cell| cell.seconds).sum::<f64>();
        cells.push(Cell { name: SET_DRAINED.into(), seconds, ..drain });
    }
    let memory_after_sets = Memory::of(std::process::id())?;
    cells.push(timed(SET_AGAIN, keys, set_all)?);
    let gets = keys.min(GETS_MAX);
    cells.push(timed(GET, gets, || {
        (0..gets).map(|place| asked(place, keys)).try_for_each(|number| match store.get(number)? {
            Some(found) if found == value(number, value_bytes) => Ok(()),
            other => {
                Err(format!("key {number} holds {} bytes of something else", other.unwrap_or_default().len()).into())
            }
        })
    })?);
    cells.push(timed("MGET of 100 keys (keys)", MGETS * MGET_KEYS, || {
        for round in 0..MGETS {
            let wanted: Vec<_> = (0..MGET_KEYS).map(|place| key(asked(round * MGET_KEYS + place, keys))).collect();
            let slices: Vec<&[u8]> = wanted.iter().map(|key| &key[..]).collect();
            if store.mget(&slices)? != wanted.len() {
                return Err("MGET misses keys".into());
            }
        }
        Ok(())
    })?);
    let incrs = keys.min(INCRS_MAX);
    let counted = |first: u64| -> Vec<Vec<u8>> {
        (first..incrs.min(first + batch)).map(|place| counter(random(place) % counters)).collect()
    };
    cells.push(timed(INCR, incrs, || {
        (0..incrs).step_by(batch as usize).try_for_each(|first| store.increment(&counted(first)))
    })?);
    let one = counter(random(0) % counters);
    let wanted = (0..incrs).filter(|&place| random(place) % counters == random(0) % counters).count() as i64;
    if store.counter(&one)? != wanted {
        return Err(format!("a counter is {} and not {wanted}", store.counter(&one)?).into());
    }
    let singles = SINGLES_MAX.min(keys / THREADS);
    cells.push(timed("SET, each synced, 1 thread", singles, || {
        (0..singles).try_for_each(|number| store.set(number, value_bytes))
    })?);
    cells.push(timed("SET, each synced, 8 threads", singles * THREADS, || {
        std::thread::scope(|scope| {
            let store = &store;
            let work =
                |thread| move || (0..singles).try_for_each(|number| store.set(number * THREADS + thread, value_bytes));
            let workers: Vec<_> = (0..THREADS).map(|thread| scope.spawn(work(thread))).collect();
            workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
        })
    })?);
    let memory = Memory::of(std::process::id())?;
    let ((), close) = time(|| {
        drop(store);
        Ok(())
    })?;
    let written_bytes = written_bytes(std::process::id())?;
    Ok(Report { cells, memory_after_sets, memory, written_bytes, close_s: close.as_secs_f64() })
}

fn timed(name: &str, operations: u64, work: impl FnOnce() -> Outcome<()>) -> Outcome<Cell> {
    let ((), took) = time(work)?;
    Ok(Cell { name: name.to_owned(), operations, seconds: took.as_secs_f64() })
}

/// How long work takes.
pub fn time<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Duration)> {
    let began = Instant::now();
    let result = work()?;
    Ok((result, began.elapsed()))
}

/// Talon's side.
pub struct Embedded {
    db: Talon,
    kv: Kv,
    runtime: tokio::runtime::Runtime,
}

impl Embedded {
    /// Opens a folder with the default settings.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(folder: &Path) -> Outcome<Embedded> {
        let db = Talon::open(folder)?;
        let kv = db.kv()?;
        Ok(Embedded { db, kv, runtime: tokio::runtime::Builder::new_current_thread().build()? })
    }
}

impl Store for Embedded {
    fn set_batch(&self, numbers: std::ops::Range<u64>, value_bytes: usize) -> Outcome<()> {
        let mut batch = Batch::new();
        for number in numbers {
            self.kv.set_batch(&mut batch, &key(number), &value(number, value_bytes), None)?;
        }
        Ok(self.kv.commit(batch)?)
    }

    fn get(&self, number: u64) -> Outcome<Option<Vec<u8>>> {
        Ok(self.kv.get(&key(number))?)
    }

    fn mget(&self, keys: &[&[u8]]) -> Outcome<usize> {
        Ok(self.kv.mget(keys)?.iter().flatten().count())
    }

    fn increment(&self, counters: &[Vec<u8>]) -> Outcome<()> {
        // A pipeline of INCRs, as a connection would hand it over, one sync for each.
        let incr = |key: &Vec<u8>| {
            Call::One(Request::new(&talon_core::commands::strings::INCR, vec![Bytes::copy_from_slice(key)]))
        };
        let calls = counters.iter().map(incr).collect();
        for outcome in self.runtime.block_on(self.db.execute(calls, talon_core::Consistency::Default)) {
            outcome.map_err(|denied| format!("{denied:?}"))?;
        }
        Ok(())
    }

    fn counter(&self, key: &[u8]) -> Outcome<i64> {
        let value = self.kv.get(key)?.unwrap_or_default();
        Ok(std::str::from_utf8(&value)?.parse()?)
    }

    fn flush(&self) -> Outcome<()> {
        self.db.machine().flush().map_err(|fault| format!("{fault:?}"))?;
        Ok(())
    }

    fn set(&self, number: u64, value_bytes: usize) -> Outcome<()> {
        Ok(self.kv.set(&key(number), &value(number, value_bytes), None)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_those_of_their_numbers() {
        assert_eq!(key(1), key(1));
        assert_ne!(key(1), key(2));
        assert_eq!((value(1, 13).len(), value(7, 64)), (13, value(7, 64)));
        assert_ne!(value(1, 64), value(2, 64));
    }

    #[test]
    fn bars_are_lower_when_it_is_sustained() {
        assert_eq!(bars(SET_NEW, SUSTAINED_KEYS, 1.0), (Some(1.5), Some(2.0)));
        assert_eq!((bars(GET, 1_000, 300e3), bars("MGET", 1_000, 1.0)), ((Some(3.0), Some(3.0)), (None, None)));
    }
}

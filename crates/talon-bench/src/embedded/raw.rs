//! Raw RocksDB calls for the same bytes: no clock, no expiry index, no overlay. RocksDB's default options, with a block cache of the size that
//! Talon's default settings have.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

use rocksdb::{BlockBasedOptions, Cache, DB, Options, WriteBatch, WriteOptions};

use super::side::{Store, key, time, value};
use crate::Outcome;

/// What Talon stores before a value: when it ends.
const EXPIRY: [u8; 8] = [0; 8];

/// An open RocksDB.
pub struct Raw {
    db: DB,
    synced: WriteOptions,
}

impl Raw {
    /// Opens a folder.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(folder: &Path) -> Outcome<Raw> {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(talon::Settings::default().cache_bytes));
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Raw { db: DB::open(&options, folder)?, synced })
    }

    fn set_batch_after_a_look(&self, numbers: Range<u64>, value_bytes: usize) -> Outcome<u64> {
        let mut new = 0;
        for number in numbers.clone() {
            new += u64::from(self.db.get_pinned(key(number))?.is_none());
        }
        self.set_batch(numbers, value_bytes)?;
        Ok(new)
    }
}

fn row(value: &[u8]) -> Vec<u8> {
    [&EXPIRY, value].concat()
}

fn of_row(row: &[u8]) -> Outcome<&[u8]> {
    row.get(EXPIRY.len()..).ok_or_else(|| "a row without an expiry".into())
}

impl Store for Raw {
    fn set_batch(&self, numbers: Range<u64>, value_bytes: usize) -> Outcome<()> {
        let mut batch = WriteBatch::default();
        for number in numbers {
            batch.put(key(number), row(&value(number, value_bytes)));
        }
        Ok(self.db.write_opt(batch, &self.synced)?)
    }

    fn get(&self, number: u64) -> Outcome<Option<Vec<u8>>> {
        self.db.get_pinned(key(number))?.map(|row| Ok(of_row(&row)?.to_vec())).transpose()
    }

    fn mget(&self, keys: &[&[u8]]) -> Outcome<usize> {
        let mut found = 0;
        for row in self.db.multi_get(keys) {
            found += usize::from(row?.is_some());
        }
        Ok(found)
    }

    fn increment(&self, counters: &[Vec<u8>]) -> Outcome<()> {
        let mut batch = WriteBatch::default();
        // What raw calls need too, to be right within a batch: the batch's own sums.
        let mut sums = HashMap::new();
        for key in counters {
            let sum = match sums.get(key) {
                Some(sum) => *sum,
                None => self.counter(key)?,
            } + 1;
            batch.put(key, row(sum.to_string().as_bytes()));
            sums.insert(key, sum);
        }
        Ok(self.db.write_opt(batch, &self.synced)?)
    }

    fn counter(&self, key: &[u8]) -> Outcome<i64> {
        match self.db.get_pinned(key)? {
            Some(row) => Ok(std::str::from_utf8(of_row(&row)?)?.parse()?),
            None => Ok(0),
        }
    }

    fn flush(&self) -> Outcome<()> {
        Ok(self.db.flush()?)
    }

    fn set(&self, number: u64, value_bytes: usize) -> Outcome<()> {
        Ok(self.db.put_opt(key(number), row(&value(number, value_bytes)), &self.synced)?)
    }
}

/// What a count that is kept would cost, for each write has to know whether its key was there: by which share batch SET becomes slower.
///
/// # Errors
/// If RocksDB fails.
pub fn kept_count(options: &super::Options) -> Outcome<BTreeMap<&'static str, f64>> {
    let folder = tempfile::tempdir()?;
    let (plain, counted) = (Raw::open(&folder.path().join("plain"))?, Raw::open(&folder.path().join("counted"))?);
    let (keys, batch, bytes) = (options.keys, options.batch, options.value_bytes as usize);
    let batches = || (0..keys).step_by(batch as usize).map(move |first| first..keys.min(first + batch));
    let mut slower = BTreeMap::new();
    for what in ["new keys", "existing keys"] {
        let (_, without) = time(|| batches().try_for_each(|numbers| plain.set_batch(numbers, bytes)))?;
        let looked = || batches().try_fold(0, |new, numbers| Ok(new + counted.set_batch_after_a_look(numbers, bytes)?));
        let (new, with): (u64, _) = time(looked)?;
        if new != if what == "new keys" { keys } else { 0 } {
            return Err(format!("{new} of {keys} {what} were new").into());
        }
        slower.insert(what, 1.0 - without.as_secs_f64() / with.as_secs_f64());
    }
    Ok(slower)
}

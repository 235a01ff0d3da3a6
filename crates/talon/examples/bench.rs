//! First figures of the embedded database, beside raw RocksDB calls for the same bytes in the same run:
//! `cargo run --release -p talon --example bench [keys]` (1,000,000 unless said otherwise).
//!
//! Both sides write the same rows in batches of the same size, with a log and one sync a batch; and read the same keys in the same order. "raw" is the
//! `rocksdb` crate with the options Talon uses, no expiry index, no clock, no overlay.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, DataBlockIndexType, Options, WriteBatch, WriteOptions};
use talon::{Batch, Settings, Talon};

const VALUE_BYTES: usize = 64;
const BATCH_KEYS: usize = 1_000;
const COUNTERS: u64 = 100_000;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// SplitMix64: the same keys on both sides.
fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn key(number: u64) -> [u8; 16] {
    let mut key = *b"key:............";
    let digits = format!("{:012x}", random(number) & 0xFFFF_FFFF_FFFF);
    key[4..].copy_from_slice(digits.as_bytes());
    key
}

fn value(number: u64) -> [u8; VALUE_BYTES] {
    let mut value = [0; VALUE_BYTES];
    for (place, part) in value.chunks_exact_mut(8).enumerate() {
        part.copy_from_slice(&random(number ^ ((place as u64) << 40)).to_le_bytes());
    }
    value
}

/// What Talon stores: the expiry, then the value.
fn row(value: &[u8]) -> Vec<u8> {
    [&[0; 8], value].concat()
}

fn counter_key(number: u64) -> Vec<u8> {
    format!("counter:{number:06}").into_bytes()
}

fn raw(folder: &Path) -> Outcome<DB> {
    let settings = Settings::default();
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(settings.cache_bytes));
    table.set_bloom_filter(10.0, false);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(settings.memtable_bytes);
    options.set_max_write_buffer_number(3);
    options.set_max_background_jobs(i32::from(settings.background_jobs));
    options.set_atomic_flush(true);
    Ok(DB::open(&options, folder)?)
}

fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

struct Table {
    rows: Vec<(String, f64, f64)>,
}

impl Table {
    fn add(&mut self, name: &str, operations: u64, talon: Duration, raw: Duration) {
        let per_second = |took: Duration| operations as f64 / took.as_secs_f64();
        self.rows.push((name.to_owned(), per_second(talon), per_second(raw)));
        eprintln!("{name}: done");
    }

    fn print(&self) {
        println!("| K operations/s | Talon | raw RocksDB | ratio |\n|---|---:|---:|---:|");
        for (name, talon, raw) in &self.rows {
            println!("| {name} | {:.0} | {:.0} | {:.2} |", talon / 1e3, raw / 1e3, talon / raw);
        }
    }
}

fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Duration)> {
    let began = Instant::now();
    let result = work()?;
    Ok((result, began.elapsed()))
}

fn set_all(db: &Talon, keys: u64) -> Outcome<()> {
    let kv = db.kv()?;
    for first in (0..keys).step_by(BATCH_KEYS) {
        let mut batch = Batch::new();
        for number in first..keys.min(first + BATCH_KEYS as u64) {
            kv.set_batch(&mut batch, &key(number), &value(number), None)?;
        }
        kv.commit(batch)?;
    }
    Ok(())
}

fn raw_set_all(db: &DB, keys: u64, look_first: bool) -> Outcome<u64> {
    let mut new = 0;
    for first in (0..keys).step_by(BATCH_KEYS) {
        let mut batch = WriteBatch::default();
        for number in first..keys.min(first + BATCH_KEYS as u64) {
            let key = key(number);
            if look_first {
                new += u64::from(db.get_pinned(key)?.is_none());
            }
            batch.put(key, row(&value(number)));
        }
        db.write_opt(batch, &synced())?;
    }
    Ok(new)
}

fn main() -> Outcome<()> {
    let keys: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |keys| keys.parse())?;
    let folder = tempfile::tempdir()?;
    let db = Talon::open(folder.path().join("talon"))?;
    let raw_db = raw(&folder.path().join("raw"))?;
    let kv = db.kv()?;
    let mut table = Table { rows: Vec::new() };
    println!(
        "{keys} random keys of 16 bytes, {VALUE_BYTES}-byte values, batches of {BATCH_KEYS}, each synced; one thread\n"
    );

    let ((), talon) = timed(|| set_all(&db, keys))?;
    let (_, raw) = timed(|| raw_set_all(&raw_db, keys, false))?;
    table.add("batch SET, new keys", keys, talon, raw);

    let ((), talon) = timed(|| set_all(&db, keys))?;
    let (_, raw) = timed(|| raw_set_all(&raw_db, keys, false))?;
    table.add("batch SET, existing keys", keys, talon, raw);

    let order = |place: u64| random(place ^ 0xABCD) % keys;
    let reads = keys.min(500_000);
    let ((), talon) = timed(|| {
        for place in 0..reads {
            let number = order(place);
            assert_eq!(kv.get(&key(number))?.as_deref(), Some(&value(number)[..]));
        }
        Ok(())
    })?;
    let ((), raw) = timed(|| {
        for place in 0..reads {
            let number = order(place);
            let found = raw_db.get_pinned(key(number))?.map(|row| row[8..].to_vec());
            assert_eq!(found.as_deref(), Some(&value(number)[..]));
        }
        Ok(())
    })?;
    table.add("GET", reads, talon, raw);

    let hundred: Vec<[u8; 16]> = (0..100).map(|place| key(order(place))).collect();
    let slices: Vec<&[u8]> = hundred.iter().map(|key| &key[..]).collect();
    let ((), talon) = timed(|| (0..1_000).try_for_each(|_| Ok(kv.mget(&slices).map(drop)?)))?;
    let ((), raw) = timed(|| {
        for _ in 0..1_000 {
            for found in raw_db.multi_get(&slices) {
                found?;
            }
        }
        Ok(())
    })?;
    table.add("MGET of 100 keys (keys/s)", 100_000, talon, raw);

    // A pipeline of INCRs, as a connection or a batch of callers would hand it over, one sync for each.
    let counts = 500_000.min(keys);
    let ((), talon) = timed(|| {
        for first in (0..counts).step_by(BATCH_KEYS) {
            let requests = (first..first + BATCH_KEYS as u64).map(|place| {
                let args = vec![counter_key(random(place) % COUNTERS).into()];
                talon_core::Request::new(&talon_core::commands::strings::INCR, args)
            });
            let calls: Vec<talon_core::Call> = requests.map(talon_core::Call::One).collect();
            for outcome in block_on(talon_core::Database::execute(&db, calls, Default::default())) {
                outcome.map_err(|denied| format!("{denied:?}"))?;
            }
        }
        Ok(())
    })?;
    let ((), raw) = timed(|| {
        for first in (0..counts).step_by(BATCH_KEYS) {
            let mut batch = WriteBatch::default();
            // What raw calls need too, to be right within a batch: the batch's own sums.
            let mut sums = std::collections::HashMap::new();
            for place in first..first + BATCH_KEYS as u64 {
                let key = counter_key(random(place) % COUNTERS);
                let sum = match sums.get(&key) {
                    Some(sum) => *sum,
                    None => match raw_db.get_pinned(&key)? {
                        Some(row) => std::str::from_utf8(&row[8..])?.parse::<i64>()?,
                        None => 0,
                    },
                } + 1;
                batch.put(&key, row(sum.to_string().as_bytes()));
                sums.insert(key, sum);
            }
            raw_db.write_opt(batch, &synced())?;
        }
        Ok(())
    })?;
    table.add("INCR over 100 K keys, pipelines of 1,000", counts, talon, raw);

    let singles = 2_000;
    let ((), talon) = timed(|| (0..singles).try_for_each(|number| Ok(kv.set(&key(number), &value(number), None)?)))?;
    let ((), raw) = timed(|| {
        (0..singles).try_for_each(|number| Ok(raw_db.put_opt(key(number), row(&value(number)), &synced())?))
    })?;
    table.add("SET, each synced, 1 thread", singles, talon, raw);
    let threads = 8;
    let ((), talon) = timed(|| {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|thread| {
                    let kv = kv.clone();
                    scope.spawn(move || {
                        (0..singles).try_for_each(|number| {
                            kv.set(&key(number * threads + thread), &value(number), None)
                                .map_err(|error| error.to_string())
                        })
                    })
                })
                .collect();
            workers.into_iter().try_for_each(|worker| Ok(worker.join().map_err(|_| "a worker panicked")??))
        })
    })?;
    let ((), raw) = timed(|| {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|thread| {
                    let raw_db = &raw_db;
                    scope.spawn(move || {
                        (0..singles).try_for_each(|number| {
                            raw_db.put_opt(key(number * threads + thread), row(&value(number)), &synced())
                        })
                    })
                })
                .collect();
            workers.into_iter().try_for_each(|worker| Ok(worker.join().map_err(|_| "a worker panicked")??))
        })
    })?;
    table.add("SET, each synced, 8 threads", singles * threads, talon, raw);
    table.print();

    // What a count that is kept would cost: each write has to know whether its key was there.
    let counted = raw_db_fresh(folder.path(), "counted")?;
    let plain = raw_db_fresh(folder.path(), "plain")?;
    println!("\nAn exact key count, kept: a look before each write (raw calls, K operations/s)\n");
    for what in ["new keys", "existing keys"] {
        let (_, without) = timed(|| raw_set_all(&plain, keys, false))?;
        let (_, with) = timed(|| raw_set_all(&counted, keys, true))?;
        let rate = |took: Duration| keys as f64 / took.as_secs_f64() / 1e3;
        let slower = 100.0 * (1.0 - rate(with) / rate(without));
        println!("{what}: {:.0} without, {:.0} with: {slower:.0} % slower", rate(without), rate(with));
    }
    let (count, took) = timed(|| Ok(kv.key_count()?))?;
    println!("key_count by a scan: {count} keys in {took:.2?}");
    Ok(())
}

fn raw_db_fresh(folder: &Path, name: &str) -> Outcome<DB> {
    raw(&folder.join(name))
}

/// Waits for a future that another thread completes.
fn block_on<F: Future>(future: F) -> F::Output {
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};

    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

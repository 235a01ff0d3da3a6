//! The real engine: RocksDB.
//!
//! Decisions that correctness hangs on:
//! - **`atomic_flush`**: with RocksDB's own log off, each column family would reach the disk at a point of its own, and after a crash
//!   data and applied position would not fit together (an INCR would be replayed twice). With it, all families flush at
//!   one point. It excludes pipelined writes.
//! - **One column family a space**, so that the data is not diluted by index rows and a seek in the index never walks over data.
//! - RocksDB never forks to save its state, so no write pauses for a copy of the process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, DB, DBCompressionType, DBRawIterator,
    DataBlockIndexType, ErrorKind, FlushOptions, LogLevel, Options, Range, ReadOptions, SnapshotWithThreadMode,
    WriteBatch, WriteOptions,
};

use crate::{Batch, Durability, Engine, Operation, Rows, Space, StorageError, View};

/// Files RocksDB keeps open at most, below the usual limit of 1024 a process.
const OPEN_FILES_MAX: i32 = 512;
/// RocksDB's own diagnostic log: size and number of files.
const LOG_FILE_BYTES_MAX: usize = 4 << 20;
const LOG_FILES_MAX: usize = 2;
/// Bits a key in the bloom filters: about 1 % of the look-ups for missing keys touch a data block.
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// The parts of indexes and filters.
const METADATA_BLOCK_BYTES: usize = 4 << 10;
/// RocksDB's own number of levels.
const LEVELS: usize = 7;

/// How much memory and how many threads the engine may take.
///
/// ```
/// let settings = talon_storage::RocksSettings { cache_bytes: 256 << 20, ..Default::default() };
/// assert_eq!(settings.background_jobs, 2);
/// ```
#[derive(Clone, Debug)]
pub struct RocksSettings {
    /// Blocks read from disk, their indexes and filters are kept in so much memory.
    pub cache_bytes: usize,
    /// So much of what was written last is kept in memory before it goes into a file. At most three times as much is in use
    /// while the disk is slower than the writers.
    pub memtable_bytes: usize,
    /// Flushes and compactions that may run at once.
    pub background_jobs: i32,
}

impl Default for RocksSettings {
    fn default() -> RocksSettings {
        RocksSettings { cache_bytes: 64 << 20, memtable_bytes: 64 << 20, background_jobs: 2 }
    }
}

/// An [`Engine`] on RocksDB. It is closed when it and all its views are dropped; until then its folder is locked.
///
/// ```
/// use talon_storage::{Batch, Durability, Engine, RocksEngine, RocksSettings, Space};
///
/// let folder = tempfile::tempdir()?;
/// let engine = RocksEngine::open(folder.path(), &RocksSettings::default())?;
/// let mut batch = Batch::new();
/// batch.put(Space::Data, b"key", &[b"value"]);
/// engine.write(&batch, Durability::Synced)?;
/// assert_eq!(engine.view()?.get(Space::Data, b"key")?.as_deref(), Some(&b"value"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RocksEngine {
    open: Arc<Open>,
}

/// An open database; each view holds it open.
struct Open {
    db: DB,
    folder: PathBuf,
}

type Snapshot<'a> = SnapshotWithThreadMode<'a, DB>;

self_cell::self_cell!(
    /// A snapshot together with the database it borrows from.
    struct Pinned {
        owner: Arc<Open>,
        #[covariant]
        dependent: Snapshot,
    }
);

struct RocksView {
    pinned: Pinned,
}

impl RocksEngine {
    /// Opens the folder, or creates it.
    ///
    /// # Errors
    /// [`StorageError::AlreadyOpen`] if it is open already, here or in another process.
    pub fn open(folder: &Path, settings: &RocksSettings) -> Result<RocksEngine, StorageError> {
        // RocksDB creates only the last part of the path by itself.
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, "create the folder", error.to_string()))?;
        check_current(folder)?;
        let mut options = database_options(settings);
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let cache = Cache::new_lru_cache(settings.cache_bytes);
        let families = Space::ALL.map(|space| (space.name(), family_options(settings, &cache)));
        let db = DB::open_cf_with_opts(&options, folder, families)
            .map_err(|error| translate(folder, "open the database in", error))?;
        Ok(RocksEngine { open: Arc::new(Open { db, folder: folder.to_path_buf() }) })
    }

    /// Opens a folder that nobody writes to (a checkpoint), without changing or locking it. Every write fails.
    ///
    /// # Errors
    /// [`StorageError::Missing`] if there is no database.
    pub fn open_read_only(folder: &Path) -> Result<RocksEngine, StorageError> {
        let settings = RocksSettings { cache_bytes: 8 << 20, ..RocksSettings::default() };
        if !folder.join("CURRENT").is_file() {
            return Err(StorageError::Missing {
                folder: folder.to_path_buf(),
                reason: "it has no file CURRENT".into(),
            });
        }
        let mut options = database_options(&settings);
        // A checkpoint's files are counted and sent: leave no diagnostic log among them.
        options.set_info_logger(rocksdb::InfoLogger::new_callback_logger(LogLevel::Fatal, |_, _| {}));
        let cache = Cache::new_lru_cache(settings.cache_bytes);
        let families = Space::ALL.map(|space| (space.name(), family_options(&settings, &cache)));
        let db = DB::open_cf_with_opts_for_read_only(&options, folder, families, false)
            .map_err(|error| translate(folder, "open the database in", error))?;
        Ok(RocksEngine { open: Arc::new(Open { db, folder: folder.to_path_buf() }) })
    }

    /// The folder it is in.
    pub fn folder(&self) -> &Path {
        &self.open.folder
    }
}

fn database_options(settings: &RocksSettings) -> Options {
    let mut options = Options::default();
    options.set_atomic_flush(true);
    options.set_enable_pipelined_write(false);
    options.set_max_background_jobs(settings.background_jobs.max(1));
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(LOG_FILES_MAX);
    options.set_max_log_file_size(LOG_FILE_BYTES_MAX);
    options.set_log_level(LogLevel::Warn);
    #[cfg(feature = "lossy-disk")]
    options.set_env(&crate::lossy::env());
    // Who asks does not wait for compactions: these wait for each other, and are then done in larger lumps. (Measured: 18 M SETs of
    // random keys took 11 % less time and 8 % less processor time in all; 48 M at full speed did not let files pile up.) All databases
    // of a process share these threads. Without it, compactions would only be less polite.
    #[cfg(not(feature = "lossy-disk"))]
    if let Ok(mut env) = rocksdb::Env::new() {
        env.lower_thread_pool_cpu_priority();
        options.set_env(&env);
    }
    options
}

fn family_options(settings: &RocksSettings, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    // Index and filter blocks count against the cache's budget, so memory stays bounded whatever the data size. In parts: the filter of a
    // file of small rows is megabytes, more than one shard of the cache holds, and was then read from the file at every look-up.
    table.set_cache_index_and_filter_blocks(true);
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(METADATA_BLOCK_BYTES);
    table.set_pin_top_level_index_and_filter(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    // What has just been written is written again soon: it is not worth the work.
    let compressed = DBCompressionType::Lz4;
    let levels = [DBCompressionType::None; 1].into_iter().chain([compressed; LEVELS - 1]);
    options.set_num_levels(LEVELS as i32);
    options.set_compression_per_level(&levels.collect::<Vec<_>>());
    options.set_write_buffer_size(settings.memtable_bytes);
    options.set_max_write_buffer_number(3);
    options
}

impl Open {
    fn family(&self, space: Space) -> Result<&ColumnFamily, StorageError> {
        self.db.cf_handle(space.name()).ok_or_else(|| StorageError::Damaged {
            folder: self.folder.clone(),
            reason: format!("it has no column family {}", space.name()),
        })
    }

    fn translate(&self, doing: &'static str) -> impl Fn(rocksdb::Error) -> StorageError {
        move |error| translate(&self.folder, doing, error)
    }
}

impl Engine for RocksEngine {
    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        let open = &*self.open;
        let mut rocks = WriteBatch::with_capacity_bytes(batch.size_bytes() + 16 * batch.len() + 16);
        let families = [open.family(Space::Data)?, open.family(Space::Expiry)?, open.family(Space::Meta)?];
        for (space, operation) in batch.operations() {
            let family = families[space as usize];
            match operation {
                Operation::Put { key, value } => rocks.put_cf(family, key, value),
                Operation::Delete { key } => rocks.delete_cf(family, key),
                Operation::DeleteRange { from, until } => rocks.delete_range_cf(family, from, until),
            }
        }
        let mut options = WriteOptions::default();
        match durability {
            Durability::Synced => options.set_sync(true),
            Durability::Logged => {}
            Durability::Unlogged => options.disable_wal(true),
        }
        open.db.write_opt(rocks, &options).map_err(open.translate("write to"))
    }

    fn view(&self) -> Result<Arc<dyn View>, StorageError> {
        let pinned = Pinned::new(self.open.clone(), |open| open.db.snapshot());
        Ok(Arc::new(RocksView { pinned }))
    }

    fn flush(&self) -> Result<(), StorageError> {
        let open = &*self.open;
        let families = [open.family(Space::Data)?, open.family(Space::Expiry)?, open.family(Space::Meta)?];
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let families = families.each_ref().map(|family| *family);
        open.db.flush_cfs_opt(&families.each_ref().map(|family| *family), &options).map_err(open.translate("flush"))
    }

    fn checkpoint(&self, folder: &Path) -> Result<(), StorageError> {
        // RocksDB flushes first (atomically over the families), for it is given no size of log to take along instead.
        let translate = self.open.translate("make a checkpoint of");
        let checkpoint = Checkpoint::new(&self.open.db).map_err(&translate)?;
        checkpoint.create_checkpoint(folder).map_err(&translate)
    }

    fn disk_bytes(&self, space: Space, from: &[u8], until: Option<&[u8]>) -> Result<u64, StorageError> {
        let family = self.open.family(space)?;
        // RocksDB wants an upper end; no key is longer than this one, or has as many 0xFF.
        let end = vec![0xFF; 65_537];
        let until = until.unwrap_or(&end);
        if until <= from {
            return Ok(0);
        }
        Ok(self.open.db.get_approximate_sizes_cf(family, &[Range::new(from, until)]).into_iter().sum())
    }

    fn disk_bytes_total(&self) -> Result<u64, StorageError> {
        let folder = &self.open.folder;
        let io = |error: std::io::Error| failed(folder, "measure", error.to_string());
        let mut bytes = 0;
        for entry in std::fs::read_dir(folder).map_err(io)? {
            match entry.and_then(|entry| entry.metadata()) {
                Ok(metadata) if metadata.is_file() => bytes += metadata.len(),
                Ok(_) => {}
                // Compactions remove files all the time.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(io(error)),
            }
        }
        Ok(bytes)
    }
}

impl RocksView {
    fn open(&self) -> &Open {
        self.pinned.borrow_owner()
    }

    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(self.pinned.borrow_dependent());
        options
    }
}

impl View for RocksView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let open = self.open();
        let family = open.family(space)?;
        let value = open.db.get_pinned_cf_opt(family, key, &self.options()).map_err(open.translate("read from"))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn get_many(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StorageError> {
        let open = self.open();
        let family = open.family(space)?;
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by_key(|place| keys[*place]);
        let sorted = order.iter().map(|place| keys[*place]);
        let found = open.db.batched_multi_get_cf_opt(family, sorted, true, &self.options());
        let mut values = vec![None; keys.len()];
        for (place, value) in order.into_iter().zip(found) {
            values[place] = value.map_err(open.translate("read from"))?.map(|value| Bytes::copy_from_slice(&value));
        }
        Ok(values)
    }

    fn scan(&self, space: Space, from: &[u8], until: Option<&[u8]>) -> Rows<'_> {
        let open = self.open();
        let family = match open.family(space) {
            Ok(family) => family,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let mut options = self.options();
        if let Some(until) = until {
            if until <= from {
                return Box::new(std::iter::empty());
            }
            options.set_iterate_upper_bound(until);
        }
        let mut rows = self.pinned.borrow_dependent().raw_iterator_cf_opt(family, options);
        rows.seek(from);
        Box::new(Scan { open, rows, ended: false })
    }
}

struct Scan<'a> {
    open: &'a Open,
    rows: DBRawIterator<'a>,
    ended: bool,
}

impl Iterator for Scan<'_> {
    type Item = Result<(Bytes, Bytes), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let Some((key, value)) = self.rows.item() else {
            // An iterator ends in silence when it meets damage: only its status tells.
            self.ended = true;
            return self.rows.status().err().map(|error| Err(self.open.translate("read from")(error)));
        };
        let mut row = BytesMut::with_capacity(key.len() + value.len());
        row.extend_from_slice(key);
        let key_bytes = key.len();
        row.extend_from_slice(value);
        let mut key = row.freeze();
        let value = key.split_off(key_bytes);
        self.rows.next();
        Some(Ok((key, value)))
    }
}

/// RocksDB's file CURRENT names its MANIFEST. Without it, RocksDB would begin an empty database among the old one's files and remove
/// them; with a wrong name in it, it would complain of a file that never was.
fn check_current(folder: &Path) -> Result<(), StorageError> {
    let path = folder.join("CURRENT");
    let damaged = |what: String| StorageError::Damaged {
        folder: folder.to_path_buf(),
        reason: format!("its file {} {what}", path.display()),
    };
    let io = |error: std::io::Error| failed(&path, "read", error.to_string());
    match std::fs::read(&path) {
        Ok(bytes) => {
            let name = bytes.strip_suffix(b"\n").and_then(|name| std::str::from_utf8(name).ok());
            match name.filter(|name| name.starts_with("MANIFEST-")) {
                Some(name) if folder.join(name).is_file() => Ok(()),
                Some(name) => Err(damaged(format!("names the file {name}, which is not there"))),
                None => Err(damaged("names no file MANIFEST-…".to_owned())),
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            for entry in std::fs::read_dir(folder).map_err(io)? {
                if entry.map_err(io)?.path().extension().is_some_and(|extension| extension == "sst") {
                    return Err(damaged("is not there, and tables are".to_owned()));
                }
            }
            Ok(())
        }
        Err(error) => Err(io(error)),
    }
}

fn failed(folder: &Path, doing: &'static str, reason: String) -> StorageError {
    StorageError::Failed { folder: folder.to_path_buf(), doing, reason }
}

/// RocksDB tells apart by words only.
fn translate(folder: &Path, doing: &'static str, error: rocksdb::Error) -> StorageError {
    let kind = error.kind();
    let reason = error.into_string();
    let folder = folder.to_path_buf();
    if kind == ErrorKind::IOError && reason.contains("lock hold by current process") {
        return StorageError::AlreadyOpen { folder, same_process: true };
    }
    if kind == ErrorKind::IOError && reason.contains("While lock file") {
        return StorageError::AlreadyOpen { folder, same_process: false };
    }
    match kind {
        ErrorKind::Corruption => StorageError::Damaged { folder, reason },
        _ => StorageError::Failed { folder, doing, reason },
    }
}

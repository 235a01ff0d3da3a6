//! A memory layer above an engine: what was written lately is in maps that readers ask first, and goes to the engine below in
//! large sorted portions.
//!
//! The memtable of an LSM tree keeps its rows in order all the time, and with random keys that is what a write costs. Here a write puts
//! its row into a hash table; rows are put in order once, when many of them are drained together.
//!
//! Rows are written to the newest *generation*. When that has grown large enough it is sealed, a new one begins, and a
//! thread drains the sealed one: sorted, without a log, with one flush at the end. Only then is it durable below, as a whole: after a
//! crash the engine below stands exactly between two generations. What is drained stays for readers as long as there is room.
//!
//! | file | its idea |
//! |---|---|
//! | `table.rs`, `ordered.rs` | rows and their versions, hashed or in order |
//! | `generation.rs`, `run.rs` | one generation; its keys, sorted when somebody wants them so |
//! | `live.rs` | which versions somebody may still see |
//! | `view.rs`, `merge.rs` | reading: generations above the engine below |
//! | `drain.rs` | generations go down |
//! | `wal.rs` | the log, where nothing else stands behind the engine |

mod drain;
mod generation;
mod live;
mod merge;
mod ordered;
mod run;
mod table;
mod view;
mod wal;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use drain::Drainage;
use generation::{Generation, Hasher};
use live::{Live, Seen};
use view::{Base, LayeredView};
use wal::Wal;

use crate::{Batch, Durability, Engine, RocksEngine, RocksSettings, Space, StorageError, View};

/// The share of the layer's memory that a generation may take before it is sealed. While one is written to, another one and what of it is
/// in the engine's memtable take as much each.
const GENERATION_SHARE: f64 = 0.3;
/// So many drained generations are kept for readers at most: each is looked into with every read that finds nothing above.
const KEPT_MAX: usize = 4;
/// A generation with so many deleted ranges is sealed, too: each is looked at with every read.
const RANGES_MAX: usize = 32;
/// How far, in thousandths of a generation, a writer may be ahead of a drain that has just begun; half of that when it has come half
/// way, and so on.
const AHEAD_PERMILLE: usize = 500;
/// So long a writer rests at a time while the generation it fills gets ahead of the one that is being drained.
const PACE: Duration = Duration::from_millis(1);
/// So often at most for one batch.
const PACES_MAX: u32 = 4;
/// A log file that has grown to this many bytes seals its generation, that a start does not take long.
const WAL_BYTES_MAX: u64 = 256 << 20;
/// The folder of the log, within the engine's.
const WAL_FOLDER: &str = "wal";

/// How much memory the layer may take, and who does its work.
///
/// ```
/// let settings = talon_storage::LayerSettings { memory_bytes_max: 64 << 20, ..Default::default() };
/// assert!(settings.threads);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSettings {
    /// So much memory at most: what is written to, what is being drained and the memtable it is drained to, and what is kept for readers.
    /// (What a view holds beyond that stays until the view ends.)
    pub memory_bytes_max: usize,
    /// Keep a log for batches that ask for it. Without, such a batch is drained at once: where every batch is unlogged, because
    /// something else can bring it again.
    pub logged: bool,
    /// Drain on a thread of its own. Without, whoever seals a generation drains it: for simulations.
    pub threads: bool,
}

impl Default for LayerSettings {
    fn default() -> LayerSettings {
        LayerSettings { memory_bytes_max: 256 << 20, logged: true, threads: true }
    }
}

/// An [`Engine`] that keeps in memory what was written lately, above another one.
///
/// ```
/// use talon_storage::{Batch, Durability, Engine, LayerSettings, LayeredEngine, RocksSettings, Space};
///
/// let folder = tempfile::tempdir()?;
/// let engine = LayeredEngine::open(folder.path(), &RocksSettings::default(), LayerSettings::default())?;
/// let mut batch = Batch::new();
/// batch.put(Space::Data, b"key", &[b"value"]);
/// engine.write(&batch, Durability::Synced)?;
/// assert_eq!(engine.view()?.get(Space::Data, b"key")?.as_deref(), Some(&b"value"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LayeredEngine {
    shared: Arc<Shared>,
    drainer: Option<JoinHandle<()>>,
}

struct Shared {
    inner: Arc<dyn Engine>,
    settings: LayerSettings,
    current: RwLock<Current>,
    live: Arc<Live>,
    hasher: Hasher,
    writer: Mutex<Writer>,
    drainage: Mutex<Drainage>,
    drainage_changed: Condvar,
    /// How far the generation that is being drained has come, thousandths.
    drained_permille: AtomicUsize,
    /// Something went wrong: see the drainage's fault.
    failed: AtomicBool,
    /// Held while the engine below is changed, or copied.
    below: Mutex<()>,
    wal_folder: Option<PathBuf>,
}

/// What a view is made of.
struct Current {
    base: Arc<Base>,
    /// The last operation that views see.
    published: u64,
}

/// What only the one who writes has.
struct Writer {
    /// The number of the last operation.
    sequence: u64,
    live: Vec<u64>,
    wal: Option<Wal>,
}

/// What these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LayeredEngine {
    /// RocksDB with a layer above it. Batches that ask to be logged go into a log of the layer's own; one that is found there is
    /// carried out again.
    ///
    /// # Errors
    /// As [`RocksEngine::open`]; or if the log is damaged.
    pub fn open(folder: &Path, rocks: &RocksSettings, settings: LayerSettings) -> Result<LayeredEngine, StorageError> {
        // Generations reach the disk as a whole: RocksDB must not begin to flush by itself in the midst of one.
        let rocks = RocksSettings { memtable_bytes: 16 << 30, ..rocks.clone() };
        let inner = Arc::new(RocksEngine::open(folder, &rocks)?);
        LayeredEngine::start(inner, settings, folder, settings.logged.then(|| folder.join(WAL_FOLDER)))
    }

    /// Any engine with a layer above it, without a log.
    ///
    /// # Errors
    /// If the engine below fails, or no thread can be started.
    pub fn over(inner: Arc<dyn Engine>, settings: LayerSettings) -> Result<LayeredEngine, StorageError> {
        LayeredEngine::start(inner, settings, Path::new(""), None)
    }

    fn start(
        inner: Arc<dyn Engine>,
        settings: LayerSettings,
        folder: &Path,
        wal_folder: Option<PathBuf>,
    ) -> Result<LayeredEngine, StorageError> {
        // Never without a log: then nobody could bring the rest.
        if wal_folder.is_none() && inner.view()?.get(Space::Meta, drain::UNDER_WAY)?.is_some() {
            return Err(StorageError::Damaged {
                folder: folder.to_owned(),
                reason: "it holds a part of what was to be there as a whole".into(),
            });
        }
        let base = Base { generations: vec![Arc::new(Generation::new())], undrained: 1, inner: inner.view()? };
        let shared = Arc::new(Shared {
            inner,
            settings,
            current: RwLock::new(Current { base: Arc::new(base), published: 0 }),
            live: Arc::default(),
            hasher: Hasher::random(),
            writer: Mutex::new(Writer { sequence: 0, live: Vec::new(), wal: None }),
            drainage: Mutex::default(),
            drainage_changed: Condvar::new(),
            drained_permille: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            below: Mutex::new(()),
            wal_folder,
        });
        let mut drainer = None;
        if settings.threads {
            let draining = shared.clone();
            let started = std::thread::Builder::new().name("talon-drain".into()).spawn(move || drain::run(&draining));
            drainer = Some(started.map_err(|error| StorageError::Failed {
                folder: folder.to_owned(),
                doing: "start a thread for",
                reason: error.to_string(),
            })?);
        }
        let engine = LayeredEngine { shared, drainer };
        engine.shared.replay()?;
        Ok(engine)
    }
}

impl LayeredEngine {
    /// How much memory the layer takes, about, in bytes; with what is in the memtable below.
    pub fn memory_bytes(&self) -> usize {
        let base = self.shared.base();
        base.bytes(base.generations.len())
    }

    /// How many generations there are, above and below: reads may have to look into each.
    pub fn generations(&self) -> usize {
        self.shared.base().generations.len()
    }
}

impl Shared {
    fn base(&self) -> Arc<Base> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).base.clone()
    }

    fn generation_bytes_max(&self) -> usize {
        (self.settings.memory_bytes_max as f64 * GENERATION_SHARE) as usize
    }

    /// Carries out what the log holds, makes it durable below, and begins a new log.
    fn replay(&self) -> Result<(), StorageError> {
        let Some(folder) = &self.wal_folder else { return Ok(()) };
        let mut replayed = false;
        let wal = Wal::open(folder, |batch| {
            replayed = true;
            self.write(batch, None)
        });
        // What was carried out before the damage must not go down by itself.
        let wal = wal.map_err(|fault| self.fail(fault))?;
        lock(&self.writer).wal = Some(wal);
        if replayed {
            self.flush()?;
        }
        wal::remove_upto(folder, lock(&self.writer).wal.as_ref().map_or(0, |wal| wal.sequence() - 1))
    }

    /// `log`: whether to log the batch, and then whether to sync it.
    fn write(&self, batch: &Batch, log: Option<bool>) -> Result<(), StorageError> {
        let mut writer = lock(&self.writer);
        let writer = &mut *writer;
        self.check()?;
        self.make_room(writer)?;
        if let (Some(sync), Some(wal)) = (log, &mut writer.wal) {
            wal.append(batch, sync).map_err(|fault| self.fail(fault))?;
        }
        self.live.list(&mut writer.live);
        let active = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            current.base.generations[0].clone()
        };
        let published = writer.sequence;
        let seen = Seen { published, live: &writer.live };
        writer.sequence = active.apply(self.hasher, batch, published, &seen);
        self.current.write().unwrap_or_else(PoisonError::into_inner).published = writer.sequence;
        if self.settings.threads && active.wants_to_be_sorted() {
            self.drainage_changed.notify_all();
        }
        Ok(())
    }

    /// Seals the generation if it is full. Waits while one before it is not drained; the fuller this one, the longer, so that nobody
    /// has to wait for long at once.
    fn make_room(&self, writer: &mut Writer) -> Result<(), StorageError> {
        let base = self.base();
        let active = &base.generations[0];
        let bytes_max = self.generation_bytes_max().max(1);
        let filled_permille = active.bytes().saturating_mul(1000) / bytes_max;
        if base.generations.len() > 1 {
            self.let_go(&base);
        }
        let wal_bytes = writer.wal.as_ref().map_or(0, Wal::bytes);
        let is_full = filled_permille >= 1000 || active.ranges_count() >= RANGES_MAX || wal_bytes >= WAL_BYTES_MAX;
        if base.undrained > 1 {
            for _ in 0..PACES_MAX {
                // It may be half ahead at first, and not at all in the end.
                if filled_permille <= AHEAD_PERMILLE + self.drained_permille.load(Ordering::Relaxed) / 2 {
                    break;
                }
                std::thread::sleep(PACE);
            }
            if !is_full {
                return Ok(());
            }
            let sealed = lock(&self.drainage).sealed;
            self.wait_until_drained(sealed)?;
        }
        if is_full {
            self.seal(writer)?;
        }
        Ok(())
    }

    /// Begins a new generation, and has the old one drained.
    fn seal(&self, writer: &mut Writer) -> Result<(), StorageError> {
        let wal_sequence = writer.wal.as_mut().map(Wal::roll).transpose().map_err(|fault| self.fail(fault))?;
        {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            let mut generations = vec![Arc::new(Generation::new())];
            generations.extend(current.base.generations.iter().cloned());
            let (undrained, inner) = (current.base.undrained + 1, current.base.inner.clone());
            current.base = Arc::new(Base { generations, undrained, inner });
        }
        self.drained_permille.store(0, Ordering::Relaxed);
        {
            let mut drainage = lock(&self.drainage);
            drainage.sealed += 1;
            drainage.wal_sequences.push_back(wal_sequence);
        }
        self.drainage_changed.notify_all();
        if self.settings.threads { Ok(()) } else { drain::drain_all(self) }
    }

    /// Gives up generations that are kept for readers only, oldest first, until the rest is within the bound.
    fn let_go(&self, base: &Base) {
        let mut kept = base.generations.len();
        while kept > base.undrained
            && (kept > base.undrained + KEPT_MAX || base.bytes(kept) > self.settings.memory_bytes_max)
        {
            kept -= 1;
        }
        if kept == base.generations.len() {
            return;
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        // Another one may have been drained meanwhile; then it is looked at again with the next batch.
        if current.base.undrained == base.undrained && current.base.generations.len() == base.generations.len() {
            let generations = base.generations[..kept].to_vec();
            let inner = current.base.inner.clone();
            let old =
                std::mem::replace(&mut current.base, Arc::new(Base { generations, undrained: base.undrained, inner }));
            drop(current);
            if self.settings.threads {
                // Giving back so much memory takes a while.
                lock(&self.drainage).garbage.push(old);
                self.drainage_changed.notify_all();
            }
        }
    }

    /// Nothing more is written, neither to the log nor below: it is not known what would follow on what.
    fn fail(&self, fault: StorageError) -> StorageError {
        lock(&self.drainage).fault.get_or_insert_with(|| fault.clone());
        self.failed.store(true, Ordering::Release);
        self.drainage_changed.notify_all();
        fault
    }

    fn check(&self) -> Result<(), StorageError> {
        if self.failed.load(Ordering::Acquire)
            && let Some(fault) = &lock(&self.drainage).fault
        {
            return Err(fault.clone());
        }
        Ok(())
    }

    /// Returns when so many generations have been drained since the start.
    fn wait_until_drained(&self, count: u64) -> Result<(), StorageError> {
        let mut drainage = lock(&self.drainage);
        while drainage.fault.is_none() && drainage.drained < count {
            drainage = self.drainage_changed.wait(drainage).unwrap_or_else(PoisonError::into_inner);
        }
        drainage.fault.clone().map_or(Ok(()), Err)
    }

    fn flush(&self) -> Result<(), StorageError> {
        let target = {
            let mut writer = lock(&self.writer);
            self.check()?;
            let active = &self.base().generations[0];
            if active.bytes() > 0 || active.ranges_count() > 0 {
                self.seal(&mut writer)?;
            }
            lock(&self.drainage).sealed
        };
        self.wait_until_drained(target)
    }
}

impl Engine for LayeredEngine {
    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        let log = match durability {
            Durability::Synced => Some(true),
            Durability::Logged => Some(false),
            Durability::Unlogged => None,
        };
        self.shared.write(batch, log)?;
        if log.is_some() && self.shared.wal_folder.is_none() { self.shared.flush() } else { Ok(()) }
    }

    fn view(&self) -> Result<Arc<dyn View>, StorageError> {
        self.shared.check()?;
        // Within the lock: what a view sees must be known before anything is written on top of it.
        let Shared { current, live, hasher, .. } = &*self.shared;
        let current = current.read().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::new(LayeredView::new(current.base.clone(), current.published, live.clone(), *hasher)))
    }

    fn is_busy(&self) -> bool {
        self.shared.base().undrained > 1
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.shared.flush()
    }

    fn checkpoint(&self, folder: &Path) -> Result<(), StorageError> {
        self.shared.flush()?;
        let _below = lock(&self.shared.below);
        self.shared.inner.checkpoint(folder)
    }

    fn disk_bytes(&self, space: Space, from: &[u8], until: Option<&[u8]>) -> Result<u64, StorageError> {
        self.shared.inner.disk_bytes(space, from, until)
    }

    fn disk_bytes_total(&self) -> Result<u64, StorageError> {
        let wal_bytes = self.shared.wal_folder.as_deref().map_or(Ok(0), wal::disk_bytes)?;
        Ok(self.shared.inner.disk_bytes_total()? + wal_bytes)
    }
}

impl Drop for LayeredEngine {
    /// What is in memory goes to the engine below, so that the next start has no log to carry out. Where something else can bring it
    /// again, it is let go: whoever drops the last view of a state that was replaced should not have to wait.
    fn drop(&mut self) {
        if self.shared.wal_folder.is_some() {
            // A fault has been told to those who wrote.
            let _ = self.shared.flush();
        }
        lock(&self.shared.drainage).stopping = true;
        self.shared.drainage_changed.notify_all();
        drop(self.drainer.take().map(JoinHandle::join));
    }
}

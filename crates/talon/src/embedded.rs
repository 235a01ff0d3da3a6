//! The embedded database: a folder, opened.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use talon_core::typed::Function;
use talon_core::{Call, Fault, Watch};
use talon_storage::{LayerSettings, LayeredEngine, RocksSettings};

use crate::cleaner::TtlCleaner;
use crate::clock::{Clock, LeaderClock, SystemClock};
use crate::committer::{Committer, Pending};
use crate::error::Error;
use crate::kv::Kv;
use crate::kv_read::KvRead;
use crate::machine::{Machine, OpenError};
use crate::view::{ReadOutcome, ReadView};

/// A read that meets an ending key waits for a tick and is carried out again, at most so often: each tick ends at least the key that
/// asked for it, so more happens only if keys end as fast as ticks are made.
const TICKS_MAX: usize = 16;

/// When a write counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When it is on the disk: it survives a power cut. Writers that wait at the same time share one sync.
    #[default]
    Synced,
    /// When the operating system has it: it survives the end of the process, kill -9 included; a power cut or a crash of
    /// the system may lose the last moments' writes, never the order: what is left is a state that once was.
    Unsynced,
}

/// How a folder is opened.
///
/// ```
/// use talon::{Durability, Settings};
///
/// let settings = Settings { cache_bytes: 256 << 20, durability: Durability::Unsynced, ..Settings::default() };
/// assert_eq!(settings.request_bytes_max, 64 << 20);
/// ```
#[derive(Clone)]
pub struct Settings {
    /// When a write counts as done. [`Durability::Synced`] by default.
    pub durability: Durability,
    /// Memory for what was read from disk. 64 MB by default.
    pub cache_bytes: usize,
    /// Memory for what was written last: before it goes into files, while it does, and as long as there is room also behind that, so that it
    /// is read quickly. 256 MB by default.
    pub recent_bytes: usize,
    /// Threads that write files in the background. 2 by default.
    pub background_jobs: u16,
    /// The largest single request: a batch, an `mset`. 64 MB by default.
    pub request_bytes_max: usize,
    /// How far the wall clock may be ahead of the last write when a folder is opened. Further ahead it is taken to be wrong, and opening is
    /// refused, for a wrong clock would expire data. 366 days by default, so that a folder may rest for a year; `u64::MAX`
    /// turns the check off.
    pub clock_jump_ms_max: u64,
    /// Where time comes from: the system, unless a test has its own.
    pub clock: Arc<dyn Clock>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            durability: Durability::Synced,
            cache_bytes: 64 << 20,
            recent_bytes: 256 << 20,
            background_jobs: 2,
            request_bytes_max: talon_core::limits::REQUEST_BYTES_MAX,
            clock_jump_ms_max: 366 * 24 * 60 * 60 * 1000,
            clock: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Settings")
            .field("durability", &self.durability)
            .field("cache_bytes", &self.cache_bytes)
            .field("recent_bytes", &self.recent_bytes)
            .field("background_jobs", &self.background_jobs)
            .field("request_bytes_max", &self.request_bytes_max)
            .field("clock_jump_ms_max", &self.clock_jump_ms_max)
            .finish_non_exhaustive()
    }
}

/// An open database. Cloning shares it; it is closed when the last clone is gone, and every [`Kv`], [`KvRead`],
/// [`Snapshot`](crate::Snapshot) and [`TtlCleaner`] made from it.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path();
/// let db = talon::Talon::open(path)?;
/// let kv = db.kv()?;
/// kv.set(b"greeting", b"hello", None)?;
/// assert_eq!(db.kv_read()?.get(b"greeting")?.as_deref(), Some(&b"hello"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Talon {
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for Talon {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(out)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Talon").field("folder_id", &self.folder_id).finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) committer: Arc<Committer>,
    pub(crate) request_bytes_max: usize,
    /// 32 hex digits that stand for the folder.
    pub(crate) folder_id: String,
    /// The thread that commits for asynchronous callers, once there is one.
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Talon {
    /// Opens a folder, or creates it, with the default [`Settings`].
    ///
    /// # Errors
    /// [`Error::Open`] if it is open already (here or in another process), damaged or newer; [`Error::ClockJump`] if the clock seems wrong.
    pub fn open(path: impl AsRef<Path>) -> Result<Talon, Error> {
        Talon::open_with(path, Settings::default())
    }

    /// Opens a folder, or creates it.
    ///
    /// # Errors
    /// As [`Talon::open`].
    pub fn open_with(path: impl AsRef<Path>, settings: Settings) -> Result<Talon, Error> {
        let path = path.as_ref();
        let rocks = RocksSettings {
            cache_bytes: settings.cache_bytes,
            background_jobs: i32::from(settings.background_jobs),
            ..RocksSettings::default()
        };
        let layer = LayerSettings { memory_bytes_max: settings.recent_bytes, ..LayerSettings::default() };
        let engine = LayeredEngine::open(path, &rocks, layer).map_err(OpenError::from)?;
        let durability = match settings.durability {
            Durability::Synced => talon_storage::Durability::Synced,
            Durability::Unsynced => talon_storage::Durability::Logged,
        };
        let machine = Machine::open_with(Arc::new(engine), durability)?;
        let stored_ms = machine.applied().clock_ms;
        let wall_ms = settings.clock.wall_ms();
        let clock_jump_ms_max = settings.clock_jump_ms_max;
        if stored_ms != 0 && wall_ms.saturating_sub(stored_ms) > clock_jump_ms_max {
            return Err(Error::ClockJump { wall_ms, stored_ms, clock_jump_ms_max });
        }
        let clock = LeaderClock::start(settings.clock, stored_ms);
        // Randomness for RANDOMKEY and the like: which key a caller gets is not a secret.
        let seed = RandomState::new().hash_one(wall_ms);
        let whole_path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let folder_id = xxhash_rust::xxh3::xxh3_128(whole_path.as_os_str().as_encoded_bytes());
        Ok(Talon {
            inner: Arc::new(Inner {
                committer: Arc::new(Committer::new(Arc::new(machine), clock, seed)),
                request_bytes_max: settings.request_bytes_max,
                folder_id: format!("{folder_id:032x}"),
                server: Mutex::new(None),
            }),
        })
    }

    /// To write and read.
    ///
    /// # Errors
    /// None today: what has failed says so when it is used.
    pub fn kv(&self) -> Result<Kv, Error> {
        Ok(Kv::new(self.inner.clone()))
    }

    /// To read.
    ///
    /// # Errors
    /// None today, as [`Talon::kv`].
    pub fn kv_read(&self) -> Result<KvRead, Error> {
        Ok(KvRead::new(self.inner.clone()))
    }

    /// Removes what has expired, every `interval_secs` (at least 1), until the cleaner is dropped. Expired keys are invisible without it; it gives
    /// back their space. It costs what has expired, not what exists.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// let db = talon::Talon::open(folder.path())?;
    /// let cleaner = db.start_ttl_cleaner(60)?;
    /// drop(cleaner); // stops it
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Fault`] if no thread could be started.
    pub fn start_ttl_cleaner(&self, interval_secs: u64) -> Result<TtlCleaner, Error> {
        TtlCleaner::start(self.inner.clone(), interval_secs)
    }

    /// Removes what has expired, now; says how many keys that were.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// let db = talon::Talon::open(folder.path())?;
    /// assert_eq!(db.purge_expired()?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Fault`] if the storage failed.
    pub fn purge_expired(&self) -> Result<u64, Error> {
        crate::cleaner::purge(&self.inner, || true)
    }

    /// The state machine below, for who wants to look at it (a state hash, a checkpoint as a backup).
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// let db = talon::Talon::open(folder.path().join("data"))?;
    /// db.kv()?.set(b"k", b"v", None)?;
    /// db.machine().checkpoint(&folder.path().join("backup"))?;
    /// let backup = talon::Talon::open(folder.path().join("backup"))?;
    /// assert!(backup.kv_read()?.exists(b"k")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn machine(&self) -> &Machine {
        self.inner.committer.machine()
    }
}

impl Inner {
    /// Carries out a function, by reading a view or by committing.
    pub(crate) fn call<T>(&self, mut function: Function<T>) -> Result<T, Error> {
        let size_bytes = function.call.size_bytes();
        if size_bytes > self.request_bytes_max {
            return Err(Error::TooLarge { size_bytes, bytes_max: self.request_bytes_max });
        }
        let calls = vec![std::mem::replace(&mut function.call, Call::Transaction(Vec::new()))];
        let mut replies = if calls[0].is_write() { self.committer.commit(calls)? } else { self.read(&calls)? };
        let reply = replies.pop().ok_or_else(|| Fault("a call was not answered".into()))?;
        Ok(function.answer(reply)?)
    }

    /// Reads the newest state, judged by the clock: what ends now is ended for everyone and for ever before this answers.
    pub(crate) fn read(&self, calls: &[Call]) -> Result<Vec<talon_core::Reply>, Fault> {
        for _ in 0..TICKS_MAX {
            let view = self.committer.machine().view()?;
            let clock_ms = self.clock_for(&view);
            match view.read(calls, clock_ms, self.committer.seed())? {
                ReadOutcome::Replies(replies) => return Ok(replies),
                ReadOutcome::NeedsTick(_) => self.tick()?,
            }
        }
        // Keys end all the time. At the read point of an entry there is nothing to wait for.
        self.committer.commit(calls.to_vec())
    }

    /// The newest state in which everything that is due has ended.
    pub(crate) fn settled_view(&self) -> Result<Arc<ReadView>, Fault> {
        let view = self.committer.machine().view()?;
        let clock_ms = self.clock_for(&view);
        if view.next_expiry_ms()?.is_some_and(|expire_at_ms| expire_at_ms <= clock_ms) {
            self.tick()?;
            return self.committer.machine().view();
        }
        Ok(view)
    }

    /// Without an expiry in the view there is nothing a clock could decide.
    fn clock_for(&self, view: &ReadView) -> u64 {
        if view.first_expiry_ms().is_some() { self.committer.now_ms() } else { 0 }
    }

    fn tick(&self) -> Result<(), Fault> {
        self.committer.commit(Vec::new()).map(drop)
    }

    /// Commits without blocking the caller. `None`: too much is waiting already.
    pub(crate) fn hand_over(&self, calls: Vec<Call>, watches: Vec<Watch>) -> Result<Option<Pending>, Fault> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.is_none() {
            let committer = self.committer.clone();
            let thread = std::thread::Builder::new().name("talon-commit".into()).spawn(move || committer.serve());
            *server = Some(thread.map_err(|error| Fault(format!("could not start a thread: {error}")))?);
        }
        drop(server);
        Ok(self.committer.hand_over(calls, watches))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.committer.stop();
        let server = self.server.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // The thread itself never holds `Inner`, so it is not the one that waits here. If it panicked, its callers know.
        if let Some(server) = server {
            let _ = server.join();
        }
    }
}

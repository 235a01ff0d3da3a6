//! Disks that lose what was not synced, and can be slow, full, or failing.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use talon_core::planted::{Bug, is_planted};
use talon_core::random::SplitMix64;
use talon_raft::environment::Disks;
use talon_raft::log::{File, Files, MemoryFiles, Survivors};
use talon_storage::{Crash, Engine, LayerSettings, LayeredEngine, MemoryEngine, StorageError};

use super::{Pause, lock};

/// How long a sync takes on a good day, µs.
const SYNC_US: u64 = 300;

/// What ends with the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerLoss {
    /// Only the process: what it had written is still written, synced or not.
    Process,
    /// The machine: what was not synced is lost, or a part of it.
    Machine,
}

/// The disks of one machine.
pub struct MachineDisks {
    state: Mutex<State>,
    /// The longest that a sync takes, µs.
    sync_us_max: Arc<AtomicU64>,
    pause: Arc<Pause>,
}

struct State {
    log: MemoryFiles,
    /// The engines by their folders. The folders themselves, with checkpoints and small files, are real ones.
    engines: BTreeMap<PathBuf, MemoryEngine>,
    /// There is no room, whoever runs.
    full: bool,
    random: SplitMix64,
}

impl MachineDisks {
    /// Empty and quick.
    pub fn new(seed: u64, pause: Arc<Pause>) -> MachineDisks {
        let state = State { log: MemoryFiles::new(), engines: BTreeMap::new(), full: false, random: SplitMix64(seed) };
        MachineDisks { state: Mutex::new(state), sync_us_max: Arc::new(AtomicU64::new(SYNC_US)), pause }
    }

    /// From now on a sync takes up to so long.
    pub fn slow_down(&self, sync_us_max: u64) {
        self.sync_us_max.store(sync_us_max.max(SYNC_US), Ordering::Relaxed);
    }

    /// From now on there is no room for the log; or there is again.
    pub fn fill(&self, full: bool) {
        let mut state = lock(&self.state);
        state.full = full;
        if full { state.log.fill() } else { state.log.make_room() }
    }

    /// The disk that holds the log, to look at it or to let it fail.
    pub fn log(&self) -> MemoryFiles {
        lock(&self.state).log.clone()
    }

    /// Empty disks, as from the shop.
    pub fn empty(&self) {
        let mut state = lock(&self.state);
        state.log = MemoryFiles::new();
        state.engines.clear();
    }

    /// The node ends here and now. What it does from now on reaches no disk.
    pub fn lose(&self, loss: PowerLoss) {
        let mut state = lock(&self.state);
        let seed = state.random.draw();
        state.log = state.log.restart(match loss {
            PowerLoss::Process => Survivors::All,
            PowerLoss::Machine => Survivors::Sectors(seed),
        });
        if state.full {
            state.log.fill();
        }
        // The state is not logged: it loses what RocksDB had in memory, whichever way the process ends.
        let crash = Crash { seed: state.random.draw(), atomic_flush: !is_planted(Bug::FlushSpacesApart) };
        let engines = std::mem::take(&mut state.engines);
        state.engines = engines
            .into_iter()
            .filter(|(folder, _)| folder.exists())
            .map(|(folder, engine)| (folder, engine.crash(crash)))
            .collect();
    }
}

impl Disks for MachineDisks {
    fn log_files(&self, _folder: &Path) -> io::Result<Arc<dyn Files>> {
        let (log, seed) = {
            let mut state = lock(&self.state);
            (state.log.clone(), state.random.draw())
        };
        let sync_us_max = self.sync_us_max.clone();
        Ok(Arc::new(SlowFiles { log, sync_us_max, pause: self.pause.clone(), random: Mutex::new(SplitMix64(seed)) }))
    }

    fn open_engine(&self, folder: &Path, _memory_bytes: usize) -> Result<Arc<dyn Engine>, StorageError> {
        let mut state = lock(&self.state);
        let engine = match state.engines.get(folder) {
            Some(engine) => engine.clone(),
            None => match MemoryEngine::from_checkpoint(folder) {
                Err(StorageError::Missing { .. }) => {
                    std::fs::create_dir_all(folder).map_err(|error| StorageError::Failed {
                        folder: folder.to_owned(),
                        doing: "make",
                        reason: error.to_string(),
                    })?;
                    MemoryEngine::new()
                }
                other => other?,
            },
        };
        state.engines.insert(folder.to_owned(), engine.clone());
        if is_planted(Bug::FlushSpacesApart) {
            // Above the double, flushes do not fall between two batches.
            return Ok(Arc::new(engine));
        }
        // From a few batches to everything.
        let memory_bytes_max = 8 << 10 << (state.random.draw() % 10);
        let layer = LayerSettings { memory_bytes_max, logged: false, threads: false };
        drop(state);
        Ok(Arc::new(LayeredEngine::over(Arc::new(engine), layer)?))
    }
}

/// The log's files, with syncs that take simulated time.
struct SlowFiles {
    log: MemoryFiles,
    sync_us_max: Arc<AtomicU64>,
    pause: Arc<Pause>,
    random: Mutex<SplitMix64>,
}

impl Files for SlowFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        self.log.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.log.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.log.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.log.rename(from, to)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.log.delete(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.log.sync_names()
    }

    fn describe(&self, name: &str) -> String {
        self.log.describe(name)
    }

    fn sync_delay(&self) -> Duration {
        let drawn = lock(&self.random).draw();
        // Mostly quick, sometimes slow.
        let share = (drawn % 1000) * (drawn / 1000 % 1000);
        Duration::from_micros(
            SYNC_US / 2 + self.sync_us_max.load(Ordering::Relaxed) * share / 1_000_000 + self.pause.left_us(),
        )
    }
}

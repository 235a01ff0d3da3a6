//! The Raft log on disk.
//!
//! *Enters*: entries, votes and commit marks from openraft. *Leaves*: the same, after any crash: everything that was reported
//! as durable, and of the rest a prefix. *Must never know*: what is inside a proposal.
//!
//! The log is a directory of segment files, `000000000001.log` and so on (their bytes: `format.rs`). One thread of its own
//! writes them: it takes everything that waits, writes it, syncs once, and only then says so. The entries are
//! readable from memory from the moment they are appended; the newest stay there, older ones are read from the files.
//!
//! | file | its idea |
//! |---|---|
//! | `storage.rs` | what openraft calls |
//! | `state.rs`, `index.rs`, `marks.rs` | what is in memory |
//! | `writer.rs` | the thread; the one place that decides when to sync |
//! | `journal.rs` | records, groups and segments, written |
//! | `recovery.rs` | the same, read back; torn or damaged |
//! | `format.rs` | their bytes |
//! | `files.rs`, `memory.rs` | the disk, and one that a test can unplug |

mod error;
mod files;
mod format;
mod index;
mod journal;
mod marks;
mod memory;
mod recovery;
mod state;
mod storage;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub use error::LogError;
pub use files::{DiskFiles, File, Files};
pub use format::FORMAT_VERSION;
pub use memory::{MemoryFiles, Survivors};
pub use storage::LogReader;

use index::Index;
use journal::Journal;
use state::{Shared, State};

use crate::environment::Workers;

/// How the log uses disk and memory. A node's own business: nodes may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How long a segment file is, in bytes; taken from the disk in advance. An entry that is larger gets a file of its own.
    /// From 4 KB to 1 GB.
    pub segment_bytes: u64,
    /// How many bytes of entries stay in memory after they have been synced.
    pub memory_bytes_max: u64,
    /// How many bytes of entries one read for replication returns; an entry that is larger comes alone.
    pub read_bytes_max: u64,
    /// How many bytes of entries may wait to be synced; beyond that, appends wait.
    pub unsynced_bytes_max: u64,
}

impl Default for LogSettings {
    fn default() -> LogSettings {
        LogSettings {
            segment_bytes: 64 << 20,
            memory_bytes_max: 64 << 20,
            read_bytes_max: 4 << 20,
            unsynced_bytes_max: 256 << 20,
        }
    }
}

/// What the log has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMetrics {
    /// Groups of records written.
    pub groups: u64,
    /// Syncs: each covers everything that waited.
    pub syncs: u64,
    /// The time for all of them, the last write before each included, in microseconds.
    pub sync_us_total: u64,
    /// The longest of them, in microseconds.
    pub sync_us_max: u64,
    /// Bytes written to the files.
    pub written_bytes: u64,
    /// Bytes of entries in memory.
    pub memory_bytes: u64,
    /// Bytes of entries that wait to be synced.
    pub unsynced_bytes: u64,
    /// The segment files there are.
    pub segments: u64,
}

impl LogMetrics {
    /// How long a sync took on average, in microseconds.
    pub fn sync_us_average(&self) -> u64 {
        self.sync_us_total.checked_div(self.syncs).unwrap_or(0)
    }
}

/// The log. Clones share it. openraft calls it as a `RaftLogStorage`.
#[derive(Clone)]
pub struct LogStore {
    handle: Arc<Handle>,
}

/// Ends the writer when the last [`LogStore`] is gone.
struct Handle {
    shared: Arc<Shared>,
    writer: Mutex<Option<Writing>>,
}

/// Who writes.
enum Writing {
    Thread(JoinHandle<()>),
    /// A task, which shares the journal with whoever closes the log.
    Inline(Arc<Mutex<Journal>>),
}

impl LogStore {
    /// Opens the log that is in these files, or begins one there. Nobody else may have it open; that is for the caller to see to.
    /// With [`Workers::Inline`], it has to be called in a tokio runtime.
    ///
    /// # Errors
    /// [`LogError`]: above all, a log that is damaged, not whole, or written by a newer build is not opened.
    pub fn open(files: Arc<dyn Files>, settings: LogSettings, workers: Workers) -> Result<LogStore, LogError> {
        let segment_bytes = settings.segment_bytes.clamp(4 << 10, 1 << 30);
        let (journal, mut state) = match recovery::recover(&*files, segment_bytes)? {
            None => (Journal::begin(Arc::clone(&files), segment_bytes)?, State::default()),
            Some(mut recovered) => {
                let index: Index = std::mem::take(&mut recovered.index);
                let (journal, marks) = Journal::resume(Arc::clone(&files), segment_bytes, recovered)?;
                (journal, State::new(marks, index))
            }
        };
        state.add_segments(journal.segments());
        let shared = Arc::new(Shared::new(files, settings, workers, state));
        let writing = Arc::clone(&shared);
        let writer = match workers {
            Workers::Threads => {
                let thread = std::thread::Builder::new()
                    .name("talon-log".into())
                    .spawn(move || writer::run(&writing, journal))
                    .map_err(|error| LogError::disk("talon-log".into(), "start the thread of", error))?;
                Writing::Thread(thread)
            }
            Workers::Inline => {
                let journal = Arc::new(Mutex::new(journal));
                tokio::spawn(writer::run_inline(writing, Arc::clone(&journal)));
                Writing::Inline(journal)
            }
        };
        Ok(LogStore { handle: Arc::new(Handle { shared, writer: Mutex::new(Some(writer)) }) })
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// Writes and syncs what waits, and ends the writer. Everything that is asked of the log or a reader later fails with
    /// [`LogError::Closed`].
    ///
    /// # Errors
    /// What the log has failed with, now or before.
    pub fn close(&self) -> Result<(), LogError> {
        self.handle.close();
        self.shared().lock().failed.clone().map_or(Ok(()), Err)
    }

    /// What the log has failed with, if it has: then it takes nothing more, and the node has to stop.
    pub fn failure(&self) -> Option<LogError> {
        self.shared().lock().failed.clone()
    }

    /// The indexes of the first and the last entry; `None` if there are no entries.
    pub fn first_and_last(&self) -> Option<(u64, u64)> {
        let range = self.shared().lock().index.range();
        (!range.is_empty()).then(|| (range.start, range.end - 1))
    }

    /// The bytes of all entries that are not purged.
    pub fn entry_bytes(&self) -> u64 {
        self.entry_bytes_from(0)
    }

    /// The bytes of the entries from `index` on.
    pub fn entry_bytes_from(&self, index: u64) -> u64 {
        self.shared().lock().index.bytes_from(index)
    }

    /// What it has done so far.
    pub fn metrics(&self) -> LogMetrics {
        let state = self.shared().lock();
        LogMetrics {
            memory_bytes: state.recent_bytes(),
            unsynced_bytes: state.unsynced_bytes,
            segments: state.segments.len() as u64,
            ..state.metrics
        }
    }
}

impl Handle {
    fn close(&self) {
        self.shared.close();
        match self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It says itself what it has failed with, even a panic.
            Some(Writing::Thread(thread)) => drop(thread.join()),
            Some(Writing::Inline(journal)) => writer::finish(&self.shared, &journal),
            None => {}
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

//! Ordered bytes with atomic batches, read views and checkpoints.
//!
//! *Enters*: [`Batch`]es of puts and deletes in three [`Space`]s. *Leaves*: bytes under keys, in order, from a [`View`] that
//! does not change; and checkpoints, folders of files that hold one consistent state.
//! *Must never know*: what the bytes mean, what time it is, that there is a log or a cluster.
//!
//! Several engines stand behind one trait, [`Engine`]: [`RocksEngine`] for real, and [`MemoryEngine`], a double for
//! simulations that can lose what was not made durable; and [`LayeredEngine`] keeps in memory what was written lately, above
//! either of them. The same model test runs over all.
//!
//! # The promise on a crash
//!
//! A batch is atomic over all spaces, always: after a crash it is there as a whole or not at all, and what survives is a prefix of
//! the batches in the order in which they were written. How long that prefix is depends on each write's
//! [`Durability`]. Within one folder use [`Durability::Unlogged`] or the other two, not a mixture: what was not
//! logged is not replayed, so logged batches behind it would survive without it.

#![warn(missing_docs)]

mod batch;
mod error;
mod layered;
#[cfg(feature = "lossy-disk")]
mod lossy;
mod memory;
mod rocks;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub use batch::{Batch, Operation};
pub use error::StorageError;
pub use layered::{LayerSettings, LayeredEngine};
pub use memory::{Crash, MemoryEngine};
pub use rocks::{RocksEngine, RocksSettings};

/// The parts of an engine, each ordered by itself. RocksDB: one column family each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// The users' keys and values.
    Data,
    /// The expiry index.
    Expiry,
    /// What the state machine has to remember about itself.
    Meta,
}

impl Space {
    /// All of them.
    pub const ALL: [Space; 3] = [Space::Data, Space::Expiry, Space::Meta];

    /// Its name on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Space::Data => "data",
            Space::Expiry => "expiry",
            Space::Meta => "meta",
        }
    }
}

/// What has to be true when [`Engine::write`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The batch, and every logged one before it, survives a power cut.
    Synced,
    /// The batch survives the end of the process, but not necessarily a power cut.
    Logged,
    /// The batch may be lost until the next [`Engine::flush`]: something else (a replicated log) can bring it again.
    Unlogged,
}

/// Opens a checkpoint to read what it holds, whichever engine made it. Nothing in the folder is changed.
///
/// # Errors
/// If there is none, or it is damaged.
pub fn open_checkpoint(folder: &Path) -> Result<Arc<dyn Engine>, StorageError> {
    if MemoryEngine::is_checkpoint(folder) {
        return Ok(Arc::new(MemoryEngine::from_checkpoint(folder)?));
    }
    Ok(Arc::new(RocksEngine::open_read_only(folder)?))
}

/// Rows of a space in key order: key and value.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<(Bytes, Bytes), StorageError>> + 'a>;

/// A place that keeps ordered bytes. Shared by all threads; concurrent writes are put into some order.
pub trait Engine: Send + Sync + 'static {
    /// Carries out a batch, whole or not at all. Views taken before do not see it, views taken after do.
    ///
    /// # Errors
    /// The batch may or may not be there; the caller must not go on as if it knew.
    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError>;

    /// The state as it is now, for as long as the view is held. Keeps the engine open.
    fn view(&self) -> Result<Arc<dyn View>, StorageError>;

    /// Whether a lot of what was written lately is on its way to the disk. Whoever has large values to write, and can wait, had better wait
    /// until it is there.
    fn is_busy(&self) -> bool {
        false
    }

    /// Makes everything durable that was written before the call.
    fn flush(&self) -> Result<(), StorageError>;

    /// Writes one consistent state, which holds at least what was written before the call, into `folder`, which must not exist
    /// yet. Nothing of it is shared with the engine but hard links to files that no longer change.
    fn checkpoint(&self, folder: &Path) -> Result<(), StorageError>;

    /// About how many bytes on disk belong to the keys from `from` on (inclusive) that are below `until` (exclusive; `None` = to the
    /// end). What is still only in memory or in the log does not count.
    fn disk_bytes(&self, space: Space, from: &[u8], until: Option<&[u8]>) -> Result<u64, StorageError>;

    /// How many bytes on disk the engine takes in all, its log included.
    fn disk_bytes_total(&self) -> Result<u64, StorageError>;
}

/// A state that does not change.
pub trait View: Send + Sync + 'static {
    /// The value under a key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// Has what is known of these keys brought near, where that can be done for many at once: they are going to be read or written
    /// soon. Changes nothing.
    fn touch(&self, _space: Space, _keys: &mut dyn Iterator<Item = &[u8]>) {}

    /// The values under several keys, in the order asked.
    fn get_many(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StorageError>;

    /// The rows from `from` on (inclusive) that are below `until` (exclusive; `None` = to the end), ascending.
    fn scan(&self, space: Space, from: &[u8], until: Option<&[u8]>) -> Rows<'_>;
}

//! The double for simulations and tests: everything in memory, and a power cut on demand.
//!
//! It keeps what is durable for certain, and behind it the batches that are not. [`MemoryEngine::crash`] decides, from
//! a seed, how many of those the disk had received: RocksDB may have flushed at any moment by itself.

use std::io::{Read, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rpds::RedBlackTreeMapSync;

use crate::{Batch, Durability, Engine, Operation, Rows, Space, StorageError, View};

type Tree = RedBlackTreeMapSync<Bytes, Bytes>;

/// Batches that are not durable yet are at most so many: then the engine flushes by itself, as RocksDB does.
const PENDING_BATCHES_MAX: usize = 100_000;

/// The only file of a checkpoint.
const CHECKPOINT_FILE: &str = "state";
const CHECKPOINT_MAGIC: &[u8; 8] = b"TALONMEM";

/// How the power is cut.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    /// Decides what had reached the disk by itself.
    pub seed: u64,
    /// Whether flushes are atomic over the spaces, as the real engine asks for. Without it, each space survives up to a point of its
    /// own as far as it was unlogged: a planted bug, to see whether the judge catches it.
    pub atomic_flush: bool,
}

/// An [`Engine`] in memory. Cloning shares it.
///
/// ```
/// use talon_storage::{Batch, Crash, Durability, Engine, MemoryEngine, Space};
///
/// let engine = MemoryEngine::new();
/// let mut batch = Batch::new();
/// batch.put(Space::Data, b"key", &[b"value"]);
/// engine.write(&batch, Durability::Unlogged)?;
/// engine.flush()?;
/// let survivor = engine.crash(Crash { seed: 1, atomic_flush: true });
/// assert!(survivor.view()?.get(Space::Data, b"key")?.is_some());
/// assert!(engine.view().is_err(), "the old one is dead");
/// # Ok::<(), talon_storage::StorageError>(())
/// ```
#[derive(Clone)]
pub struct MemoryEngine {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
struct Trees([Tree; 3]);

#[derive(Default)]
struct State {
    now: Trees,
    durable: Trees,
    /// What was written since `durable`, and whether it was logged.
    pending: Vec<(Arc<Batch>, Durability)>,
    dead: bool,
}

struct MemoryView {
    trees: Trees,
}

impl Trees {
    fn apply(&mut self, batch: &Batch, only: Option<Space>) {
        for (space, operation) in batch.operations() {
            if only.is_some_and(|only| only != space) {
                continue;
            }
            let tree = &mut self.0[space as usize];
            match operation {
                Operation::Put { key, value } => {
                    tree.insert_mut(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
                }
                Operation::Delete { key } => {
                    tree.remove_mut(key);
                }
                Operation::DeleteRange { from, until } => {
                    let keys: Vec<Bytes> = range(tree, from, Some(until)).map(|(key, _)| key.clone()).collect();
                    for key in keys {
                        tree.remove_mut(&key);
                    }
                }
            }
        }
    }
}

fn range<'a>(
    tree: &'a Tree,
    from: &[u8],
    until: Option<&[u8]>,
) -> impl Iterator<Item = (&'a Bytes, &'a Bytes)> + use<'a> {
    // The tree panics on an upper end below the lower one.
    let until = until.map(|until| until.max(from));
    let upper = until.map_or(Bound::Unbounded, |until| Bound::Excluded(Bytes::copy_from_slice(until)));
    let from = Bytes::copy_from_slice(from);
    let lower = if matches!(&upper, Bound::Excluded(end) if *end == from) {
        // An empty range: both ends excluded would panic too.
        return either(None);
    } else {
        Bound::Included(from)
    };
    either(Some(tree.range::<Bytes, _>((lower, upper))))
}

fn either<I: Iterator>(rows: Option<I>) -> impl Iterator<Item = I::Item> {
    rows.into_iter().flatten()
}

impl Default for MemoryEngine {
    fn default() -> MemoryEngine {
        MemoryEngine::new()
    }
}

impl MemoryEngine {
    /// An empty one.
    pub fn new() -> MemoryEngine {
        MemoryEngine { state: Arc::default() }
    }

    fn with(trees: Trees) -> MemoryEngine {
        let state = State { now: trees.clone(), durable: trees, ..State::default() };
        MemoryEngine { state: Arc::new(Mutex::new(state)) }
    }

    /// Whether the folder is a checkpoint of such an engine.
    pub(crate) fn is_checkpoint(folder: &Path) -> bool {
        folder.join(CHECKPOINT_FILE).is_file()
    }

    /// One that starts from a checkpoint of another.
    ///
    /// # Errors
    /// If the folder holds none, or a damaged one.
    pub fn from_checkpoint(folder: &Path) -> Result<MemoryEngine, StorageError> {
        let file = folder.join(CHECKPOINT_FILE);
        let mut bytes = Vec::new();
        std::fs::File::open(&file)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|error| StorageError::Missing { folder: folder.to_path_buf(), reason: error.to_string() })?;
        let trees = decode(Bytes::from(bytes)).ok_or_else(|| StorageError::Damaged {
            folder: folder.to_path_buf(),
            reason: format!("the file {CHECKPOINT_FILE} is not what was written"),
        })?;
        Ok(MemoryEngine::with(trees))
    }

    /// Cuts the power. Returns what a restart finds; this engine fails from now on, its views keep what they saw.
    pub fn crash(&self, crash: Crash) -> MemoryEngine {
        let mut state = self.lock();
        state.dead = true;
        let mut random = crash.seed;
        // What is synced, or stands before something synced, is durable already.
        let pending = &state.pending;
        let mut trees = state.durable.clone();
        let logged = pending.iter().any(|(_, durability)| *durability != Durability::Unlogged);
        if crash.atomic_flush || logged {
            let survive = below(&mut random, pending.len());
            for (batch, _) in &pending[..survive] {
                trees.apply(batch, None);
            }
        } else {
            for space in Space::ALL {
                let survive = below(&mut random, pending.len());
                for (batch, _) in &pending[..survive] {
                    trees.apply(batch, Some(space));
                }
            }
        }
        MemoryEngine::with(trees)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and if it did the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> Result<MutexGuard<'_, State>, StorageError> {
        let state = self.lock();
        if state.dead { Err(StorageError::PowerCut) } else { Ok(state) }
    }
}

/// A number in `0..=most` (SplitMix64).
fn below(random: &mut u64, most: usize) -> usize {
    *random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *random;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) % (most as u64 + 1)) as usize
}

impl State {
    fn flush(&mut self) {
        self.durable = self.now.clone();
        self.pending.clear();
    }
}

impl Engine for MemoryEngine {
    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        let mut state = self.alive()?;
        state.now.apply(batch, None);
        if durability == Durability::Synced || state.pending.len() >= PENDING_BATCHES_MAX {
            state.flush();
        } else {
            state.pending.push((Arc::new(batch.clone()), durability));
        }
        Ok(())
    }

    fn view(&self) -> Result<Arc<dyn View>, StorageError> {
        Ok(Arc::new(MemoryView { trees: self.alive()?.now.clone() }))
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.alive()?.flush();
        Ok(())
    }

    fn checkpoint(&self, folder: &Path) -> Result<(), StorageError> {
        let trees = {
            let mut state = self.alive()?;
            state.flush();
            state.durable.clone()
        };
        let write = || {
            std::fs::create_dir(folder)?;
            let mut file = std::fs::File::create_new(folder.join(CHECKPOINT_FILE))?;
            file.write_all(&encode(&trees))?;
            file.sync_all()
        };
        write().map_err(|error| StorageError::Failed {
            folder: PathBuf::from(folder),
            doing: "write a checkpoint into",
            reason: error.to_string(),
        })
    }

    fn disk_bytes(&self, space: Space, from: &[u8], until: Option<&[u8]>) -> Result<u64, StorageError> {
        let state = self.alive()?;
        let rows = range(&state.durable.0[space as usize], from, until);
        Ok(rows.map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }

    fn disk_bytes_total(&self) -> Result<u64, StorageError> {
        Space::ALL.iter().map(|space| self.disk_bytes(*space, b"", None)).sum()
    }
}

impl View for MemoryView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.trees.0[space as usize].get(key).cloned())
    }

    fn get_many(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StorageError> {
        keys.iter().map(|key| self.get(space, key)).collect()
    }

    fn scan(&self, space: Space, from: &[u8], until: Option<&[u8]>) -> Rows<'_> {
        let rows = range(&self.trees.0[space as usize], from, until);
        Box::new(rows.map(|(key, value)| Ok((key.clone(), value.clone()))))
    }
}

/// Magic, then for each space `u64` rows, and for each row two lengths (`u32`) and the bytes; at the end the magic again, so a
/// cut file is seen.
fn encode(trees: &Trees) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(CHECKPOINT_MAGIC);
    for tree in &trees.0 {
        out.put_u64_le(tree.size() as u64);
        for (key, value) in tree {
            out.put_u32_le(key.len() as u32);
            out.put_u32_le(value.len() as u32);
            out.put_slice(key);
            out.put_slice(value);
        }
    }
    out.put_slice(CHECKPOINT_MAGIC);
    out.freeze()
}

fn decode(mut bytes: Bytes) -> Option<Trees> {
    let mut take = |count: usize| (bytes.len() >= count).then(|| bytes.split_to(count));
    let mut trees = Trees::default();
    (take(8)? == CHECKPOINT_MAGIC[..]).then_some(())?;
    for tree in &mut trees.0 {
        for _ in 0..take(8)?.get_u64_le() {
            let mut lengths = take(8)?;
            let (key_bytes, value_bytes) = (lengths.get_u32_le() as usize, lengths.get_u32_le() as usize);
            tree.insert_mut(take(key_bytes)?, take(value_bytes)?);
        }
    }
    (take(8)? == CHECKPOINT_MAGIC[..]).then_some(())?;
    bytes.is_empty().then_some(trees)
}

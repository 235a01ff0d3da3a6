//! Everything that was written between two moments.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::live::Seen;
use super::ordered::Ordered;
use super::run::{Run, Runs};
use super::table::{Found, Table, Write};
use crate::{Batch, Operation, Space};

/// How an engine hashes keys.
#[derive(Clone, Copy)]
pub(super) struct Hasher(u64);

impl Hasher {
    /// Clients choose the keys; which of them meet in one place is not for them to choose.
    pub fn random() -> Hasher {
        Hasher(RandomState::new().hash_one(0_u8))
    }

    pub fn hash(self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.0)
    }
}

/// A range that was deleted.
#[derive(Clone, Debug)]
pub(super) struct DeletedRange {
    pub space: Space,
    pub from: Bytes,
    pub until: Bytes,
    pub sequence: u64,
}

impl DeletedRange {
    pub fn covers(&self, space: Space, key: &[u8]) -> bool {
        self.space == space && *self.from <= *key && *key < *self.until
    }

    /// Whether what an operation wrote at this key is gone with the range.
    pub fn hides(&self, space: Space, key: &[u8], sequence: u64) -> bool {
        self.sequence > sequence && self.covers(space, key)
    }
}

pub(super) struct Generation {
    pub data: Table,
    expiry: Ordered,
    meta: Ordered,
    /// In the order in which they were deleted.
    ranges: RwLock<Vec<DeletedRange>>,
    ranges_count: AtomicUsize,
    runs: Mutex<Runs>,
    /// How many keys have been sorted.
    sorted: AtomicUsize,
    /// How much memory the runs take.
    runs_bytes: AtomicUsize,
}

/// So many keys are sorted at once, beside the writer, that who wants to read in order need not wait for many.
const UNSORTED_MAX: usize = 64 << 10;

impl Generation {
    pub fn new() -> Generation {
        Generation {
            data: Table::new(),
            expiry: Ordered::default(),
            meta: Ordered::default(),
            ranges: RwLock::default(),
            ranges_count: AtomicUsize::new(0),
            runs: Mutex::default(),
            sorted: AtomicUsize::new(0),
            runs_bytes: AtomicUsize::new(0),
        }
    }

    /// The rows of a space other than the data.
    pub fn ordered(&self, space: Space) -> &Ordered {
        if space == Space::Expiry { &self.expiry } else { &self.meta }
    }

    /// Carries out a batch, each step under a number of its own above `sequence`; returns the last. Only for the one writer.
    pub fn apply(&self, hasher: Hasher, batch: &Batch, mut sequence: u64, seen: &Seen<'_>) -> u64 {
        let mut writes = Vec::with_capacity(batch.len());
        for (space, operation) in batch.operations() {
            sequence += 1;
            let (key, value) = match operation {
                Operation::Put { key, value } => (key, Some(value)),
                Operation::Delete { key } => (key, None),
                Operation::DeleteRange { from, until } => {
                    let (from, until) = (Bytes::copy_from_slice(from), Bytes::copy_from_slice(until));
                    let mut ranges = self.ranges.write().unwrap_or_else(PoisonError::into_inner);
                    ranges.push(DeletedRange { space, from, until, sequence });
                    self.ranges_count.store(ranges.len(), Ordering::Release);
                    continue;
                }
            };
            match space {
                Space::Data => writes.push(Write { hash: hasher.hash(key), key, value, sequence }),
                Space::Expiry | Space::Meta => self.ordered(space).write(key, value, sequence, seen),
            }
        }
        self.data.write(&mut writes, seen);
        sequence
    }

    /// What this generation knows of the row by itself, without the ranges that were deleted.
    pub fn get(&self, space: Space, hash: u64, key: &[u8], at: u64) -> Option<Found> {
        match space {
            Space::Data => self.data.get(hash, key, at),
            Space::Expiry | Space::Meta => self.ordered(space).get(key, at),
        }
    }

    pub fn ranges_count(&self) -> usize {
        self.ranges_count.load(Ordering::Acquire)
    }

    /// The ranges of a space that a view at `at` sees as deleted here.
    pub fn ranges(&self, space: Option<Space>, at: u64) -> Vec<DeletedRange> {
        if self.ranges_count() == 0 {
            return Vec::new();
        }
        let ranges = self.ranges.read().unwrap_or_else(PoisonError::into_inner);
        let visible =
            ranges.iter().filter(|range| space.is_none_or(|space| range.space == space) && range.sequence <= at);
        visible.cloned().collect()
    }

    /// When a view at `at` saw this key deleted last with a range; 0 = never.
    pub fn deleted_at(&self, space: Space, key: &[u8], at: u64) -> u64 {
        if self.ranges_count() == 0 {
            return 0;
        }
        let ranges = self.ranges.read().unwrap_or_else(PoisonError::into_inner);
        let covering = ranges.iter().rev().find(|range| range.sequence <= at && range.covers(space, key));
        covering.map_or(0, |range| range.sequence)
    }

    /// All keys of the data, sorted.
    pub fn runs(&self) -> Vec<Arc<Run>> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        self.sorted.store(self.data.keys(), Ordering::Relaxed);
        let all = runs.all(&self.data);
        self.runs_bytes.store(all.iter().map(|run| run.memory_bytes()).sum(), Ordering::Relaxed);
        all
    }

    /// Whether enough keys have come since some were sorted last.
    pub fn wants_to_be_sorted(&self) -> bool {
        self.data.keys() >= self.sorted.load(Ordering::Relaxed) + UNSORTED_MAX
    }

    /// How much memory it takes, about.
    pub fn bytes(&self) -> usize {
        self.data.bytes() + self.expiry.bytes() + self.meta.bytes() + self.runs_bytes.load(Ordering::Relaxed)
    }
}

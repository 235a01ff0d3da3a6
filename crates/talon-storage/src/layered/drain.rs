//! Sealed generations go down to the engine below, each as a whole.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::generation::Generation;
use super::merge::Merge;
use super::run::visit_in_order;
use super::view::Base;
use super::{Shared, lock, wal};
use crate::{Batch, Durability, Space, StorageError};

/// A row that is there only while a generation is being handed over, and so never on the disk; unless the engine below had flushed
/// by itself in the midst of that (RocksDB does so when it recovers from a full disk), and the process had ended then.
pub(super) const UNDER_WAY: &[u8] = b"storage: a generation is being drained";

/// Rows are handed to the engine below in batches of about this many bytes.
const BATCH_BYTES: usize = 256 << 10;
/// How much of a drain is done when all rows are handed over: the rest is the flush.
const HANDED_OVER_PERMILLE: usize = 700;

/// What is to be drained.
#[derive(Default)]
pub(super) struct Drainage {
    /// How many generations have been sealed so far.
    pub sealed: u64,
    /// How many of them have been drained.
    pub drained: u64,
    /// For each that has not: the log file that can go when it has.
    pub wal_sequences: VecDeque<Option<u64>>,
    /// What nobody needs any more.
    pub garbage: Vec<Arc<Base>>,
    /// What draining has failed with: then nothing is known of the engine below.
    pub fault: Option<StorageError>,
    pub stopping: bool,
}

impl Drainage {
    /// How many are sealed and not drained.
    pub fn waiting(&self) -> u64 {
        self.sealed - self.drained
    }
}

/// Drains until the engine is closed.
pub(super) fn run(shared: &Shared) {
    let guard = Guard(shared);
    drain_until_closed(shared);
    std::mem::forget(guard);
}

/// Whoever waits must hear of a panic, too.
struct Guard<'a>(&'a Shared);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let reason = "the thread that drains has panicked".to_owned();
        self.0.fail(StorageError::Failed { folder: PathBuf::new(), doing: "write to", reason });
    }
}

fn drain_until_closed(shared: &Shared) {
    loop {
        let garbage = {
            let mut drainage = lock(&shared.drainage);
            while drainage.waiting() == 0
                && drainage.garbage.is_empty()
                && !drainage.stopping
                && !shared.base().generations[0].wants_to_be_sorted()
            {
                drainage = shared.drainage_changed.wait(drainage).unwrap_or_else(PoisonError::into_inner);
            }
            if drainage.fault.is_some() || (drainage.stopping && drainage.waiting() == 0) {
                return;
            }
            std::mem::take(&mut drainage.garbage)
        };
        drop(garbage);
        sort_some(shared);
        // Who waits is told of a fault by `drain_all`.
        if drain_all(shared).is_err() {
            return;
        }
    }
}

/// Who reads in order, and later the drain, finds most keys sorted.
fn sort_some(shared: &Shared) {
    let active = shared.base().generations[0].clone();
    if active.wants_to_be_sorted() {
        active.runs();
    }
}

/// Drains every sealed generation, oldest first.
pub(super) fn drain_all(shared: &Shared) -> Result<(), StorageError> {
    while lock(&shared.drainage).waiting() > 0 {
        let result = drain_one(shared);
        result.map_err(|fault| shared.fail(fault))?;
        lock(&shared.drainage).drained += 1;
        shared.drainage_changed.notify_all();
    }
    Ok(())
}

fn drain_one(shared: &Shared) -> Result<(), StorageError> {
    let base = shared.base();
    let generation = base.generations[base.undrained - 1].clone();
    drop(base);
    let inner = {
        let _below = lock(&shared.below);
        hand_over(shared, &generation)?;
        shared.inner.flush()?;
        shared.inner.view()?
    };
    let old = {
        let mut current = shared.current.write().unwrap_or_else(PoisonError::into_inner);
        let Base { generations, undrained, .. } = &*current.base;
        let (generations, undrained) = (generations.clone(), undrained - 1);
        std::mem::replace(&mut current.base, Arc::new(Base { generations, undrained, inner }))
    };
    // Not under the lock: it may be the last to hold a snapshot.
    drop(old);
    let wal_sequence = lock(&shared.drainage).wal_sequences.pop_front().flatten();
    if let (Some(sequence), Some(folder)) = (wal_sequence, &shared.wal_folder) {
        wal::remove_upto(folder, sequence)?;
    }
    Ok(())
}

/// Writes a generation's rows, in order, and first of all the ranges that were deleted in it.
fn hand_over(shared: &Shared, generation: &Arc<Generation>) -> Result<(), StorageError> {
    let mut batch = Batch::new();
    batch.put(Space::Meta, UNDER_WAY, &[]);
    let ranges = generation.ranges(None, u64::MAX);
    for range in &ranges {
        batch.delete_range(range.space, &range.from, &range.until);
    }
    let runs = generation.runs();
    let all: usize = runs.iter().map(|run| run.len()).sum();
    let mut done = 0;
    let write_full = |batch: &mut Batch, done: usize| {
        if batch.size_bytes() >= BATCH_BYTES {
            shared.inner.write(batch, Durability::Unlogged)?;
            batch.clear(BATCH_BYTES);
            shared.drained_permille.store(done * HANDED_OVER_PERMILLE / all.max(1), Ordering::Relaxed);
            if shared.settings.threads {
                sort_some(shared);
            }
        }
        Ok(())
    };
    let push = |batch: &mut Batch, space, key: &[u8], sequence, value: Option<&[u8]>| match value {
        _ if ranges.iter().any(|range| range.hides(space, key, sequence)) => {}
        Some(value) => batch.put(space, key, &[value]),
        None => batch.delete(space, key),
    };
    // Nearly all rows are data: these are neither shared nor copied on their way into the batch.
    visit_in_order(&generation.data, &runs, |key, row| {
        done += 1;
        generation.data.visit_newest(row, |sequence, value| push(&mut batch, Space::Data, key, sequence, value));
        write_full(&mut batch, done)
    })?;
    for space in [Space::Expiry, Space::Meta] {
        for (key, found) in Merge::new([generation].into_iter(), space, b"", None, u64::MAX) {
            push(&mut batch, space, &key, found.sequence, found.value.as_deref());
            write_full(&mut batch, done)?;
        }
    }
    batch.delete(Space::Meta, UNDER_WAY);
    shared.inner.write(&batch, Durability::Unlogged)
}

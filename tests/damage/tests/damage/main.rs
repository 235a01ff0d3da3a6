//! Damage, full disks, spent file descriptors: one test at a time, for each has a cluster of its own.

mod descriptors;
mod disk;
mod files;
mod tail;

use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other test of this binary runs.
fn alone() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

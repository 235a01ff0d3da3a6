//! The log's own thread: it takes what waits, writes all of it, syncs once, and tells those who wait. In a simulation, a task does
//! the same.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use talon_core::planted::{Bug, is_planted};

use super::error::LogError;
use super::index::Place;
use super::journal::Journal;
use super::state::{Shared, State, Work, Writer};

/// For so long a commit mark waits for something to be written with.
const DOZE: Duration = Duration::from_millis(50);

/// One sync covers at most about this many bytes, so that the first of many to wait is not the last to be told.
const SYNC_BYTES_MAX: u64 = 16 << 20;

/// Writes until the log is closed or fails. Blocking.
pub(super) fn run(shared: &Shared, journal: Journal) {
    // Whoever waits must hear of a panic, too.
    let result = catch_unwind(AssertUnwindSafe(|| write_until_closed(shared, journal)));
    end(shared, result.unwrap_or_else(|_| Err(LogError::Misused { what: "the log's thread has panicked".into() })));
}

/// The same as a task.
pub(super) async fn run_inline(shared: Arc<Shared>, journal: Arc<Mutex<Journal>>) {
    while let Some(work) = next_work_inline(&shared).await {
        let written = {
            let mut journal = lock(&journal);
            write(&mut journal, &work).and_then(|written| journal.flush().map(|()| written))
        };
        let result = match written {
            Ok(written) => {
                tokio::time::sleep(shared.files.sync_delay()).await;
                sync(&shared, &mut lock(&journal), &work, written)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = tell(&shared, work, result) {
            return end(&shared, Err(error));
        }
    }
}

/// What is left to write when a log is closed whose writer is a task: that will not run again.
pub(super) fn finish(shared: &Shared, journal: &Mutex<Journal>) {
    if shared.lock().writer == Writer::Gone {
        return;
    }
    let result = write_rest(shared, &mut lock(journal));
    end(shared, result);
}

fn write_rest(shared: &Shared, journal: &mut Journal) -> Result<(), LogError> {
    loop {
        let Some(work) = take(&mut shared.lock()) else { return journal.finish() };
        write_and_tell(shared, journal, work)?;
    }
}

fn lock(journal: &Mutex<Journal>) -> MutexGuard<'_, Journal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nothing is written any more.
fn end(shared: &Shared, result: Result<(), LogError>) {
    let mut state = shared.lock();
    state.writer = Writer::Gone;
    if let Err(error) = result {
        tracing::error!("the log takes nothing more: {error}");
        state.failed.get_or_insert(error);
    }
    let error = state.failed.clone().unwrap_or(LogError::Closed);
    let rest = std::mem::take(&mut state.queue);
    drop(state);
    rest.into_iter().for_each(|work| work.done(&Err(error.clone())));
    shared.room.notify_waiters();
}

fn write_until_closed(shared: &Shared, mut journal: Journal) -> Result<(), LogError> {
    while let Some(work) = next_work(shared) {
        write_and_tell(shared, &mut journal, work)?;
    }
    journal.finish()
}

/// Waits for work and takes what is there; `None` when the log is closed and all is written.
fn next_work(shared: &Shared) -> Option<Vec<Work>> {
    let mut state = shared.lock();
    // A commit mark follows most entries soon, and need not be written alone: doze for it first, then sleep.
    let mut may_doze = true;
    loop {
        let wants_sync = state.queue.iter().any(|work| !matches!(work, Work::Committed { .. }));
        if wants_sync || state.closing {
            break;
        }
        if !may_doze && !state.queue.is_empty() {
            break;
        }
        let asleep = !may_doze;
        let (woken, timed_out) = shared.sleep(state, may_doze.then_some(DOZE));
        state = woken;
        may_doze = asleep || !timed_out;
    }
    take(&mut state)
}

/// The same for a task.
async fn next_work_inline(shared: &Shared) -> Option<Vec<Work>> {
    loop {
        let waits = {
            let mut state = shared.lock();
            if state.closing {
                return None;
            }
            if state.queue.iter().any(|work| !matches!(work, Work::Committed { .. })) {
                state.writer = Writer::Busy;
                return take(&mut state);
            }
            state.writer = if state.queue.is_empty() { Writer::Asleep } else { Writer::Dozing };
            state.writer
        };
        if waits == Writer::Asleep {
            shared.work_inline.notified().await;
        } else if tokio::time::timeout(DOZE, shared.work_inline.notified()).await.is_err() {
            let mut state = shared.lock();
            state.writer = Writer::Busy;
            return take(&mut state);
        }
    }
}

/// What is written and synced together; `None` if nothing waits.
fn take(state: &mut State) -> Option<Vec<Work>> {
    let mut bytes = 0;
    let mut taken = Vec::new();
    while bytes < SYNC_BYTES_MAX
        && let Some(work) = state.queue.pop_front()
    {
        if let Work::Append { bytes: more, .. } = &work {
            bytes += more;
        }
        taken.push(work);
    }
    (!taken.is_empty()).then_some(taken)
}

fn write_and_tell(shared: &Shared, journal: &mut Journal, work: Vec<Work>) -> Result<(), LogError> {
    let result = write(journal, &work).and_then(|written| sync(shared, journal, &work, written));
    tell(shared, work, result)
}

fn tell(shared: &Shared, work: Vec<Work>, result: Result<(), LogError>) -> Result<(), LogError> {
    // First of all everybody else learns of a failure: who is told of it may ask at once.
    if let Err(error) = &result {
        shared.lock().failed.get_or_insert(error.clone());
    }
    work.into_iter().for_each(|work| work.done(&result));
    shared.room.notify_waiters();
    result
}

/// What has been written and waits for its sync.
struct Written {
    places: Vec<(u64, u32, Place)>,
    wants_sync: bool,
    purges: bool,
}

fn write(journal: &mut Journal, work: &[Work]) -> Result<Written, LogError> {
    let mut written = Written { places: Vec::new(), wants_sync: false, purges: false };
    for work in work {
        written.wants_sync |= !matches!(work, Work::Committed { .. });
        match work {
            Work::Append { entries, epoch, .. } => {
                for entry in entries {
                    written.places.push((entry.log_id.index, *epoch, journal.entry(entry)?));
                }
            }
            Work::Vote { .. } if is_planted(Bug::ForgetVote) => {}
            Work::Vote { vote, .. } => journal.vote(*vote)?,
            Work::Truncate { after, .. } => journal.truncate(*after)?,
            Work::Purge { upto } => {
                written.purges = true;
                journal.purge(*upto)?;
            }
            Work::Committed { committed } => journal.committed(*committed)?,
        }
    }
    Ok(written)
}

fn sync(shared: &Shared, journal: &mut Journal, work: &[Work], written: Written) -> Result<(), LogError> {
    let started = Instant::now();
    let planted = is_planted(Bug::AcknowledgeBeforeSync) && !work.iter().any(|work| matches!(work, Work::Vote { .. }));
    if written.wants_sync && !planted {
        journal.sync()?;
    } else {
        journal.flush()?;
    }
    let sync_us = started.elapsed().as_micros() as u64;
    let deleted = if written.purges { journal.delete_purged()? } else { Vec::new() };

    let mut state = shared.lock();
    state.add_segments(journal.segments());
    for sequence in deleted {
        state.segments.retain(|number, _| u64::from(*number) != sequence);
    }
    for (index, epoch, place) in written.places {
        state.index.settle(index, epoch, place);
    }
    for work in work {
        match work {
            Work::Append { bytes, .. } => state.unsynced_bytes -= bytes,
            Work::Vote { vote, .. } => state.marks.vote = Some(*vote),
            _ => {}
        }
    }
    state.shrink(shared.settings.memory_bytes_max);
    let counts = journal.counts();
    let metrics = &mut state.metrics;
    metrics.groups = counts.groups;
    metrics.written_bytes = counts.bytes;
    if written.wants_sync {
        metrics.syncs += 1;
        metrics.sync_us_total += sync_us;
        metrics.sync_us_max = metrics.sync_us_max.max(sync_us);
    }
    Ok(())
}

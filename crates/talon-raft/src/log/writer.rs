//! The log's own thread: it takes what waits, writes all of it, syncs once, and tells those who wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::error::LogError;
use super::index::Place;
use super::journal::Journal;
use super::state::{Shared, Work, Writer};

/// For so long a commit mark waits for something to be written with.
const DOZE: Duration = Duration::from_millis(50);

/// One sync covers at most about this many bytes, so that the first of many to wait is not the last to be told.
const SYNC_BYTES_MAX: u64 = 16 << 20;

/// Writes until the log is closed or fails.
pub(super) fn run(shared: &Shared, journal: Journal) {
    // Whoever waits must hear of a panic, too.
    let result = catch_unwind(AssertUnwindSafe(|| write_until_closed(shared, journal)));
    let failure = match result {
        Ok(result) => result.err(),
        Err(_) => Some(LogError::Misused { what: "the log's thread has panicked".into() }),
    };
    let mut state = shared.lock();
    state.writer = Writer::Gone;
    if let Some(error) = failure {
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
    let result = write(shared, journal, &work);
    // First of all everybody else learns of a failure: who is told of it may ask at once.
    if let Err(error) = &result {
        shared.lock().failed.get_or_insert(error.clone());
    }
    work.into_iter().for_each(|work| work.done(&result));
    shared.room.notify_waiters();
    result
}

fn write(shared: &Shared, journal: &mut Journal, work: &[Work]) -> Result<(), LogError> {
    let mut places: Vec<(u64, u32, Place)> = Vec::new();
    let (mut wants_sync, mut purges) = (false, false);
    for work in work {
        wants_sync |= !matches!(work, Work::Committed { .. });
        match work {
            Work::Append { entries, epoch, .. } => {
                for entry in entries {
                    places.push((entry.log_id.index, *epoch, journal.entry(entry)?));
                }
            }
            Work::Vote { vote, .. } => journal.vote(*vote)?,
            Work::Truncate { after, .. } => journal.truncate(*after)?,
            Work::Purge { upto } => {
                purges = true;
                journal.purge(*upto)?;
            }
            Work::Committed { committed } => journal.committed(*committed)?,
        }
    }
    let started = Instant::now();
    if wants_sync {
        journal.sync()?;
    } else {
        journal.flush()?;
    }
    let sync_us = started.elapsed().as_micros() as u64;
    let deleted = if purges { journal.delete_purged()? } else { Vec::new() };

    let mut state = shared.lock();
    state.add_segments(journal.segments());
    for sequence in deleted {
        state.segments.retain(|number, _| u64::from(*number) != sequence);
    }
    for (index, epoch, place) in places {
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
    if wants_sync {
        metrics.syncs += 1;
        metrics.sync_us_total += sync_us;
        metrics.sync_us_max = metrics.sync_us_max.max(sync_us);
    }
    Ok(())
}

//! What the log's handles, its readers and its writer share: the entries in memory, where the others are, and what waits
//! to be written.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use openraft::storage::IOFlushed;
use tokio::sync::{Notify, oneshot};

use super::error::LogError;
use super::files::{File, Files};
use super::format::{self, Kind, RECORD_HEADER_BYTES};
use super::index::{Index, Place};
use super::marks::Marks;
use super::recovery::Segment;
use super::{LogMetrics, LogSettings};
use crate::environment::Workers;
use crate::types::{ENTRY_HEAD_BYTES, Entry, LogId, Payload, TypeConfig, Vote, decode_entry, encode_payload};

/// No record is larger, in bytes (1 GB): offsets and lengths in a segment have 32 bits.
const RECORD_BYTES_MAX: u64 = 1 << 30;

/// What waits to be written, in the order in which it came.
pub(super) enum Work {
    Append { entries: Vec<Entry>, bytes: u64, epoch: u32, callback: IOFlushed<TypeConfig> },
    Vote { vote: Vote, done: oneshot::Sender<Result<(), LogError>> },
    Truncate { after: Option<LogId>, done: oneshot::Sender<Result<(), LogError>> },
    Purge { upto: LogId },
    Committed { committed: Option<LogId> },
}

impl Work {
    /// Tells whoever waits for it.
    pub fn done(self, result: &Result<(), LogError>) {
        match self {
            Work::Append { callback, .. } => callback.io_completed(result.clone().map_err(Into::into)),
            // Whoever asked may have been cancelled.
            Work::Vote { done, .. } | Work::Truncate { done, .. } => drop(done.send(result.clone())),
            Work::Purge { .. } | Work::Committed { .. } => {}
        }
    }
}

/// How the writer sleeps, for those who might wake it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Writer {
    /// It is at work and looks for more when it is done.
    #[default]
    Busy,
    /// It wakes up by itself soon, or at once for something that wants a sync.
    Dozing,
    /// It has nothing to do.
    Asleep,
    /// It is gone.
    Gone,
}

#[derive(Default)]
pub(super) struct State {
    pub marks: Marks,
    pub index: Index,
    /// The newest entries, without a gap up to the last: those that are not synced, and as many older ones as fit.
    recent: VecDeque<Entry>,
    recent_bytes: u64,
    /// What was appended and is not synced, in bytes.
    pub unsynced_bytes: u64,
    /// The segments' files, and what the checksums of their records begin with.
    pub segments: BTreeMap<u32, (Arc<dyn File>, u32)>,
    pub queue: VecDeque<Work>,
    pub writer: Writer,
    pub closing: bool,
    /// The first failure; it stays.
    pub failed: Option<LogError>,
    pub metrics: LogMetrics,
}

/// What [`super::LogStore`], its readers and its writer hold in common.
pub(super) struct Shared {
    pub files: Arc<dyn Files>,
    pub settings: LogSettings,
    pub workers: Workers,
    state: Mutex<State>,
    /// Wakes the writer, a thread or a task.
    work: Condvar,
    pub work_inline: Notify,
    /// Wakes appends that wait for room.
    pub room: Notify,
}

/// An entry to be read.
pub(super) enum Piece {
    /// From memory.
    Ready(Entry),
    /// From the disk.
    OnDisk { index: u64, file: Arc<dyn File>, seed: u32, place: Place, record_bytes: u64 },
}

impl Shared {
    pub fn new(files: Arc<dyn Files>, settings: LogSettings, workers: Workers, state: State) -> Shared {
        let (work, work_inline, room) = (Condvar::new(), Notify::new(), Notify::new());
        Shared { files, settings, workers, state: Mutex::new(state), work, work_inline, room }
    }

    fn wake(&self) {
        match self.workers {
            Workers::Threads => self.work.notify_one(),
            Workers::Inline => self.work_inline.notify_one(),
        }
    }

    /// The state. A thread that panicked with the lock in hand may have left it half changed: then nothing works any more.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            let mut state = poisoned.into_inner();
            state.failed.get_or_insert(LogError::Misused { what: "a thread that held the log has panicked".into() });
            state
        })
    }

    /// The state, if the log still works.
    pub fn lock_sound(&self) -> Result<MutexGuard<'_, State>, LogError> {
        let state = self.lock();
        match &state.failed {
            Some(error) => Err(error.clone()),
            None if state.closing => Err(LogError::Closed),
            None => Ok(state),
        }
    }

    /// Hands work to the writer, and lets go of the state first: a writer that is woken while it is locked goes to sleep once more.
    pub fn submit(&self, mut state: MutexGuard<'_, State>, work: Work) {
        let lazy = matches!(work, Work::Committed { .. });
        if let (Work::Committed { committed }, Some(Work::Committed { committed: last })) =
            (&work, state.queue.back_mut())
        {
            *last = *committed;
        } else {
            state.queue.push_back(work);
        }
        let wakes = state.writer == Writer::Asleep || (state.writer == Writer::Dozing && !lazy);
        if wakes {
            // Once is enough.
            state.writer = Writer::Busy;
        }
        drop(state);
        if wakes {
            self.wake();
        }
    }

    /// Tells the writer to write what waits, and to end.
    pub fn close(&self) {
        self.lock().closing = true;
        self.wake();
    }

    /// Sleeps until woken, or for as long as it says.
    pub fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        timeout: Option<std::time::Duration>,
    ) -> (MutexGuard<'a, State>, bool) {
        state.writer = if timeout.is_some() { Writer::Dozing } else { Writer::Asleep };
        let (mut state, timed_out) = match timeout {
            None => (self.work.wait(state).unwrap_or_else(PoisonError::into_inner), false),
            Some(timeout) => {
                let (state, result) = self.work.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner);
                (state, result.timed_out())
            }
        };
        state.writer = Writer::Busy;
        (state, timed_out)
    }

    /// The entries of `range` that the log has, the first ones that together stay within `bytes_max`, but at least one.
    pub fn pieces(&self, range: impl RangeBounds<u64>, bytes_max: u64) -> Result<Vec<Piece>, LogError> {
        let state = self.lock_sound()?;
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let here = state.index.range();
        let mut pieces = Vec::new();
        let mut bytes = 0;
        for index in start.max(here.start)..end.min(here.end) {
            bytes += state.index.bytes_from(index) - state.index.bytes_from(index + 1);
            if bytes > bytes_max && !pieces.is_empty() {
                break;
            }
            pieces.push(state.piece(index)?);
        }
        Ok(pieces)
    }
}

impl State {
    /// A log as it was found on the disk: no entry is in memory.
    pub fn new(marks: Marks, index: Index) -> State {
        State { marks, index, ..State::default() }
    }

    /// Takes in the segments, newest first, that are not known yet.
    pub fn add_segments<'a>(&mut self, segments: impl Iterator<Item = &'a Segment>) {
        for segment in segments {
            let Ok(number) = u32::try_from(segment.sequence) else { return };
            if self.segments.insert(number, (Arc::clone(&segment.file), segment.seed)).is_some() {
                return;
            }
        }
    }

    /// The first entry in memory.
    fn recent_first(&self) -> u64 {
        self.index.range().end - self.recent.len() as u64
    }

    fn piece(&self, index: u64) -> Result<Piece, LogError> {
        if let Some(entry) = index.checked_sub(self.recent_first()).and_then(|at| self.recent.get(at as usize)) {
            return Ok(Piece::Ready(entry.clone()));
        }
        let missing = || LogError::Missing { what: format!("entry {index} is neither in memory nor on the disk") };
        let (place, record_bytes) = self.index.place(index).ok_or_else(missing)?;
        let (file, seed) = self.segments.get(&place.segment).ok_or_else(missing)?.clone();
        Ok(Piece::OnDisk { index, file, seed, place, record_bytes })
    }

    /// Takes entries in; they can be read from now on.
    pub fn append(&mut self, entries: &[Entry], sizes: &[u64]) -> Result<(), LogError> {
        let mut marks = self.marks.clone();
        for (entry, size) in entries.iter().zip(sizes) {
            if !marks.accepts(entry.log_id.index) || *size > RECORD_BYTES_MAX {
                let (id, end) = (entry.log_id, marks.end());
                return Err(LogError::Misused {
                    what: format!("entry {id} of {size} bytes was to follow index {end}"),
                });
            }
            marks.append(entry.log_id);
        }
        if let Some(first) = entries.first() {
            self.index.begin_at(first.log_id.index);
        }
        self.marks = marks;
        for (entry, size) in entries.iter().zip(sizes) {
            self.index.push(*size);
            self.recent.push_back(entry.clone());
            self.recent_bytes += size;
        }
        Ok(())
    }

    pub fn truncate(&mut self, after: Option<LogId>) {
        self.marks.truncate(after);
        let (end, first) = (self.marks.end(), self.recent_first());
        while first + self.recent.len() as u64 > end
            && let Some(entry) = self.recent.pop_back()
        {
            self.recent_bytes -= record_bytes(&entry);
        }
        self.index.truncate(end);
    }

    pub fn purge(&mut self, upto: LogId) {
        self.marks.purge(upto);
        while self.recent_first() < self.marks.first
            && let Some(entry) = self.recent.pop_front()
        {
            self.recent_bytes -= record_bytes(&entry);
        }
        self.index.purge(self.marks.first);
    }

    /// Lets go of the oldest entries in memory that are on the disk, until the rest fits.
    pub fn shrink(&mut self, bytes_max: u64) {
        while self.recent_bytes > bytes_max
            && self.index.place(self.recent_first()).is_some()
            && let Some(entry) = self.recent.pop_front()
        {
            self.recent_bytes -= record_bytes(&entry);
        }
        if self.recent.capacity() > 1024 && self.recent.len() < self.recent.capacity() / 4 {
            self.recent.shrink_to(self.recent.len() * 2);
        }
    }

    pub fn recent_bytes(&self) -> u64 {
        self.recent_bytes
    }
}

/// How long an entry's record is.
pub(super) fn record_bytes(entry: &Entry) -> u64 {
    let payload_bytes = match &entry.payload {
        Payload::Blank => 0,
        Payload::Normal(proposal) => proposal.bytes().len(),
        Payload::Membership(_) => encode_payload(&entry.payload).1.len(),
    };
    (RECORD_HEADER_BYTES + ENTRY_HEAD_BYTES + payload_bytes) as u64
}

impl Piece {
    /// The entry; reads the disk if it must.
    pub fn load(self, files: &dyn Files) -> Result<Entry, LogError> {
        let (index, file, seed, place, record_bytes) = match self {
            Piece::Ready(entry) => return Ok(entry),
            Piece::OnDisk { index, file, seed, place, record_bytes } => (index, file, seed, place, record_bytes),
        };
        let (path, offset) = (|| files.describe(&format::segment_name(place.segment.into())), u64::from(place.offset));
        let mut record = vec![0; record_bytes as usize];
        file.read_at(offset, &mut record).map_err(|error| LogError::disk(path(), "read", error))?;
        match format::decode_record(seed, &record) {
            Ok((Kind::Entry, payload)) if payload.len() + RECORD_HEADER_BYTES == record.len() => {}
            Ok(_) => return Err(LogError::damaged(&path(), offset, format!("entry {index} is not there"))),
            Err(what) => return Err(LogError::damaged(&path(), offset, what)),
        }
        let entry = decode_entry(&Bytes::from(record).slice(RECORD_HEADER_BYTES..))
            .map_err(|error| LogError::unreadable(&path(), offset, &error))?;
        if entry.log_id.index != index {
            let found = entry.log_id.index;
            return Err(LogError::damaged(
                &path(),
                offset,
                format!("entry {found} is where entry {index} was written"),
            ));
        }
        Ok(entry)
    }
}

//! What openraft asks of a log.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{OptionalSend, RaftTypeConfig};
use tokio::sync::oneshot;

use super::LogStore;
use super::error::LogError;
use super::state::{Piece, Shared, Work, record_bytes};
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// Reads the log while others write it. Does not keep it open.
#[derive(Clone)]
pub struct LogReader {
    shared: Arc<Shared>,
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.shared().lock_sound()?;
        Ok(LogState { last_purged_log_id: state.marks.purged, last_log_id: state.marks.last })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader { shared: Arc::clone(&self.handle.shared) }
    }

    /// Returns when the vote is synced: a vote that is forgotten could be given twice.
    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, synced) = oneshot::channel();
        {
            let state = self.shared().lock_sound()?;
            self.shared().submit(state, Work::Vote { vote: *vote, done });
        }
        Ok(synced.await.unwrap_or(Err(LogError::Closed))?)
    }

    /// Comes behind the entries it speaks of, in the same files, so it is never there without them. Not worth a sync: a mark that is
    /// lost is learnt again.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut state = self.shared().lock_sound()?;
        if state.marks.committed != committed {
            state.marks.committed = committed;
            self.shared().submit(state, Work::Committed { committed });
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared().lock_sound()?.marks.committed)
    }

    /// Returns when the entries can be read; `callback` hears when they are synced. Waits only while more than
    /// `unsynced_bytes_max` wait for the disk.
    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let sizes: Vec<u64> = entries.iter().map(record_bytes).collect();
        let bytes: u64 = sizes.iter().sum();
        let shared = self.shared();
        loop {
            let room = {
                let mut state = shared.lock_sound()?;
                if state.unsynced_bytes == 0 || state.unsynced_bytes + bytes <= shared.settings.unsynced_bytes_max {
                    state.append(&entries, &sizes)?;
                    state.unsynced_bytes += bytes;
                    let epoch = state.index.epoch();
                    shared.submit(state, Work::Append { entries, bytes, epoch, callback });
                    return Ok(());
                }
                // Made under the lock, so that no notice is missed.
                shared.room.notified()
            };
            room.await;
        }
    }

    /// Returns when it is synced. openraft applies entries without waiting for the local disk: if the state could outlive a
    /// truncation that came before, the next start would find the old entries beside a state that contradicts them.
    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let (done, synced) = oneshot::channel();
        {
            let mut state = self.shared().lock_sound()?;
            state.truncate(last_log_id);
            self.shared().submit(state, Work::Truncate { after: last_log_id, done });
        }
        Ok(synced.await.unwrap_or(Err(LogError::Closed))?)
    }

    /// The entries are gone at once for readers; their files go when the purge is synced.
    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let mut state = self.shared().lock_sound()?;
        state.purge(log_id);
        self.shared().submit(state, Work::Purge { upto: log_id });
        Ok(())
    }
}

impl LogReader {
    async fn read(&self, range: impl RangeBounds<u64>, bytes_max: u64) -> Result<Vec<Entry>, LogError> {
        let pieces = self.shared.pieces(range, bytes_max)?;
        if pieces.iter().all(|piece| matches!(piece, Piece::Ready(_))) {
            return pieces.into_iter().map(|piece| piece.load(&*self.shared.files)).collect();
        }
        let files = Arc::clone(&self.shared.files);
        let read = move || pieces.into_iter().map(|piece| piece.load(&*files)).collect();
        self.shared.workers.run(read).await.unwrap_or(Err(LogError::Closed))
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Ok(self.read((range.start_bound().cloned(), range.end_bound().cloned()), u64::MAX).await?)
    }

    async fn read_vote(&mut self) -> Result<Option<<TypeConfig as RaftTypeConfig>::Vote>, io::Error> {
        Ok(self.shared.lock_sound()?.marks.vote)
    }

    /// Nothing at all if `start` has been purged: entries from later on would leave a hole in a follower's log.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let entries = self.read(start..end, self.shared.settings.read_bytes_max).await?;
        let follows = entries.first().is_none_or(|first| first.log_id.index == start);
        Ok(if follows { entries } else { Vec::new() })
    }

    /// Reads as it goes, `read_bytes_max` at a time: openraft applies through this, and what is to be applied after a start may
    /// be larger than the memory.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let reader = self.clone();
        let end = range.end_bound().cloned();
        let cursor =
            Cursor { from: range.start_bound().cloned(), ready: Vec::new().into_iter(), next: None, over: false };
        stream::unfold(cursor, move |mut cursor| {
            let reader = reader.clone();
            async move {
                let item = cursor.next(&reader, end).await?;
                cursor.over = item.is_err();
                Some((item.map_err(Into::into), cursor))
            }
        })
    }
}

/// Where a stream of entries stands.
struct Cursor {
    from: Bound<u64>,
    ready: std::vec::IntoIter<Entry>,
    /// The index that has to come next, once one has come.
    next: Option<u64>,
    over: bool,
}

impl Cursor {
    async fn next(&mut self, reader: &LogReader, end: Bound<u64>) -> Option<Result<Entry, LogError>> {
        if self.over {
            return None;
        }
        if self.ready.as_slice().is_empty() {
            match reader.read((self.from, end), reader.shared.settings.read_bytes_max).await {
                Ok(entries) => self.ready = entries.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
        let entry = self.ready.next()?;
        let index = entry.log_id.index;
        if let Some(next) = self.next.filter(|next| *next != index) {
            return Some(Err(LogError::Missing { what: format!("entry {next} has gone while it was to be read") }));
        }
        self.next = Some(index + 1);
        self.from = Bound::Included(index + 1);
        Some(Ok(entry))
    }
}

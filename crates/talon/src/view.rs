//! What a read sees: one state, with its index and its clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use talon_core::transaction::{ExpiryRows, NoteRows, Rows, Source, prefix_end};
use talon_core::value::{expiry_row, split_expiry_row};
use talon_core::{Call, Denied, Fault, Outcome, PointInTime, Record, Reply, Request, Transaction};
use talon_storage::{Engine, Space, View};

use crate::machine::fault;
use crate::state::{AppliedState, NOTE_PREFIX, note_row};

/// No expiry row at all.
pub(crate) const NO_EXPIRY: u64 = u64::MAX;

/// A fixed state. Many readers share one.
///
/// ```
/// use talon::ReadOutcome;
/// use talon_core::{Call, Reply, Request};
///
/// # let folder = tempfile::tempdir()?;
/// let db = talon::Talon::open(folder.path())?;
/// let view = db.machine().view()?;
/// db.kv()?.set(b"k", b"v", None)?;
/// let get = Call::One(Request::parse(b"GET", vec!["k".into()])?);
/// assert_eq!(view.read(&[get], 0, 0)?, ReadOutcome::Replies(vec![Reply::Null]));
/// assert_eq!((view.index(), db.machine().view()?.index()), (0, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ReadView {
    engine: Arc<dyn Engine>,
    view: Arc<dyn View>,
    applied: AppliedState,
    /// The expiry of the first row of the expiry index; [`NO_EXPIRY`] when there is no row. Known without looking, for two
    /// reasons: an empty index allows blind writes, and a seek to the index's beginning would walk over all that purges
    /// have removed there and that compaction has not.
    expiry_floor_ms: u64,
    /// Seeds for reads that have none of their own.
    seeds: AtomicU64,
}

impl std::fmt::Debug for ReadView {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ReadView").field("applied", &self.applied).finish_non_exhaustive()
    }
}

/// What reading came to.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadOutcome {
    /// One reply a call.
    Replies(Vec<Reply>),
    /// A key was met that has ended by the leader's clock but not by `T`. Bring `T` to at least this (Unix ms) through the log,
    /// then read again.
    NeedsTick(u64),
}

impl ReadView {
    /// `expiry_floor_ms` has to be exact.
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        view: Arc<dyn View>,
        applied: AppliedState,
        expiry_floor_ms: u64,
    ) -> ReadView {
        let seeds = AtomicU64::new(applied.index);
        ReadView { engine, view, applied, expiry_floor_ms, seeds }
    }

    pub(crate) fn open(engine: Arc<dyn Engine>, view: Arc<dyn View>, applied: AppliedState) -> Result<ReadView, Fault> {
        ReadView::new(engine, view, applied, 0).with_exact_floor()
    }

    /// Looks for the first row of the expiry index, from a floor that is not above it.
    pub(crate) fn with_exact_floor(self) -> Result<ReadView, Fault> {
        let first = self.expiry_rows_from(self.expiry_floor_ms).next().transpose()?;
        Ok(ReadView { expiry_floor_ms: first.map_or(NO_EXPIRY, |(expire_at_ms, _)| expire_at_ms), ..self })
    }

    fn expiry_rows_from(&self, from_ms: u64) -> ExpiryRows<'_> {
        let rows = self.view.scan(Space::Expiry, &expiry_row(from_ms, b""), None);
        Box::new(rows.map(|row| row.map_err(fault).and_then(|(row, _)| split_expiry_row(&row))))
    }

    pub(crate) fn storage(&self) -> &dyn View {
        &*self.view
    }

    pub(crate) fn expiry_floor_ms(&self) -> u64 {
        self.expiry_floor_ms
    }

    /// All that is known of it but the rows.
    pub fn applied(&self) -> &AppliedState {
        &self.applied
    }

    /// The index of the last entry it holds.
    pub fn index(&self) -> u64 {
        self.applied.index
    }

    /// The log's own name for that.
    pub fn position(&self) -> &[u8] {
        &self.applied.position
    }

    /// The replicated clock `T` there, Unix ms.
    pub fn clock_ms(&self) -> u64 {
        self.applied.clock_ms
    }

    /// The last membership there.
    pub fn membership(&self) -> &[u8] {
        &self.applied.membership
    }

    /// When the key that ends next ends, among those that have not ended by `T`. While that is due by the leader's clock, the leader
    /// has to tick.
    ///
    /// # Errors
    /// A [`Fault`] if the storage failed.
    pub fn next_expiry_ms(&self) -> Result<Option<u64>, Fault> {
        let first = self.expiries(self.applied.clock_ms).next().transpose()?;
        Ok(first.map(|(expire_at_ms, _)| expire_at_ms))
    }

    /// When the first key in the expiry index ended or ends: if by `T` already, there is something to purge. Costs nothing.
    pub fn first_expiry_ms(&self) -> Option<u64> {
        (self.expiry_floor_ms != NO_EXPIRY).then_some(self.expiry_floor_ms)
    }

    /// Carries out reads, in order. On the leader `leader_clock_ms` is its clock; elsewhere 0, and everything is judged by
    /// `T` alone. A call that would write is refused.
    ///
    /// # Errors
    /// A [`Fault`] if the storage failed.
    pub fn read(&self, calls: &[Call], leader_clock_ms: u64, seed: u64) -> Result<ReadOutcome, Fault> {
        self.read_in(Transaction::for_read(self, self.applied.clock_ms, leader_clock_ms, seed), calls)
    }

    /// The same on a node that does not lead: `T` alone decides which keys are there. What is left of their time is counted from
    /// `left_from_ms` on, if that is ahead of `T`.
    ///
    /// # Errors
    /// A [`Fault`] if the storage failed.
    pub fn read_with_left_from(&self, calls: &[Call], left_from_ms: u64, seed: u64) -> Result<ReadOutcome, Fault> {
        let transaction = Transaction::for_read(self, self.applied.clock_ms, 0, seed);
        self.read_in(transaction.with_left_from(left_from_ms), calls)
    }

    fn read_in(&self, mut transaction: Transaction<'_>, calls: &[Call]) -> Result<ReadOutcome, Fault> {
        let replies = talon_core::request::execute_reads(&mut transaction, calls)?;
        Ok(match transaction.tick_wanted_ms() {
            0 => ReadOutcome::Replies(replies),
            tick_ms => ReadOutcome::NeedsTick(tick_ms),
        })
    }
}

impl Source for ReadView {
    fn get(&self, key: &[u8]) -> Result<Option<Record>, Fault> {
        self.view.get(Space::Data, key).map_err(fault)?.map(Record::decode).transpose()
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Record>>, Fault> {
        let rows = self.view.get_many(Space::Data, keys).map_err(fault)?;
        rows.into_iter().map(|row| row.map(Record::decode).transpose()).collect()
    }

    fn rows(&self, from: &[u8], until: Option<&[u8]>) -> Rows<'_> {
        let rows = self.view.scan(Space::Data, from, until);
        Box::new(rows.map(|row| {
            let (key, stored) = row.map_err(fault)?;
            Ok((key, Record::decode(stored)?))
        }))
    }

    fn expiries(&self, after_ms: u64) -> ExpiryRows<'_> {
        match after_ms.checked_add(1) {
            Some(from_ms) if self.may_have_expiries() => self.expiry_rows_from(from_ms.max(self.expiry_floor_ms)),
            _ => Box::new(std::iter::empty()),
        }
    }

    fn may_have_expiries(&self) -> bool {
        self.expiry_floor_ms != NO_EXPIRY
    }

    fn note(&self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.view.get(Space::Meta, &note_row(key)).map_err(fault)
    }

    fn notes(&self, from: &[u8], until: &[u8]) -> NoteRows<'_> {
        let rows = self.view.scan(Space::Meta, &note_row(from), Some(&note_row(until)));
        Box::new(rows.map(|row| row.map_err(fault).map(|(row, note)| (row.slice(NOTE_PREFIX.len()..), note))))
    }

    fn disk_bytes(&self, prefix: &[u8]) -> Result<u64, Fault> {
        self.engine.disk_bytes(Space::Data, prefix, prefix_end(prefix).as_deref()).map_err(fault)
    }

    fn position(&self) -> u64 {
        self.applied.index
    }
}

impl PointInTime for ReadView {
    fn read(&self, request: &Request) -> Outcome {
        let seed = self.seeds.fetch_add(1, Ordering::Relaxed);
        let call = [Call::One(request.clone())];
        match ReadView::read(self, &call, 0, seed) {
            Ok(ReadOutcome::Replies(mut replies)) => {
                replies.pop().ok_or_else(|| Denied::Fault("a read was not answered".into()))
            }
            // Judged by `T` alone, nothing asks for a tick.
            Ok(ReadOutcome::NeedsTick(_)) => Err(Denied::Fault("a point in time asked for a tick".into())),
            Err(fault) => Err(Denied::Fault(fault.0)),
        }
    }

    fn index(&self) -> u64 {
        self.applied.index
    }

    fn clock_ms(&self) -> u64 {
        self.applied.clock_ms
    }
}

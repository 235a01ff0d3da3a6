//! The replicated state machine: entries go in, one after the other; replies and a new state come out.
//!
//! There is one mutator. Entries that are applied together become one storage batch: data, expiry index,
//! applied position, membership and clock. So a crash at any moment leaves exactly one position, and the rows
//! that belong to it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use talon_core::entry::{self, Carried, Work};
use talon_core::limits::KEY_BYTES_MAX;
use talon_core::value::HEADER_BYTES;
use talon_core::{Call, Change, Fault, Listeners, LocalWatch, Reply, Source, Transaction, Watches};
use talon_storage::{Batch, Durability, Engine, Space, StorageError};

use crate::state::{self, AppliedState, note_row};
use crate::view::{NO_EXPIRY, ReadView};

/// The memory of a batch that is kept for the next one.
const BATCH_KEEP_BYTES_MAX: usize = 1 << 20;

/// Once what is applied together holds so many bytes, it is committed before the next entry is carried out.
const LUMP_BYTES_MAX: u64 = 64 << 20;

/// What so many calls read is brought near at a time: more would be gone again before it is read.
const TOUCHED_CALLS: usize = 64;
/// Fewer requests than this are not worth a look ahead.
const TOUCHED_REQUESTS_MIN: usize = 8;

/// One entry of the log.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Its place in the log: one more than the entry before.
    pub index: u64,
    /// The log's own name for that place; kept, never looked into.
    pub position: Vec<u8>,
    /// What it carries.
    pub content: Content<'a>,
    /// Whether somebody waits for the replies. Without, [`Machine::apply`] returns none for this entry.
    pub want_replies: bool,
}

/// What an entry carries.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// Nothing: a leader's first entry.
    Blank,
    /// The cluster's new membership; kept, never looked into.
    Membership(Vec<u8>),
    /// A proposal.
    Calls {
        /// The leader's clock, Unix ms. The clock `T` is raised to it first.
        stamp_ms: u64,
        /// For commands that need randomness.
        seed: u64,
        /// What to carry out. Reads among them are answered at their place (read points).
        calls: &'a [Call],
    },
}

/// Why a state could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The storage could not.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A newer Talon wrote it.
    #[error("the data has format version {found}; this build reads up to {supported}: open it with a newer Talon")]
    Newer {
        /// What was found.
        found: u32,
        /// What this build knows.
        supported: u32,
    },
    /// What is there is not a whole state.
    #[error("the data is damaged: {0}")]
    Damaged(String),
}

/// The state machine. Share it as you like: applying is serialised, reading is not held up by it.
///
/// ```
/// use std::sync::Arc;
/// use talon::machine::{Content, Entry, Machine};
/// use talon_core::{Call, Reply, Request};
/// use talon_storage::MemoryEngine;
///
/// let machine = Machine::open(Arc::new(MemoryEngine::new()))?;
/// let call = Call::One(Request::parse(b"SET", vec!["k".into(), "v".into()])?);
/// let content = Content::Calls { stamp_ms: 1_000, seed: 0, calls: &[call] };
/// let replies = machine.apply(&[Entry { index: 1, position: b"1".to_vec(), content, want_replies: true }])?;
/// assert_eq!(replies, [[Reply::Ok]]);
/// assert_eq!((machine.applied().index, machine.applied().clock_ms), (1, 1_000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Machine {
    engine: Arc<dyn Engine>,
    durability: Durability,
    mutator: Mutex<Mutator>,
    /// The newest state, for everybody who reads until the next commit.
    newest: RwLock<Arc<ReadView>>,
    watches: Arc<Watches>,
    listeners: Arc<Listeners>,
    expired_keys: AtomicU64,
}

/// What only the one who applies has.
struct Mutator {
    batch: Batch,
    expiry_rows: Vec<(u64, Bytes, bool)>,
    /// Set once something went wrong: what is stored is no longer known, so nothing may be added.
    fault: Option<Fault>,
    format_stored: bool,
}

impl Machine {
    /// Opens a state that a log stands behind: what is applied becomes durable with [`Machine::flush`], and after a crash the log
    /// brings again what was lost.
    ///
    /// # Errors
    /// If the engine fails, holds something damaged, or something newer.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Machine, OpenError> {
        Machine::open_with(engine, Durability::Unlogged)
    }

    /// Opens a state whose every apply is as durable as said.
    ///
    /// # Errors
    /// As [`Machine::open`].
    pub fn open_with(engine: Arc<dyn Engine>, durability: Durability) -> Result<Machine, OpenError> {
        let view = engine.view()?;
        let stored = state::load(&*view)?;
        let format_stored = stored.is_some();
        let newest = ReadView::open(engine.clone(), view, stored.unwrap_or_default())
            .map_err(|fault| OpenError::Damaged(fault.0))?;
        Ok(Machine {
            engine,
            durability,
            mutator: Mutex::new(Mutator { batch: Batch::new(), expiry_rows: Vec::new(), fault: None, format_stored }),
            newest: RwLock::new(Arc::new(newest)),
            watches: Arc::default(),
            listeners: Arc::default(),
            expired_keys: AtomicU64::new(0),
        })
    }

    /// The same, in the place of a state that nothing is applied to any more: it tells the same listeners, and counts on from there.
    #[must_use]
    pub fn in_place_of(self, old: &Machine) -> Machine {
        let expired_keys = AtomicU64::new(old.expired_keys());
        Machine { listeners: old.listeners.clone(), expired_keys, ..self }
    }

    /// Who is told of messages.
    pub fn listeners(&self) -> &Arc<Listeners> {
        &self.listeners
    }

    /// How many keys that had ended were removed since the process began, each once.
    pub fn expired_keys(&self) -> u64 {
        self.expired_keys.load(Ordering::Relaxed)
    }

    /// What was applied last. All zero and empty when nothing was.
    pub fn applied(&self) -> AppliedState {
        self.newest().applied().clone()
    }

    /// The newest state to read from. Everybody who asks between two commits gets the same one; it has what was applied by every
    /// [`Machine::apply`] that returned before the call.
    ///
    /// # Errors
    /// None today; a view that must be made on demand could fail.
    pub fn view(&self) -> Result<Arc<ReadView>, Fault> {
        Ok(self.newest())
    }

    fn newest(&self) -> Arc<ReadView> {
        // The lock guards one pointer: a panic elsewhere cannot leave it half set.
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has `keys` watched, from when [`Machine::begin_watch`] says.
    pub fn watch(&self, keys: &[Bytes]) -> LocalWatch {
        self.watches.watch(keys)
    }

    /// Begins a watch, from the state on that is returned, by which it is still to be judged. `None` = ask again in a moment.
    pub fn begin_watch(&self, watch: &LocalWatch) -> Option<Arc<ReadView>> {
        watch.begin(|| self.newest())
    }

    /// Whether no key is watched.
    pub fn is_unwatched(&self) -> bool {
        self.watches.is_empty()
    }

    fn mutator(&self) -> Result<MutexGuard<'_, Mutator>, Fault> {
        let mutator = self.mutator.lock().map_err(|_| Fault("applying panicked before".into()))?;
        match &mutator.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(mutator),
        }
    }

    /// Carries out the entries in order and commits them, in one batch unless they write much. Returns the replies of each entry that wants
    /// them (of the others, and of entries without calls, none). If there are fewer than calls, those behind were not carried out: the entry
    /// had written enough ([`talon_core::entry`]).
    ///
    /// # Errors
    /// A [`Fault`] if the storage failed, or the entries do not follow on what is applied. Nothing can be applied afterwards: the state must be
    /// opened anew.
    pub fn apply(&self, entries: &[Entry<'_>]) -> Result<Vec<Vec<Reply>>, Fault> {
        let mut mutator = self.mutator()?;
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let result = self.apply_as(&mut mutator, entries);
        if let Err(fault) = &result {
            mutator.fault = Some(fault.clone());
            // Whoever wants to watch must not wait for the end of this.
            self.watches.end(None, || {});
        }
        result
    }

    fn apply_as(&self, mutator: &mut Mutator, entries: &[Entry<'_>]) -> Result<Vec<Vec<Reply>>, Fault> {
        let mut all_replies = Vec::with_capacity(entries.len());
        while all_replies.len() < entries.len() {
            let rest = &entries[all_replies.len()..];
            let mut too_large = None;
            loop {
                match self.apply_lump(mutator, rest, too_large)? {
                    Lump::Committed(mut replies) => break all_replies.append(&mut replies),
                    // At most once, for the lump ends with that entry.
                    Lump::TooLarge(at) => too_large = Some(at),
                }
            }
        }
        Ok(all_replies)
    }

    /// Carries out and commits the first entries, as many as are applied together. `too_large`: the entry and the place in it of a transaction that
    /// is known to write too much.
    fn apply_lump(
        &self,
        mutator: &mut Mutator,
        entries: &[Entry<'_>],
        too_large: Option<(usize, usize)>,
    ) -> Result<Lump, Fault> {
        let before = self.newest();
        let mut applied = before.applied().clone();
        let mut transaction = Transaction::new(&*before, applied.clock_ms);
        if self.watches.begin() {
            transaction.keep_touches();
        }
        let mut all_replies = Vec::with_capacity(entries.len());
        for (number, entry) in entries.iter().enumerate() {
            if !applied.is_nothing() && entry.index != applied.index + 1 {
                return Err(Fault(format!("entry {} cannot follow on entry {}", entry.index, applied.index)));
            }
            let mut replies = Vec::new();
            let refused = too_large.filter(|(at, _)| *at == number).map(|(_, place)| place);
            match &entry.content {
                Content::Blank => {}
                Content::Membership(membership) => applied.membership.clone_from(membership),
                Content::Calls { stamp_ms, seed, calls } => {
                    transaction.set_position(entry.index);
                    let look_ahead = |place: usize| {
                        if place.is_multiple_of(TOUCHED_CALLS) {
                            touch(&before, &calls[place..calls.len().min(place + TOUCHED_CALLS)]);
                        }
                    };
                    let (stamp_ms, seed, want_replies) = (*stamp_ms, *seed, entry.want_replies);
                    let work = Work { stamp_ms, seed, calls, want_replies };
                    match entry::carry_out(&mut transaction, work, refused, look_ahead)? {
                        Carried::Replies(all) => replies = all,
                        Carried::TooLarge(place) => return Ok(Lump::TooLarge((number, place))),
                    }
                }
            }
            applied.index = entry.index;
            applied.position.clone_from(&entry.position);
            all_replies.push(replies);
            if refused.is_some() || transaction.held_bytes() >= LUMP_BYTES_MAX {
                break;
            }
        }
        applied.clock_ms = transaction.clock_ms();
        self.commit(mutator, &before, transaction, applied)?;
        Ok(Lump::Committed(all_replies))
    }

    fn commit(
        &self,
        mutator: &mut Mutator,
        before: &ReadView,
        mut transaction: Transaction<'_>,
        applied: AppliedState,
    ) -> Result<(), Fault> {
        let (touches, published) = (transaction.take_touches(), transaction.take_published());
        let expired_keys = transaction.expired_keys();
        let Mutator { batch, expiry_rows, .. } = mutator;
        batch.clear(BATCH_KEEP_BYTES_MAX);
        expiry_rows.clear();
        let mut floor_ms = before.expiry_floor_ms();
        let mut failed = None;
        transaction.into_changes(|change| {
            match change {
                Change::Put(key, record) => {
                    let header: [u8; HEADER_BYTES] = record.expire_at_ms.to_be_bytes();
                    batch.put(Space::Data, &key, &[&header, &record.value]);
                }
                Change::Delete(key) => batch.delete(Space::Data, &key),
                Change::AddExpiry(expire_at_ms, key) => expiry_rows.push((expire_at_ms, key, true)),
                Change::RemoveExpiry(expire_at_ms, key) => expiry_rows.push((expire_at_ms, key, false)),
                Change::DeleteRange { from, until } => {
                    let until = match until {
                        Some(until) => until,
                        None => match past_all_keys(before) {
                            Ok(until) => until,
                            Err(fault) => {
                                failed = Some(fault);
                                return;
                            }
                        },
                    };
                    batch.delete_range(Space::Data, &from, &until);
                }
                Change::ClearExpiries => {
                    // What comes before would go too.
                    expiry_rows.clear();
                    batch.delete_range(Space::Expiry, b"", &NO_EXPIRY.to_be_bytes());
                    floor_ms = NO_EXPIRY;
                }
                Change::PutNote(key, note) => batch.put(Space::Meta, &note_row(&key), &[&note]),
                Change::DeleteNote(key) => batch.delete(Space::Meta, &note_row(&key)),
            }
        });
        if let Some(fault) = failed {
            return Err(fault);
        }
        // The index is sorted by time. A row that is both removed and added stays: the removals of a
        // row sort before its additions, which is the order that a transaction has them in.
        expiry_rows.sort_unstable();
        let mut floor_may_rise = false;
        for (expire_at_ms, key, add) in expiry_rows.iter() {
            let row = talon_core::value::expiry_row(*expire_at_ms, key);
            if *add {
                batch.put(Space::Expiry, &row, &[]);
                floor_ms = floor_ms.min(*expire_at_ms);
            } else {
                batch.delete(Space::Expiry, &row);
                floor_may_rise |= *expire_at_ms <= before.expiry_floor_ms();
            }
        }
        state::store(batch, &applied, !mutator.format_stored);
        self.engine.write(batch, self.durability).map_err(fault)?;
        mutator.format_stored = true;
        mutator.expiry_rows.clear();
        self.expired_keys.fetch_add(expired_keys, Ordering::Relaxed);

        // Nobody else writes, so this is the state of exactly `applied`.
        let view = self.engine.view().map_err(fault)?;
        let next = ReadView::new(self.engine.clone(), view, applied, floor_ms);
        let next = if floor_may_rise { next.with_exact_floor()? } else { next };
        let next = Arc::new(next);
        self.watches.end(touches, || *self.newest.write().unwrap_or_else(PoisonError::into_inner) = next);
        self.listeners.tell(&published);
        Ok(())
    }

    /// Whether large values had better wait until what was applied lately is on the disk.
    pub fn is_busy(&self) -> bool {
        self.engine.is_busy()
    }

    /// Makes durable what is applied so far, and returns it: after a crash, no earlier state will be found.
    ///
    /// # Errors
    /// A [`Fault`] if the storage failed.
    pub fn flush(&self) -> Result<AppliedState, Fault> {
        let applied = self.applied();
        self.engine.flush().map_err(fault)?;
        Ok(applied)
    }

    /// Writes one whole state into `folder`, which must not exist, and returns which one it is, as read from the files there. It is at least
    /// as new as what was applied at the call. Applying goes on meanwhile.
    ///
    /// # Errors
    /// If the storage could not write it, or could not read it again.
    pub fn checkpoint(&self, folder: &Path) -> Result<AppliedState, OpenError> {
        self.engine.checkpoint(folder)?;
        Machine::read_checkpoint(folder)
    }

    /// Which state a checkpoint holds, as read from its own files.
    ///
    /// # Errors
    /// If there is none, or it is damaged or newer than this build.
    pub fn read_checkpoint(folder: &Path) -> Result<AppliedState, OpenError> {
        let engine = talon_storage::open_checkpoint(folder)?;
        let view = engine.view()?;
        state::load(&*view)?.ok_or_else(|| OpenError::Damaged("the checkpoint holds no applied state".into()))
    }

    /// The bytes on disk that the state takes in all.
    ///
    /// # Errors
    /// A [`Fault`] if the storage failed.
    pub fn disk_bytes_total(&self) -> Result<u64, Fault> {
        self.engine.disk_bytes_total().map_err(fault)
    }
}

/// What became of entries that are applied together.
enum Lump {
    /// They are committed; the replies of each.
    Committed(Vec<Vec<Reply>>),
    /// Nothing is: in this entry, the call at this place writes too much.
    TooLarge((usize, usize)),
}

/// Has the keys that are read by these calls brought near, all at once. A plain SET reads nothing, unless it has to know whether
/// what it writes over has an expiry.
fn touch(view: &ReadView, calls: &[Call]) {
    let count = |call: &Call| match call {
        Call::One(_) => 1,
        Call::Transaction(requests) => requests.len(),
    };
    if calls.iter().map(count).sum::<usize>() < TOUCHED_REQUESTS_MIN {
        return;
    }
    let blind_sets = !view.may_have_expiries();
    let requests = calls.iter().flat_map(|call| match call {
        Call::One(request) => std::slice::from_ref(request),
        Call::Transaction(requests) => requests.as_slice(),
    });
    let reading = requests.filter(|request| {
        !(blind_sets && request.command.id == talon_core::commands::strings::SET.id && request.args.len() == 2)
    });
    view.storage().touch(Space::Data, &mut reading.filter_map(|request| request.keys().next().map(|key| &**key)));
}

/// A key above all that are stored: a short one wherever possible, for the storage keeps the ends of deleted ranges.
fn past_all_keys(view: &ReadView) -> Result<Bytes, Fault> {
    let mut end = vec![0xFF];
    while end.len() <= KEY_BYTES_MAX && view.rows(&end, None).next().transpose()?.is_some() {
        end.resize((end.len() * 4).min(KEY_BYTES_MAX + 1), 0xFF);
    }
    Ok(end.into())
}

/// Below the state machine there is no way to go on.
pub(crate) fn fault(error: StorageError) -> Fault {
    Fault(error.to_string())
}

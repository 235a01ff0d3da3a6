//! The state machine behind the log: a thread that applies, the folders the state lives in, checkpoints made and installed.
//!
//! In the state's folder: `CURRENT` names the live folder (`live-N`), which is replaced as a whole when a checkpoint is
//! installed; `checkpoint-INDEX` is the newest checkpoint; `incoming` is what is being received. After a crash everything
//! that `CURRENT` does not name, except a complete checkpoint, is thrown away.

mod handle;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use openraft::storage::SnapshotMeta;
use talon::{Content, Machine, ReadView};
use talon_core::planted::{Bug, is_planted};
use talon_core::proposal::stamp_and_seed;
use talon_core::{Call, Denied, Fault, Proposal, Reply, StateHash};
use talon_storage::{Batch, Durability, Engine, Space, StorageError};
use tokio::sync::watch;

use crate::checkpoint::{Checkpoint, Transfers, remove_folder};
use crate::environment::{Disks, Environment, Observer, Workers};
use crate::pending::{Pending, Ticket};
use crate::pointer;
use crate::types::{Entry, LogId, NodeAddress, Payload, StoredMembership, log_id};

pub(crate) use handle::Raft;
pub use handle::StateMachine;

/// How many state hashes are remembered.
const HASHES_MAX: usize = 16;

type Meta = SnapshotMeta<crate::types::LeaderId, u64, NodeAddress>;

/// The state that is live now.
pub struct Live {
    /// The state machine.
    pub machine: Machine,
    folder: PathBuf,
    /// Gone when the machine and every view of it are: then nobody reads the files any more.
    engine: Weak<dyn Engine>,
}

/// Where the state and its checkpoints are.
pub struct Stores {
    folder: PathBuf,
    memory_bytes: usize,
    disks: Arc<dyn Disks>,
    /// Where work is done that blocks.
    pub workers: Workers,
    observer: Option<Arc<dyn Observer>>,
    /// The file that said, before it was opened, what belongs to the state.
    manifest: PathBuf,
    live: RwLock<Arc<Live>>,
    checkpoint: Mutex<Option<Checkpoint>>,
    /// Held while a checkpoint is made or installed: two at once would take each other's files away, and one of a state that has been
    /// replaced must not become the newest.
    changing: Mutex<()>,
    /// Replaced states that somebody may still be reading.
    replaced: Mutex<Vec<(Weak<dyn Engine>, PathBuf)>>,
    received: AtomicU64,
    /// Which nodes are being sent a checkpoint.
    pub transfers: Arc<Transfers>,
    /// What this node proposed.
    pub pending: Arc<Pending>,
    hashes: Mutex<BTreeMap<u64, StateHash>>,
    applied_term: AtomicU64,
    /// The last index applied.
    applied_index: watch::Sender<u64>,
    fault: watch::Sender<Option<String>>,
}

impl Stores {
    /// Opens the state in `folder`, or begins an empty one.
    ///
    /// # Errors
    /// If what is there cannot be read, or is damaged.
    pub fn open(
        folder: &Path,
        memory_bytes: usize,
        environment: &Environment,
        fault: watch::Sender<Option<String>>,
    ) -> Result<Stores, Fault> {
        let io = |error: io::Error| Fault(format!("{}: {error}", folder.display()));
        fs::create_dir_all(folder).map_err(io)?;
        let current = pointer::read_or_begin(folder)?;
        let transfers = Arc::new(Transfers::default());
        let checkpoint = tidy_up(folder, &current, &transfers).map_err(io)?;
        let manifest = manifest(&folder.join(&current));
        let live = open_live(folder.join(&current), memory_bytes, &*environment.disks)?;
        let stores = Stores {
            folder: folder.to_owned(),
            memory_bytes,
            disks: environment.disks.clone(),
            workers: environment.workers,
            observer: environment.observer.clone(),
            manifest,
            live: RwLock::new(Arc::new(live)),
            checkpoint: Mutex::new(checkpoint),
            changing: Mutex::default(),
            replaced: Mutex::default(),
            received: AtomicU64::new(0),
            transfers,
            pending: Arc::default(),
            hashes: Mutex::default(),
            applied_term: AtomicU64::new(0),
            applied_index: watch::Sender::new(0),
            fault,
        };
        stores.note_opened()?;
        Ok(stores)
    }

    /// The live state.
    pub fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The file that said, when this node started, what belongs to the state; for a message.
    pub fn manifest(&self) -> &Path {
        &self.manifest
    }

    /// The newest consistent view of it.
    ///
    /// # Errors
    /// A storage fault, which also stops the node.
    pub fn view(&self) -> Result<Arc<ReadView>, Fault> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.machine.view().inspect_err(|fault| self.fail(fault))
    }

    /// Who votes, by the applied membership.
    ///
    /// # Errors
    /// If the stored membership cannot be read.
    pub fn voters(&self) -> Result<Vec<u64>, Fault> {
        let membership = decode_membership(&self.live().machine.applied().membership)?;
        Ok(membership.voter_ids().collect())
    }

    /// The term of the last applied entry.
    pub fn applied_term(&self) -> u64 {
        self.applied_term.load(Ordering::Acquire)
    }

    /// The last index applied.
    pub fn applied_index(&self) -> u64 {
        *self.applied_index.borrow()
    }

    /// Waits until this index is applied, but no longer than `time_max`; gives the last one that is.
    pub async fn reached(&self, index: u64, time_max: Duration) -> u64 {
        let mut applied = self.applied_index.subscribe();
        // Whether in time, the index tells.
        let _ = tokio::time::timeout(time_max, applied.wait_for(|applied| *applied >= index)).await;
        self.applied_index()
    }

    /// Another state is the live one now.
    fn note_opened(&self) -> Result<(), Fault> {
        let view = self.live().machine.view()?;
        self.applied_term.store(term_of(&view)?, Ordering::Release);
        self.applied_index.send_replace(view.index());
        if let Some(observer) = &self.observer {
            observer.opened(&view);
        }
        Ok(())
    }

    /// The node has met a storage fault and must stop.
    pub fn fail(&self, fault: &Fault) {
        self.fault.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                tracing::error!(%fault, "a storage fault: this node stops");
                *known = Some(fault.0.clone());
            }
            first
        });
    }

    fn checkpoint(&self) -> MutexGuard<'_, Option<Checkpoint>> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log index of the newest checkpoint.
    pub fn checkpoint_index(&self) -> Option<u64> {
        self.checkpoint().as_ref().map(Checkpoint::index)
    }

    /// Where the next checkpoint to be received is put together; each in a folder of its own, for what is left of one that was broken off
    /// may go later.
    pub fn incoming_folder(&self) -> PathBuf {
        self.folder.join(format!("incoming-{}", self.received.fetch_add(1, Ordering::Relaxed)))
    }

    /// Removes replaced states that nobody reads any more.
    pub fn remove_replaced(&self) {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, folder) in replaced.extract_if(.., |(engine, _)| engine.strong_count() == 0) {
            if let Err(error) = remove_folder(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "an old state folder cannot be removed");
            }
        }
    }

    /// The state hash at the mark at this log index, once it is computed.
    pub fn state_hash(&self, index: u64) -> Option<StateHash> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).get(&index).cloned()
    }

    /// Makes a checkpoint of the live state, or gives the newest one if nothing was applied since. Blocking.
    fn make_checkpoint(&self) -> Result<Option<(Meta, Checkpoint)>, Fault> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.live();
        let applied = live.machine.applied();
        if decode_position(&applied.position)?.is_none() {
            return Ok(None);
        }
        let newest = self.checkpoint().clone();
        if let Some(newest) = newest.filter(|newest| newest.index() == applied.index) {
            return Ok(Some((read_meta(&newest.folder())?, newest)));
        }
        let temporary = self.folder.join("making");
        let io = |error: io::Error| Fault(format!("{}: {error}", self.folder.display()));
        if temporary.exists() {
            fs::remove_dir_all(&temporary).map_err(io)?;
        }
        let at = live.machine.checkpoint(&temporary).map_err(|error| Fault(error.to_string()))?;
        let folder = self.folder.join(format!("checkpoint-{}", at.index));
        if folder.exists() {
            fs::remove_dir_all(&temporary).map_err(io)?;
        } else {
            fs::File::open(&temporary).and_then(|file| file.sync_all()).map_err(io)?;
            fs::rename(&temporary, &folder).map_err(io)?;
            fs::File::open(&self.folder).and_then(|file| file.sync_all()).map_err(io)?;
        }
        let checkpoint = Checkpoint::new(folder.clone(), at.index, self.transfers.clone());
        self.replace_checkpoint(checkpoint.clone());
        tracing::info!(index = at.index, "made a checkpoint");
        Ok(Some((read_meta(&folder)?, checkpoint)))
    }

    fn replace_checkpoint(&self, checkpoint: Checkpoint) {
        let old = self.checkpoint().replace(checkpoint.clone());
        if let Some(old) = old.filter(|old| old.folder() != checkpoint.folder()) {
            old.supersede();
        }
    }

    /// Reads what a received folder says of itself.
    ///
    /// # Errors
    /// If it is no whole checkpoint.
    pub async fn open_received(&self, folder: PathBuf) -> Result<(Meta, Checkpoint), Fault> {
        let transfers = self.transfers.clone();
        let open = move || {
            let meta = read_meta(&folder)?;
            let index = meta.last_log_id.map_or(0, |position| position.index);
            let checkpoint = Checkpoint::new(folder, index, transfers);
            // Installing takes the folder away; if it is not wanted, it goes with the handle.
            checkpoint.supersede();
            Ok((meta, checkpoint))
        };
        self.workers.run(open).await.map_err(|error| Fault(error.to_string()))?
    }

    /// Makes a received checkpoint the live state: rename, then one pointer. Blocking.
    fn install(&self, received: &Checkpoint) -> Result<(), Fault> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let io = |error: io::Error| Fault(format!("{}: {error}", self.folder.display()));
        let sync_folder = || fs::File::open(&self.folder).and_then(|file| file.sync_all()).map_err(io);
        let old = self.live();
        let number: u64 =
            old.folder.file_name().and_then(|name| name.to_str()?.strip_prefix("live-")?.parse().ok()).unwrap_or(0);
        let name = format!("live-{}", number + 1);
        let folder = self.folder.join(&name);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(io)?;
        }
        let source = received.folder();
        fs::rename(&source, &folder).map_err(io)?;
        sync_folder()?;
        let mut live = open_live(folder, self.memory_bytes, &*self.disks)?;
        live.machine = live.machine.in_place_of(&old.machine);
        // What was made of the old state is older than what is installed, and the log behind it will be gone: after a kill, too, it must not
        // be taken for the newest. If nobody is being sent it, it goes now; else when the transfer is over, under a name that says nothing.
        // What is installed may be that very checkpoint, where the state lost its end and is behind it.
        let outdated = self.checkpoint().take().filter(|checkpoint| checkpoint.folder() != source);
        if let Some(checkpoint) = outdated {
            checkpoint.withdraw().map_err(io)?;
        }
        if !is_planted(Bug::LosePositionOnInstall) {
            pointer::write(&self.folder, &name).map_err(io)?;
        }
        let old = std::mem::replace(&mut *self.live.write().unwrap_or_else(PoisonError::into_inner), Arc::new(live));
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.push((old.engine.clone(), old.folder.clone()));
        drop((replaced, old));
        self.note_opened()?;
        tracing::info!(index = self.live().machine.applied().index, "installed a checkpoint");
        Ok(())
    }

    /// Planted: the rows of a checkpoint are there before its position and its clock.
    fn open_half(&self, received: &Checkpoint) -> Result<(), Fault> {
        let failed = |error: StorageError| Fault(error.to_string());
        let old = self.live();
        if old.machine.applied().is_nothing() {
            return Ok(());
        }
        let rows =
            talon_storage::open_checkpoint(&received.folder()).and_then(|engine| engine.view()).map_err(failed)?;
        let mut batch = Batch::new();
        for row in rows.scan(Space::Data, b"", None) {
            let (key, stored) = row.map_err(failed)?;
            batch.put(Space::Data, &key, &[&stored]);
        }
        let Some(engine) = old.engine.upgrade() else { return Ok(()) };
        engine.write(&batch, Durability::Unlogged).map_err(failed)?;
        let machine = Machine::open(engine).map_err(|error| Fault(error.to_string()))?;
        let machine = machine.in_place_of(&old.machine);
        let half = Live { machine, folder: old.folder.clone(), engine: old.engine.clone() };
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(half);
        Ok(())
    }

    /// Carries out a lump of entries in one storage batch, and answers those that were proposed here.
    fn apply(self: &Arc<Stores>, entries: Vec<Entry>) -> Result<(), Fault> {
        let mut prepared = Vec::with_capacity(entries.len());
        for entry in entries {
            prepared.push(Prepared::new(entry, &self.pending)?);
        }
        // A mark wants the state exactly behind it, so it ends a batch.
        let ends = |entry: &Prepared| {
            entry.is_mark() || self.observer.as_ref().is_some_and(|observer| observer.stops_at(entry.position.index))
        };
        let mut rest = prepared.as_mut_slice();
        while !rest.is_empty() {
            let end = rest.iter().position(ends);
            let (batch, behind) = rest.split_at_mut(end.map_or(rest.len(), |end| end + 1));
            let marked = batch.last().is_some_and(Prepared::is_mark);
            self.apply_batch(batch)?;
            if marked {
                self.hash_state()?;
            }
            rest = behind;
        }
        Ok(())
    }

    fn apply_batch(&self, batch: &mut [Prepared]) -> Result<(), Fault> {
        let entries: Vec<talon::Entry<'_>> = batch.iter().map(Prepared::to_entry).collect();
        let live = self.live();
        let replies = live.machine.apply(&entries)?;
        if let Some(observer) = &self.observer {
            observer.applied(&entries, &*live.machine.view()?);
        }
        drop(entries);
        if let Some(last) = batch.last() {
            self.applied_term.store(last.position.leader_id.term, Ordering::Release);
            self.applied_index.send_replace(last.position.index);
        }
        for (prepared, replies) in batch.iter_mut().zip(replies) {
            prepared.answer(replies, &self.pending);
        }
        Ok(())
    }

    /// Computes the hash of the state as it is now, beside the work that goes on.
    fn hash_state(self: &Arc<Stores>) -> Result<(), Fault> {
        let (stores, view) = (self.clone(), self.live().machine.view()?);
        let compute = move || match talon::state_hash(&view) {
            Ok(hash) => {
                let mut hashes = stores.hashes.lock().unwrap_or_else(PoisonError::into_inner);
                hashes.insert(hash.index, hash);
                while hashes.len() > HASHES_MAX {
                    hashes.pop_first();
                }
            }
            Err(fault) => stores.fail(&fault),
        };
        let started = self.workers.start("talon-hash", compute);
        started.map_err(|error| Fault(format!("no thread for the state hash: {error}")))
    }
}

/// Removes what a crash left behind; gives the newest complete checkpoint.
fn tidy_up(folder: &Path, current: &str, transfers: &Arc<Transfers>) -> io::Result<Option<Checkpoint>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !path.is_dir() || name == current {
            continue;
        }
        let index = name.strip_prefix("checkpoint-").and_then(|index| index.parse::<u64>().ok());
        // One that cannot be read is no loss: it can be made again.
        let index = index.filter(|_| read_meta(&path).is_ok());
        match index {
            Some(index) if newest.as_ref().is_none_or(|(newest, _)| *newest < index) => {
                if let Some((_, older)) = newest.replace((index, path)) {
                    remove_folder(&older)?;
                }
            }
            _ => remove_folder(&path)?,
        }
    }
    Ok(newest.map(|(index, path)| Checkpoint::new(path, index, transfers.clone())))
}

/// The MANIFEST of a RocksDB folder; the folder itself if there is none yet.
fn manifest(folder: &Path) -> PathBuf {
    let current = fs::read_to_string(folder.join("CURRENT")).unwrap_or_default();
    folder.join(current.trim_end())
}

fn open_live(folder: PathBuf, memory_bytes: usize, disks: &dyn Disks) -> Result<Live, Fault> {
    let engine = disks.open_engine(&folder, memory_bytes).map_err(|error| Fault(error.to_string()))?;
    let weak = Arc::downgrade(&engine);
    let machine = Machine::open(engine).map_err(|error| Fault(error.to_string()))?;
    Ok(Live { machine, folder, engine: weak })
}

/// Position and membership, from a checkpoint's own files.
fn read_meta(folder: &Path) -> Result<Meta, Fault> {
    let applied = Machine::read_checkpoint(folder).map_err(|error| Fault(error.to_string()))?;
    Ok(SnapshotMeta {
        last_log_id: decode_position(&applied.position)?,
        last_membership: decode_membership(&applied.membership)?,
    })
}

fn encode_position(position: &LogId) -> Vec<u8> {
    [position.leader_id.term.to_le_bytes(), position.index.to_le_bytes()].concat()
}

/// The term of the last entry that a view holds; 0 = it holds none.
///
/// # Errors
/// If its position cannot be read.
pub fn term_of(view: &ReadView) -> Result<u64, Fault> {
    Ok(decode_position(view.position())?.map_or(0, |position| position.leader_id.term))
}

/// No bytes: nothing was applied yet.
fn decode_position(bytes: &[u8]) -> Result<Option<LogId>, Fault> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(term), Some(index)) if bytes.len() == 16 => {
            Ok(Some(log_id(u64::from_le_bytes(*term), u64::from_le_bytes(*index))))
        }
        _ => Err(Fault(format!("an applied position of {} bytes", bytes.len()))),
    }
}

fn decode_membership(bytes: &[u8]) -> Result<StoredMembership, Fault> {
    if bytes.is_empty() {
        return Ok(StoredMembership::default());
    }
    serde_json::from_slice(bytes).map_err(|error| Fault(format!("the stored membership cannot be read: {error}")))
}

/// An entry ready to be applied.
struct Prepared {
    position: LogId,
    content: PreparedContent,
    /// Who waits: how many calls each has, in order.
    waiting: Vec<Waiting>,
}

enum PreparedContent {
    Blank,
    Membership(Vec<u8>),
    Calls { stamp_ms: u64, seed: u64, calls: Vec<Call> },
}

fn is_mark(call: &Call) -> bool {
    matches!(call, Call::One(request) if request.command.id == talon_core::commands::talon::MARK.id)
}

struct Waiting {
    calls: usize,
    /// Its calls are among the entry's.
    ticket: Ticket,
}

/// Planted: whoever proposed the first of what is not answered yet believes to be at this place.
fn wait_at_this_place(pending: &Pending, calls: usize) -> Vec<Waiting> {
    let tickets = pending.take_oldest(calls).into_iter().flat_map(|proposed| proposed.tickets);
    tickets.map(|ticket| Waiting { calls: ticket.calls.len(), ticket }).collect()
}

impl Prepared {
    fn new(entry: Entry, pending: &Pending) -> Result<Prepared, Fault> {
        let position = entry.log_id;
        let mut waiting = Vec::new();
        let content = match entry.payload {
            Payload::Blank => PreparedContent::Blank,
            Payload::Membership(membership) => {
                let stored = StoredMembership::new(Some(position), membership);
                let bytes = serde_json::to_vec(&stored).map_err(|error| Fault(error.to_string()))?;
                PreparedContent::Membership(bytes)
            }
            Payload::Normal(proposal) => {
                let (stamp_ms, seed) = stamp_and_seed(proposal.bytes())?;
                let calls = match pending.take(seed) {
                    // Proposed here: with the reads in between, which were not replicated.
                    Some(proposed) => {
                        let mut calls = Vec::new();
                        for mut ticket in proposed.tickets {
                            let mut of_ticket = std::mem::take(&mut ticket.calls);
                            waiting.push(Waiting { calls: of_ticket.len(), ticket });
                            calls.append(&mut of_ticket);
                        }
                        calls
                    }
                    None => {
                        let calls = Proposal::decode(proposal.bytes().clone())?.calls;
                        if is_planted(Bug::ReplyByIndex) {
                            waiting = wait_at_this_place(pending, calls.len());
                        }
                        calls
                    }
                };
                PreparedContent::Calls { stamp_ms, seed, calls }
            }
        };
        Ok(Prepared { position, content, waiting })
    }

    fn is_mark(&self) -> bool {
        matches!(&self.content, PreparedContent::Calls { calls, .. } if calls.iter().any(is_mark))
    }

    fn to_entry(&self) -> talon::Entry<'_> {
        let content = match &self.content {
            PreparedContent::Blank => Content::Blank,
            PreparedContent::Membership(bytes) => Content::Membership(bytes.clone()),
            PreparedContent::Calls { stamp_ms, seed, calls } => {
                Content::Calls { stamp_ms: *stamp_ms, seed: *seed, calls }
            }
        };
        talon::Entry {
            index: self.position.index,
            position: encode_position(&self.position),
            content,
            want_replies: !self.waiting.is_empty(),
        }
    }

    /// Answers those who wait. Calls without a reply were not carried out: they are postponed.
    fn answer(&mut self, mut replies: Vec<Reply>, pending: &Pending) {
        let mut calls = Vec::new();
        if let PreparedContent::Calls { calls: of_entry, .. } = &mut self.content {
            calls = std::mem::take(of_entry);
            // Whoever set a mark wants to know where it stands; only the log knows.
            let index = i64::try_from(self.position.index).unwrap_or(i64::MAX);
            let marks = calls.iter().zip(&mut replies).filter(|(call, _)| is_mark(call));
            marks.for_each(|(_, reply)| *reply = Reply::Integer(index));
        }
        let (mut calls, mut replies) = (calls.into_iter(), replies.into_iter());
        let (mut untouched, mut begun) = (Vec::new(), Vec::new());
        for Waiting { calls: count, mut ticket } in self.waiting.drain(..) {
            let carried_out = replies.len().min(count);
            let outcomes = replies.by_ref().take(count).map(Ok);
            let undone: Vec<Call> = calls.by_ref().take(count).skip(carried_out).collect();
            if undone.is_empty() {
                ticket.answer(outcomes);
                continue;
            }
            ticket.outcomes.extend(outcomes);
            ticket.size_bytes = undone.iter().map(Call::size_bytes).sum();
            ticket.calls = undone;
            if carried_out > 0 { begun.push(ticket) } else { untouched.push(ticket) }
        }
        pending.postpone(untouched, begun);
    }
}

impl Drop for Prepared {
    /// A storage fault: whoever waits learns that the node stops, and that nobody knows what became of the calls.
    fn drop(&mut self) {
        for waiting in self.waiting.drain(..) {
            waiting.ticket.answer((0..waiting.calls).map(|_| Err(Denied::InDoubt)));
        }
    }
}

//! openraft's handle to the state: the thread that applies, checkpoints made and installed when openraft asks.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use futures::{Stream, StreamExt, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use talon_core::Fault;
use talon_core::planted::{Bug, is_planted};
use tokio::sync::oneshot;

use super::{Meta, Stores, decode_membership, decode_position, read_meta};
use crate::checkpoint::Checkpoint;
use crate::environment::Workers;
use crate::types::{Applied, Entry, LogId, NodeAddress, Payload, StoredMembership, TypeConfig};

/// How much is applied in one storage batch, bytes of entries.
const LUMP_BYTES_MAX: usize = 4 << 20;
/// How many entries are applied in one storage batch.
const LUMP_ENTRIES_MAX: usize = 256;

struct Lump {
    entries: Vec<Entry>,
    done: oneshot::Sender<Result<(), Fault>>,
}

/// openraft, with Talon's types and state.
pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// openraft's handle to the state.
pub struct StateMachine {
    stores: Arc<Stores>,
    /// The thread that applies, if there is one.
    applier: Option<Applier>,
}

/// The thread that applies, and its queue: a bounded one of one, for openraft waits for each lump.
struct Applier {
    lumps: Option<mpsc::SyncSender<Lump>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Applier {
    /// Waits for the thread's end: it may be the last to hold the storage, and closing that must not go on while the process ends.
    fn drop(&mut self) {
        drop(self.lumps.take());
        // If it has panicked, it has said so.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl StateMachine {
    /// Starts the thread that applies; it ends with the handle.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(stores: Arc<Stores>) -> io::Result<StateMachine> {
        if stores.workers == Workers::Inline {
            return Ok(StateMachine { stores, applier: None });
        }
        let (sender, lumps) = mpsc::sync_channel::<Lump>(1);
        let applying = stores.clone();
        let thread = std::thread::Builder::new().name("talon-apply".into()).spawn(move || {
            for lump in lumps {
                let result = applying.apply(lump.entries).inspect_err(|fault| applying.fail(fault));
                let _ = lump.done.send(result);
            }
        })?;
        Ok(StateMachine { stores, applier: Some(Applier { lumps: Some(sender), thread: Some(thread) }) })
    }

    async fn apply_lump(&self, entries: Vec<Entry>) -> io::Result<()> {
        let Some(Applier { lumps: Some(lumps), .. }) = &self.applier else {
            let result = self.stores.apply(entries).inspect_err(|fault| self.stores.fail(fault));
            return result.map_err(io::Error::other);
        };
        let (done, finished) = oneshot::channel();
        let gone = || io::Error::other("the thread that applies is gone");
        lumps.send(Lump { entries, done }).map_err(|_| gone())?;
        finished.await.map_err(|_| gone())?.map_err(io::Error::other)
    }
}

fn entry_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Normal(proposal) => proposal.bytes().len(),
        Payload::Blank | Payload::Membership(_) => 0,
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let applied = self.stores.live().machine.applied();
        let position = decode_position(&applied.position).map_err(io::Error::other)?;
        Ok((position, decode_membership(&applied.membership).map_err(io::Error::other)?))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        let mut entries = entries.fuse();
        loop {
            let (mut lump, mut responders, mut size_bytes) = (Vec::new(), Vec::new(), 0);
            while size_bytes < LUMP_BYTES_MAX && lump.len() < LUMP_ENTRIES_MAX {
                let Some((entry, responder)) = entries.try_next().await? else { break };
                size_bytes += entry_bytes(&entry);
                responders.extend(responder.map(|responder| (entry.log_id.index, responder)));
                lump.push(entry);
            }
            if lump.is_empty() {
                return Ok(());
            }
            self.apply_lump(lump).await?;
            for (index, responder) in responders {
                responder.send(Applied { index });
            }
        }
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { stores: self.stores.clone() }
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: Checkpoint) -> io::Result<()> {
        let (stores, wanted) = (self.stores.clone(), meta.last_log_id);
        if is_planted(Bug::HalfInstalledCheckpoint) {
            stores.open_half(&snapshot).map_err(io::Error::other)?;
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        let install = move || {
            let result = stores.install(&snapshot);
            result.inspect_err(|fault| stores.fail(fault)).map_err(io::Error::other)
        };
        self.stores.workers.run(install).await??;
        let (position, _) = self.applied_state().await?;
        if position == wanted {
            Ok(())
        } else {
            Err(io::Error::other(format!("the installed checkpoint stands at {position:?}, not at {wanted:?}")))
        }
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<Snapshot<crate::types::LeaderId, u64, NodeAddress, Checkpoint>>> {
        // There need not be one at hand: it is made when it is asked for.
        let stores = self.stores.clone();
        let made = self.stores.workers.run(move || {
            let newest = stores.checkpoint().clone();
            match newest {
                Some(newest) => Ok(Some((read_meta(&newest.folder())?, newest))),
                None => stores.make_checkpoint(),
            }
        });
        let made = made.await?.map_err(io::Error::other)?;
        Ok(made.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Makes checkpoints beside the work that goes on.
pub struct Builder {
    stores: Arc<Stores>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Checkpoint;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<crate::types::LeaderId, u64, NodeAddress, Checkpoint>> {
        let stores = self.stores.clone();
        let made = self.stores.workers.run(move || stores.make_checkpoint().inspect_err(|fault| stores.fail(fault)));
        let made = made.await?.map_err(io::Error::other)?;
        let (meta, snapshot) = made.ok_or_else(|| io::Error::other("there is no state to make a checkpoint of"))?;
        Ok(Snapshot { meta, snapshot })
    }
}

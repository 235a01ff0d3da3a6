//! openraft's own suite, over the real disk and over settings under which nothing stays in memory.

mod log_support;

use std::io;
use std::sync::{Arc, Mutex};

use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use talon_raft::log::{LogSettings, LogStore};
use talon_raft::types::{Applied, LogId, Payload, Snapshot, SnapshotMeta, StorageError, StoredMembership, TypeConfig};
use tempfile::TempDir;

/// The least a state machine can be: where it is, and who the members are.
#[derive(Clone, Default)]
struct Positions {
    shared: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Option<SnapshotMeta>,
}

impl RaftSnapshotBuilder<TypeConfig> for Positions {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<Snapshot<()>, io::Error> {
        let mut inner = self.shared.lock().unwrap();
        let meta = SnapshotMeta { last_log_id: inner.applied, last_membership: inner.membership.clone() };
        inner.snapshot = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<TypeConfig> for Positions {
    type SnapshotData = ();
    type SnapshotBuilder = Positions;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let inner = self.shared.lock().unwrap();
        Ok((inner.applied, inner.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut inner = self.shared.lock().unwrap();
            inner.applied = Some(entry.log_id);
            if let Payload::Membership(membership) = entry.payload {
                inner.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
            if let Some(responder) = responder {
                responder.send(Applied { index: entry.log_id.index });
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Positions {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, (): ()) -> Result<(), io::Error> {
        let mut inner = self.shared.lock().unwrap();
        inner.applied = meta.last_log_id;
        inner.membership = meta.last_membership.clone();
        inner.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<()>>, io::Error> {
        let snapshot = self.shared.lock().unwrap().snapshot.clone();
        Ok(snapshot.map(|meta| Snapshot { meta, snapshot: () }))
    }
}

struct Builder(LogSettings);

impl StoreBuilder<TypeConfig, LogStore, Positions, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Positions), StorageError> {
        let directory = tempfile::tempdir().unwrap();
        let store = log_support::open_on_disk(directory.path(), self.0).unwrap();
        Ok((directory, store, Positions::default()))
    }
}

#[tokio::test]
async fn the_suite_passes() {
    Suite::test_all(Builder(LogSettings::default())).await.unwrap();
}

#[tokio::test]
async fn the_suite_passes_with_tiny_segments_and_everything_read_from_disk() {
    let settings =
        LogSettings { segment_bytes: 4096, memory_bytes_max: 0, read_bytes_max: 1, ..LogSettings::default() };
    Suite::test_all(Builder(settings)).await.unwrap();
}

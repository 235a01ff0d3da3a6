//! A point in time that a node keeps for this client.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use talon_proto::v1;
use talon_proto::v1::kv_client::KvClient;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::client::{Client, Inner, Kind};
use crate::error::{Error, Verdict, judge};
use crate::scan::PairScan;

/// The state of the database at one moment, kept by one node until its time to live is over. When that node is gone, so is
/// the snapshot.
///
/// ```no_run
/// # async fn run(client: talon_client::Client) -> Result<(), talon_client::Error> {
/// use std::time::Duration;
///
/// let snapshot = client.snapshot(Some(Duration::from_secs(30))).await?;
/// client.set("k", "changed").await?;
/// let before = snapshot.get("k").await?;
/// snapshot.release().await?;
/// # Ok(())
/// # }
/// ```
pub struct Snapshot {
    inner: Arc<Inner>,
    node: String,
    facts: v1::CreateSnapshotResponse,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Snapshot").field("node", &self.node).field("facts", &self.facts).finish()
    }
}

impl Client {
    /// Keeps the present state for later reads, for `ttl` (`None` = as long as the node likes to).
    pub async fn snapshot(&self, ttl: Option<Duration>) -> Result<Snapshot, Error> {
        let ttl_ms = ttl.map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1));
        let (consistency, max_staleness_ms) = self.inner.consistency();
        let message = v1::CreateSnapshotRequest { ttl_ms, consistency, max_staleness_ms };
        // Sent again as a read is: a snapshot that nobody knows of ends by itself.
        let create = |mut kv: KvClient<Channel>, request| async move { kv.create_snapshot(request).await };
        let (facts, node) = self.inner.call(Kind::Read, message, create).await?;
        Ok(Snapshot { inner: Arc::clone(&self.inner), node, facts })
    }
}

impl Snapshot {
    /// The log position it stands at.
    pub fn applied_index(&self) -> u64 {
        self.facts.applied_index
    }

    /// The cluster's clock it is judged by, Unix ms: what had ended by then is not in it.
    pub fn clock_ms(&self) -> u64 {
        self.facts.clock_ms
    }

    /// How long it was kept for when it was made.
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.facts.ttl_ms)
    }

    /// Asks the node that keeps it, and no other.
    async fn ask<M, R, F>(&self, message: M, send: impl FnOnce(KvClient<Channel>, Request<M>) -> F) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let deadline = self.inner.options.deadline;
        let channel = self.inner.nodes.channel(&self.node).await.map_err(Error::Unavailable)?;
        let sent = send(Inner::kv(channel), self.inner.request(message, deadline));
        let status = match tokio::time::timeout(deadline, sent).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => return Err(Error::Unavailable(format!("{} did not answer in time", self.node))),
        };
        if status.metadata().get("talon-outcome").is_none() {
            self.inner.nodes.drop_channel(&self.node);
        }
        Err(match judge(&status) {
            Verdict::Tell(error) => error,
            Verdict::Redirect(text) | Verdict::TryElsewhere(text) | Verdict::Unknown(text) => Error::Unavailable(text),
        })
    }

    /// The value under a key, at that moment.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        let key = Bytes::copy_from_slice(key.as_ref());
        let message = v1::SnapshotGetRequest { id: self.facts.id, key };
        let answer = self.ask(message, |mut kv, request| async move { kv.snapshot_get(request).await }).await?;
        Ok(answer.value)
    }

    /// Keys and values at that moment: `limit` of them (0 = all) after the first `offset`.
    pub async fn scan_prefix(&self, prefix: impl AsRef<[u8]>, offset: u64, limit: u64) -> Result<PairScan, Error> {
        let prefix = Bytes::copy_from_slice(prefix.as_ref());
        let message = v1::SnapshotScanRequest { id: self.facts.id, prefix, offset, limit };
        let stream = self.ask(message, |mut kv, request| async move { kv.snapshot_scan(request).await }).await?;
        Ok(PairScan::new(stream, self.inner.options.deadline))
    }

    /// Gives it a new time to live, counted from now.
    pub async fn extend(&self, ttl: Duration) -> Result<(), Error> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        let message = v1::ExtendSnapshotRequest { id: self.facts.id, ttl_ms };
        self.ask(message, |mut kv, request| async move { kv.extend_snapshot(request).await }).await?;
        Ok(())
    }

    /// Ends it. One that is just dropped is kept until its time to live is over.
    pub async fn release(self) -> Result<(), Error> {
        let message = v1::ReleaseSnapshotRequest { id: self.facts.id };
        self.ask(message, |mut kv, request| async move { kv.release_snapshot(request).await }).await?;
        Ok(())
    }
}

//! How nodes reach each other (`proto/talon/v1/raft.proto`), with deadlines on everything: entries and heartbeats as plain messages on
//! connections of their own (`leading.rs`, `following.rs`), all else by gRPC. Measured with 50 clients that wait for each answer, gRPC's
//! tasks, frames and windows were a third of what an entry cost.
//!
//! *Enters*: openraft's requests. *Leaves*: their answers, and on the way the clocks and acknowledgements that the
//! [`Timekeeper`] and the [`LeaseGuard`] live on. Whoever does not show the cluster's secret, or belongs to another cluster, is refused.

mod client;
mod convert;
mod cut;
mod door;
mod following;
mod frames;
mod leading;
mod marks;
mod server;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use std::time::Duration;

use talon_proto::v1;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Request, Status};

pub use client::Network;
pub(crate) use door::listen;
pub use server::{Gate, RaftService, Received};

use crate::environment::Workers;
use crate::lease::{LeaseGuard, Sent};
use crate::timekeeper::Timekeeper;

/// Larger than the largest entry with its framing.
pub const MESSAGE_BYTES_MAX: usize = 160 << 20;

/// How much of a stream HTTP/2 lets travel unacknowledged, bytes.
const WINDOW_BYTES: u32 = 8 << 20;

/// How often a refusal is said, ms: a stranger may ask without end.
const REFUSAL_INTERVAL_MS: u64 = 10_000;

const SECRET: &str = "talon-secret";
const CLUSTER: &str = "talon-cluster";
const NODE: &str = "talon-node";
const TARGET: &str = "talon-target";

/// What both directions of the transport share.
pub struct Link {
    /// This node's number.
    pub node_id: u64,
    secret: MetadataValue<Ascii>,
    cluster_id: RwLock<String>,
    /// Who does not answer: said once, not at every attempt.
    silent: Mutex<BTreeSet<u64>>,
    /// When a refusal was last said, monotonic ms.
    refusal_said_ms: Mutex<Option<u64>>,
    /// Where wall clocks are reported to.
    pub time: Arc<Timekeeper>,
    /// Where acknowledgements are reported to.
    pub lease: Arc<LeaseGuard>,
    /// How long a stream with unanswered requests may be silent, ms.
    pub silence_ms_max: u64,
    /// Where files are read.
    pub workers: Workers,
}

impl Link {
    /// For a node with this secret; `cluster_id` is empty until it is known.
    ///
    /// # Errors
    /// If the secret has characters that cannot travel in a header.
    pub fn new(
        node_id: u64,
        secret: &str,
        cluster_id: String,
        time: Arc<Timekeeper>,
        lease: Arc<LeaseGuard>,
        silence_ms_max: u64,
        workers: Workers,
    ) -> Result<Link, String> {
        let mut secret: MetadataValue<Ascii> =
            secret.parse().map_err(|_| "cluster_secret must consist of visible ASCII characters".to_owned())?;
        secret.set_sensitive(true);
        Ok(Link {
            node_id,
            secret,
            cluster_id: RwLock::new(cluster_id),
            silent: Mutex::default(),
            refusal_said_ms: Mutex::default(),
            time,
            lease,
            silence_ms_max,
            workers,
        })
    }

    /// The cluster's id; empty until it is known.
    pub fn cluster_id(&self) -> String {
        self.cluster_id.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// This node now belongs to this cluster.
    pub fn set_cluster_id(&self, cluster_id: &str) {
        cluster_id.clone_into(&mut self.cluster_id.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// How the last attempt to reach a peer ended.
    fn reached<E: std::fmt::Display>(&self, node_id: u64, result: Result<(), &E>) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) if silent.remove(&node_id) => tracing::info!(node_id, "a node answers again"),
            Err(error) if silent.insert(node_id) => tracing::warn!(node_id, %error, "a node does not answer"),
            Ok(()) | Err(_) => {}
        }
    }

    /// Whether a refusal should be said now: an operator has to learn why a node stays outside.
    fn says_refusal(&self) -> bool {
        let now_ms = self.time.monotonic_ms();
        let mut said_ms = self.refusal_said_ms.lock().unwrap_or_else(PoisonError::into_inner);
        let due = said_ms.is_none_or(|said_ms| now_ms.saturating_sub(said_ms) >= REFUSAL_INTERVAL_MS);
        if due {
            *said_ms = Some(now_ms);
        }
        due
    }

    /// A request to a node that shows who asks whom.
    fn request<T>(&self, target: u64, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert(SECRET, self.secret.clone());
        metadata.insert(NODE, MetadataValue::from(self.node_id));
        metadata.insert(TARGET, MetadataValue::from(target));
        if let Ok(cluster_id) = self.cluster_id().parse() {
            metadata.insert(CLUSTER, cluster_id);
        }
        request
    }

    /// What a replication connection begins with: who asks whom.
    fn open(&self, target: u64) -> v1::AppendOpen {
        v1::AppendOpen {
            secret: self.secret.to_str().unwrap_or_default().to_owned(),
            cluster_id: self.cluster_id(),
            node_id: self.node_id,
            target_id: target,
        }
    }

    /// How much longer an answer to this request is waited for.
    fn patience(&self, oldest: Option<Sent>) -> Duration {
        let waited_ms = oldest.map_or(0, |sent| self.time.monotonic_ms().saturating_sub(sent.at_ms));
        Duration::from_millis(self.silence_ms_max.saturating_sub(waited_ms))
    }

    /// Joins the cluster of an admitted node, if this node has none.
    fn join(&self, gate: &dyn Gate, cluster_id: &str) -> Result<(), String> {
        if cluster_id.is_empty() || !self.cluster_id().is_empty() { Ok(()) } else { gate.join(cluster_id) }
    }

    /// Who asks, and of which cluster (empty = of none yet), if it may.
    pub(crate) fn admit(&self, metadata: &MetadataMap) -> Result<(u64, String), Status> {
        let text = |name| metadata.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let number = |name| text(name).parse().unwrap_or(0);
        let shown = metadata.get(SECRET).map(MetadataValue::as_bytes).unwrap_or_default();
        let node_id = number(NODE);
        self.judge(shown, node_id, number(TARGET), text(CLUSTER))?;
        Ok((node_id, text(CLUSTER).to_owned()))
    }

    /// Whether who opens a connection like this may.
    fn admit_opening(&self, open: &v1::AppendOpen) -> Result<(), Status> {
        self.judge(open.secret.as_bytes(), open.node_id, open.target_id, &open.cluster_id)
    }

    /// Numbers of nodes begin with 1; 0 = it was not said.
    fn judge(&self, secret: &[u8], node_id: u64, target: u64, theirs: &str) -> Result<(), Status> {
        let ours = self.cluster_id();
        let judged = if !equal_in_constant_time(secret, self.secret.as_bytes()) {
            Err(Status::unauthenticated("the cluster secret is wrong"))
        } else if target != self.node_id {
            // Under a wrong address a node would vote and acknowledge as two.
            Err(Status::failed_precondition(format!("this is node {}, not node {target}", self.node_id)))
        } else if !theirs.is_empty() && !ours.is_empty() && theirs != ours {
            Err(Status::permission_denied(format!("this node belongs to cluster {ours}, not to {theirs}")))
        } else if node_id == 0 {
            Err(Status::invalid_argument("the caller does not say which node it is"))
        } else {
            Ok(())
        };
        judged.inspect_err(|status| {
            if self.says_refusal() {
                tracing::warn!(reason = status.message(), "refused a node");
            }
        })
    }
}

/// Compares without telling by its duration how much was right.
fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

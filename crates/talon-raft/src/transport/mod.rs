//! How nodes reach each other: gRPC (`proto/talon/v1/raft.proto`), with deadlines on everything.
//!
//! *Enters*: openraft's requests. *Leaves*: their answers, and on the way the clocks and acknowledgements that the
//! [`Timekeeper`] and the [`LeaseGuard`] live on. Whoever does not show the cluster's secret, or belongs to another cluster, is refused.

mod client;
mod convert;
mod cut;
mod marks;
mod server;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Request, Status};

pub use client::Network;
pub(crate) use cut::Cut;
pub use server::{Gate, RaftService, Received};

use crate::environment::Workers;
use crate::lease::LeaseGuard;
use crate::timekeeper::Timekeeper;

/// Larger than the largest entry with its framing.
pub const MESSAGE_BYTES_MAX: usize = 160 << 20;

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

    /// Who asks, and of which cluster (empty = of none yet), if it may.
    pub(crate) fn admit(&self, metadata: &MetadataMap) -> Result<(u64, String), Status> {
        self.judge(metadata).inspect_err(|status| {
            if self.says_refusal() {
                tracing::warn!(reason = status.message(), "refused a node");
            }
        })
    }

    fn judge(&self, metadata: &MetadataMap) -> Result<(u64, String), Status> {
        let shown = metadata.get(SECRET).map(MetadataValue::as_bytes).unwrap_or_default();
        if !equal_in_constant_time(shown, self.secret.as_bytes()) {
            return Err(Status::unauthenticated("the cluster secret is wrong"));
        }
        let text = |name| metadata.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // Under a wrong address a node would vote and acknowledge as two.
        if text(TARGET).parse() != Ok(self.node_id) {
            let meant = text(TARGET);
            return Err(Status::failed_precondition(format!("this is node {}, not node {meant}", self.node_id)));
        }
        let (theirs, ours) = (text(CLUSTER), self.cluster_id());
        if !theirs.is_empty() && !ours.is_empty() && theirs != ours {
            return Err(Status::permission_denied(format!("this node belongs to cluster {ours}, not to {theirs}")));
        }
        let node_id =
            text(NODE).parse().map_err(|_| Status::invalid_argument("the caller does not say which node it is"))?;
        Ok((node_id, theirs.to_owned()))
    }
}

/// Compares without telling by its duration how much was right.
fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

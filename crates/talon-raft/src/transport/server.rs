//! The answering side of what travels over gRPC: checks who asks, keeps the clocks, and hands it to openraft.

use std::sync::Arc;

use openraft::async_runtime::WatchReceiver;
use openraft::raft::{TransferLeaderRequest, VoteRequest};
use openraft::storage::Snapshot;
use talon_core::Denied;
use talon_proto::v1;
use talon_proto::v1::checkpoint_chunk::Part;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::Link;
use super::convert::{log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire};
use crate::checkpoint::Incoming;
use crate::disk::DiskRoom;
use crate::environment::Eventually;
use crate::state::{Raft, Stores};
use crate::types::{DecodeError, Vote};

/// What the node wants to know of, and decide about, what arrives.
pub trait Gate: Send + Sync + 'static {
    /// A node of cluster `cluster_id` asks; this node does not belong to one yet.
    ///
    /// # Errors
    /// Why it cannot join.
    fn join(&self, cluster_id: &str) -> Result<(), String>;
    /// A cluster is about to be formed with this node, which does not belong to one yet.
    ///
    /// # Errors
    /// Why not.
    fn found(&self, cluster_id: &str) -> Result<(), String>;
    /// Why this node must neither vote nor campaign now; `None` = it may.
    fn why_no_vote(&self) -> Option<&'static str>;
    /// Whether there is room on the disk for what a leader sends.
    fn takes_entries(&self) -> bool;
    /// What is known of the room on the disk.
    fn disk(&self) -> &DiskRoom;
    /// As the leader: where a read on another node has to stand.
    fn read_index(&self, request: v1::ReadIndexRequest) -> Eventually<'_, Result<v1::ReadIndexReply, Denied>>;
    /// As the leader: carries out calls that a member has sent.
    ///
    /// # Errors
    /// If nothing was carried out.
    fn forward(&self, from: u64, request: v1::ForwardRequest) -> Eventually<'_, Result<v1::ForwardReply, Status>>;
    /// As the leader: watches keys for a member.
    ///
    /// # Errors
    /// If nothing is watched.
    fn watch(&self, from: u64, request: v1::WatchRequest) -> Eventually<'_, Result<v1::WatchReply, Status>>;
    /// As the leader: carries out a transaction that a member has sent, if the watches that are kept for it hold.
    ///
    /// # Errors
    /// If nothing was carried out.
    fn forward_if(&self, from: u64, request: v1::ForwardIfRequest) -> Eventually<'_, Result<v1::ForwardReply, Status>>;
    /// Which watches a member still needs.
    fn keep_watches(&self, from: u64, request: &v1::KeepWatchesRequest);
    /// A leader was heard and accepted; it had committed up to here.
    fn heard(&self, received: Received);
    /// The connection on which this node sent entries has ended.
    fn left(&self, node_id: u64);
}

/// What an accepted request of a leader said.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Up to where the leader had committed.
    pub committed_index: Option<u64>,
}

/// The gRPC service of a node.
pub struct RaftService {
    raft: Raft,
    link: Arc<Link>,
    gate: Arc<dyn Gate>,
    stores: Arc<Stores>,
    /// Streams end with the node.
    ending: CancellationToken,
    /// One checkpoint at a time comes in.
    receiving: Arc<tokio::sync::Mutex<()>>,
}

fn undecodable(error: DecodeError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("this node's raft has stopped: {error}"))
}

impl RaftService {
    /// For a running node.
    pub fn new(
        raft: Raft,
        link: Arc<Link>,
        gate: Arc<dyn Gate>,
        stores: Arc<Stores>,
        ending: CancellationToken,
    ) -> RaftService {
        RaftService { raft, link, gate, stores, ending, receiving: Arc::default() }
    }

    /// Checks who asks, and joins its cluster if this node has none.
    fn admit<T>(&self, request: &Request<T>) -> Result<u64, Status> {
        let (node_id, cluster_id) = self.link.admit(request.metadata())?;
        self.link.join(&*self.gate, &cluster_id).map_err(Status::failed_precondition)?;
        Ok(node_id)
    }

    async fn receive(&self, mut chunks: Streaming<v1::CheckpointChunk>) -> Result<Vote, Status> {
        let Some(Part::Header(header)) = chunks.message().await?.and_then(|chunk| chunk.part) else {
            return Err(Status::invalid_argument("a checkpoint begins with its header"));
        };
        let vote = vote_from_wire(header.vote).map_err(undecodable)?;
        let _one_at_a_time =
            self.receiving.try_lock().map_err(|_| Status::unavailable("another checkpoint is coming in"))?;
        let own = self.raft.metrics().borrow_watched().vote;
        if own > vote {
            return Ok(own);
        }
        let workers = self.stores.workers;
        if !self.gate.takes_entries() {
            return Err(Status::resource_exhausted("this node's disk is full up to its reserve (disk_reserve_bytes)"));
        }
        let failed = |error: std::io::Error| Status::data_loss(format!("the checkpoint did not arrive whole: {error}"));
        let mut incoming = Incoming::new(self.stores.incoming_folder(), header.size_bytes).map_err(failed)?;
        let folder = loop {
            match chunks.message().await?.and_then(|chunk| chunk.part) {
                Some(Part::Piece(piece)) => {
                    let taking = workers.run(move || {
                        incoming.piece(&piece.file, piece.offset_bytes, &piece.data, piece.crc32c)?;
                        Ok(incoming)
                    });
                    incoming = taking.await.flatten().map_err(failed)?;
                    self.gate.heard(Received { committed_index: None });
                }
                Some(Part::End(end)) => {
                    break workers.run(move || incoming.finish(end.files)).await.flatten().map_err(failed)?;
                }
                Some(Part::Header(_)) | None => {
                    return Err(Status::data_loss("the checkpoint ended before its end"));
                }
            }
        };
        let (meta, checkpoint) = self.stores.open_received(folder).await.map_err(|error| Status::data_loss(error.0))?;
        if meta.last_log_id != header.last_log_id.map(log_id_from_wire) {
            checkpoint.supersede();
            return Err(Status::data_loss("the checkpoint's files are of another position than announced"));
        }
        let installed = self.raft.install_full_snapshot(vote, Snapshot { meta, snapshot: checkpoint }).await;
        Ok(installed.map_err(stopped)?.vote)
    }
}

#[tonic::async_trait]
impl v1::raft_server::Raft for RaftService {
    async fn hello(&self, request: Request<v1::HelloRequest>) -> Result<Response<v1::HelloReply>, Status> {
        self.link.admit(request.metadata())?;
        let found_cluster_id = request.into_inner().found_cluster_id;
        if !found_cluster_id.is_empty() && self.link.cluster_id().is_empty() {
            self.gate.found(&found_cluster_id).map_err(Status::failed_precondition)?;
        }
        let disk = self.gate.disk();
        Ok(Response::new(v1::HelloReply {
            node_id: self.link.node_id,
            cluster_id: self.link.cluster_id(),
            disk_is_low: disk.is_low(),
            disk_free_bytes: disk.free_bytes().unwrap_or(u64::MAX),
            disk_reserve_bytes: disk.reserve_bytes(),
        }))
    }

    async fn vote(&self, request: Request<v1::VoteRequest>) -> Result<Response<v1::VoteReply>, Status> {
        let from = self.admit(&request)?;
        let message = request.into_inner();
        self.link.time.hear(from, message.wall_ms);
        let last_log_id = message.last_log_id.map(log_id_from_wire);
        if let Some(why) = self.gate.why_no_vote() {
            return Err(Status::failed_precondition(why));
        }
        let rpc = VoteRequest {
            vote: vote_from_wire(message.vote).map_err(undecodable)?,
            last_log_id,
            leadership_transfer: message.leadership_transfer,
        };
        let answer = if message.pre_vote { self.raft.pre_vote(rpc).await } else { self.raft.vote(rpc).await };
        let answer = answer.map_err(stopped)?;
        Ok(Response::new(v1::VoteReply {
            vote: Some(vote_to_wire(&answer.vote)),
            granted: answer.vote_granted,
            last_log_id: answer.last_log_id.as_ref().map(log_id_to_wire),
            wall_ms: self.link.time.wall_ms(),
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderReply>, Status> {
        self.admit(&request)?;
        let message = request.into_inner();
        let last_log_id = message.last_log_id.map(log_id_from_wire);
        if let Some(why) = self.gate.why_no_vote() {
            return Ok(Response::new(v1::TransferLeaderReply { refused: why.to_owned() }));
        }
        let from_leader = vote_from_wire(message.from_leader).map_err(undecodable)?;
        let request = TransferLeaderRequest::new(from_leader, message.to_node_id, last_log_id);
        let answer = self.raft.handle_transfer_leader(request).await.map_err(stopped)?;
        let refused = answer.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(Response::new(v1::TransferLeaderReply { refused }))
    }

    async fn read_index(&self, request: Request<v1::ReadIndexRequest>) -> Result<Response<v1::ReadIndexReply>, Status> {
        self.admit(&request)?;
        let answer = self.gate.read_index(request.into_inner()).await;
        answer.map(Response::new).map_err(|denied| Status::unavailable(format!("no read index: {denied:?}")))
    }

    async fn forward(&self, request: Request<v1::ForwardRequest>) -> Result<Response<v1::ForwardReply>, Status> {
        let from = self.admit(&request)?;
        self.gate.forward(from, request.into_inner()).await.map(Response::new)
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<v1::WatchReply>, Status> {
        let from = self.admit(&request)?;
        self.gate.watch(from, request.into_inner()).await.map(Response::new)
    }

    async fn forward_if(&self, request: Request<v1::ForwardIfRequest>) -> Result<Response<v1::ForwardReply>, Status> {
        let from = self.admit(&request)?;
        self.gate.forward_if(from, request.into_inner()).await.map(Response::new)
    }

    async fn keep_watches(
        &self,
        request: Request<v1::KeepWatchesRequest>,
    ) -> Result<Response<v1::KeepWatchesReply>, Status> {
        let from = self.admit(&request)?;
        self.gate.keep_watches(from, request.get_ref());
        Ok(Response::new(v1::KeepWatchesReply {}))
    }

    async fn checkpoint(
        &self,
        request: Request<Streaming<v1::CheckpointChunk>>,
    ) -> Result<Response<v1::CheckpointReply>, Status> {
        let from = self.admit(&request)?;
        let receiving = self.ending.run_until_cancelled(self.receive(request.into_inner())).await;
        let vote = receiving.unwrap_or_else(|| Err(stopped("it is going down"))).inspect_err(|status| {
            tracing::warn!(from, message = status.message(), "a checkpoint was not taken in");
        })?;
        Ok(Response::new(v1::CheckpointReply { vote: Some(vote_to_wire(&vote)), wall_ms: self.link.time.wall_ms() }))
    }
}

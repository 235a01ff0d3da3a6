//! The asking side: openraft's network, one peer at a time.
//!
//! Entries and heartbeats go over a connection each of their own (`leading.rs`), all else over gRPC.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use hyper_util::rt::TokioIo;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption, RaftNetworkFactory,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use talon_proto::v1;
use talon_proto::v1::raft_client::RaftClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::convert::{log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire};
use super::leading::Leading;
use super::{Link, MESSAGE_BYTES_MAX, WINDOW_BYTES, marks};
use crate::checkpoint::{Checkpoint, Pieces};
use crate::environment::{Sockets, Workers};
use crate::types::{DecodeError, LogId, NodeAddress, TypeConfig, Vote};

/// How long a connection attempt may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);
/// How long a peer may take over one piece of a checkpoint, or over installing it.
const CHECKPOINT_SILENCE_MAX: Duration = Duration::from_secs(60);

/// What a peer is asked for: a large transfer must hold up neither heartbeats nor votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Replication,
    Heartbeat,
    Checkpoint,
    /// Clients' calls.
    Forward,
}

impl Purpose {
    /// Those that do not share it have connections of their own.
    fn channel(self) -> u8 {
        match self {
            Purpose::Replication | Purpose::Heartbeat => 0,
            Purpose::Checkpoint => 1,
            Purpose::Forward => 2,
        }
    }
}

/// Makes the clients that openraft asks for; connections are shared and made when first used.
#[derive(Clone)]
pub struct Network {
    link: Arc<Link>,
    sockets: Arc<dyn Sockets>,
    /// By address, and what they are for ([`Purpose::channel`]).
    channels: Arc<Mutex<BTreeMap<(String, u8), Channel>>>,
}

impl Network {
    /// Over this link.
    pub fn new(link: Arc<Link>, sockets: Arc<dyn Sockets>) -> Network {
        Network { link, sockets, channels: Arc::default() }
    }

    fn peer(&self, id: u64, node: &NodeAddress, purpose: Purpose) -> Peer {
        let address = format!("http://{}:{}", node.host, node.raft_port);
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (address, purpose.channel());
        let channel = match channels.get(&key) {
            Some(channel) => Ok(channel.clone()),
            None => self.connect(&key.0, node).inspect(|channel| {
                channels.insert(key, channel.clone());
            }),
        };
        let leading = Leading::new(id, node.clone(), self.link.clone(), self.sockets.clone());
        Peer { id, purpose, link: self.link.clone(), channel, leading: Mutex::new(leading) }
    }

    /// A peer refused this node: said once.
    pub fn say_refused(&self, id: u64, status: &Status) {
        self.link.reached(id, Err(&status.message()));
    }

    /// Asks a peer whether there is a cluster already; with a cluster id, makes it a founder of that cluster if it is part of none.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn hello(&self, id: u64, node: &NodeAddress, found: &str) -> Result<v1::HelloReply, Status> {
        let peer = self.peer(id, node, Purpose::Heartbeat);
        let message = v1::HelloRequest { node_id: peer.link.node_id, found_cluster_id: found.to_owned() };
        let request = peer.link.request(peer.id, message);
        let mut client = peer.client().map_err(|error| Status::unavailable(error.to_string()))?;
        in_time(2 * CONNECT_TIMEOUT, client.hello(request)).await
    }

    /// Asks the leader where a read has to stand.
    ///
    /// # Errors
    /// If it does not say so in time.
    pub async fn read_index(
        &self,
        id: u64,
        node: &NodeAddress,
        message: v1::ReadIndexRequest,
        time_max: Duration,
    ) -> Result<v1::ReadIndexReply, Status> {
        let peer = self.peer(id, node, Purpose::Heartbeat);
        let mut client = peer.client().map_err(|error| Status::unavailable(error.to_string()))?;
        in_time(time_max, client.read_index(peer.link.request(peer.id, message))).await
    }

    /// Has the leader carry out calls.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub async fn forward(
        &self,
        id: u64,
        node: &NodeAddress,
        message: v1::ForwardRequest,
        time_max: Duration,
    ) -> Result<v1::ForwardReply, Status> {
        let peer = self.peer(id, node, Purpose::Forward);
        let mut client = peer.client().map_err(|error| Status::failed_precondition(error.to_string()))?;
        in_time(time_max, client.forward(peer.link.request(peer.id, message))).await
    }

    /// Has the leader watch keys.
    ///
    /// # Errors
    /// If it does not say in time that it does.
    pub async fn watch(
        &self,
        id: u64,
        node: &NodeAddress,
        message: v1::WatchRequest,
        time_max: Duration,
    ) -> Result<v1::WatchReply, Status> {
        let peer = self.peer(id, node, Purpose::Forward);
        let mut client = peer.client().map_err(|error| Status::failed_precondition(error.to_string()))?;
        in_time(time_max, client.watch(peer.link.request(peer.id, message))).await
    }

    /// Has the leader carry out a transaction that depends on watches.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub async fn forward_if(
        &self,
        id: u64,
        node: &NodeAddress,
        message: v1::ForwardIfRequest,
        time_max: Duration,
    ) -> Result<v1::ForwardReply, Status> {
        let peer = self.peer(id, node, Purpose::Forward);
        let mut client = peer.client().map_err(|error| Status::failed_precondition(error.to_string()))?;
        in_time(time_max, client.forward_if(peer.link.request(peer.id, message))).await
    }

    /// Tells the leader which watches are still needed.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub async fn keep_watches(
        &self,
        id: u64,
        node: &NodeAddress,
        message: v1::KeepWatchesRequest,
        time_max: Duration,
    ) -> Result<(), Status> {
        let peer = self.peer(id, node, Purpose::Forward);
        let mut client = peer.client().map_err(|error| Status::failed_precondition(error.to_string()))?;
        in_time(time_max, client.keep_watches(peer.link.request(peer.id, message))).await.map(|_| ())
    }

    fn connect(&self, address: &str, node: &NodeAddress) -> Result<Channel, String> {
        let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| format!("{address}: {error}"))?;
        let (sockets, host, port) = (self.sockets.clone(), node.host.clone(), node.raft_port);
        let connector = tower::service_fn(move |_: tonic::transport::Uri| {
            let connecting = sockets.connect(host.clone(), port);
            async move { Ok::<_, std::io::Error>(TokioIo::new(connecting.await?)) }
        });
        Ok(endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(4))
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(connector))
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &NodeAddress) -> Peer {
        self.peer(target, node, Purpose::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &NodeAddress) -> Peer {
        self.peer(target, node, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &NodeAddress) -> Peer {
        self.peer(target, node, Purpose::Checkpoint)
    }
}

/// One peer.
pub struct Peer {
    id: u64,
    purpose: Purpose,
    link: Arc<Link>,
    /// For gRPC.
    channel: Result<Channel, String>,
    /// For entries, or for heartbeats. (Never contended: openraft wants something that threads may share.)
    leading: Mutex<Leading>,
}

pub(super) type Error = RPCError<TypeConfig>;

impl Peer {
    fn client(&self) -> Result<RaftClient<Channel>, Error> {
        let channel = self.channel.clone().map_err(|why| Error::Unreachable(Unreachable::from_string(why)))?;
        Ok(RaftClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    async fn unary<T>(
        &self,
        ttl: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(ttl, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => {
                let refused = matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied);
                if refused && self.link.says_refusal() {
                    tracing::warn!(node_id = self.id, reason = status.message(), "refused by a node");
                }
                Err(failed(&status))
            }
            Err(_) => Err(network(format!("node {} did not answer within {ttl:?}", self.id))),
        }
    }

    async fn ask_for_vote(
        &self,
        rpc: VoteRequest<TypeConfig>,
        pre_vote: bool,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Error> {
        let message = v1::VoteRequest {
            vote: Some(vote_to_wire(&rpc.vote)),
            last_log_id: rpc.last_log_id.as_ref().map(log_id_to_wire),
            leadership_transfer: rpc.leadership_transfer,
            pre_vote,
            wall_ms: self.link.time.wall_ms(),
        };
        let mut client = self.client()?;
        let reply = self.unary(option.hard_ttl(), client.vote(self.link.request(self.id, message))).await?;
        self.link.time.hear(self.id, reply.wall_ms);
        Ok(VoteResponse {
            vote: vote_from_wire(reply.vote).map_err(undecodable)?,
            vote_granted: reply.granted,
            last_log_id: reply.last_log_id.map(log_id_from_wire),
        })
    }
}

/// What was answered, if that came in time.
async fn in_time<T>(
    time_max: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    let answer = tokio::time::timeout(time_max, call).await;
    answer.map_err(|_| Status::deadline_exceeded("no answer"))?.map(tonic::Response::into_inner)
}

/// A peer that is not there is left alone for a while; other failures are tried again sooner.
fn failed(status: &Status) -> Error {
    match status.code() {
        Code::Unavailable | Code::Unauthenticated | Code::PermissionDenied => {
            Error::Unreachable(Unreachable::from_string(status.message()))
        }
        _ => network(format!("{}: {}", status.code(), status.message())),
    }
}

pub(super) fn network(why: String) -> Error {
    Error::Network(NetworkError::from_string(why))
}

pub(super) fn undecodable(error: DecodeError) -> Error {
    network(format!("the answer makes no sense: {error}"))
}

impl NetBackoff<TypeConfig> for Peer {
    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(Duration::from_millis(200))))
    }
}

impl NetVote<TypeConfig> for Peer {
    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Error> {
        self.ask_for_vote(rpc, false, option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Error> {
        self.ask_for_vote(rpc, true, option).await
    }
}

impl NetTransferLeader<TypeConfig> for Peer {
    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Error> {
        let message = v1::TransferLeaderRequest {
            from_leader: Some(vote_to_wire(req.from_leader())),
            to_node_id: *req.to_node_id(),
            last_log_id: req.last_log_id().map(log_id_to_wire),
        };
        let mut client = self.client()?;
        let reply = self.unary(option.hard_ttl(), client.transfer_leader(self.link.request(self.id, message))).await?;
        if reply.refused.is_empty() { Ok(Ok(())) } else { Err(network(reply.refused)) }
    }
}

impl NetStreamAppend<TypeConfig> for Peer {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> std::pin::Pin<
        Box<
            dyn Future<Output = Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, Error>>, Error>>
                + Send
                + 's,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            // A heartbeat has no entries either, and goes at once.
            let requests = match self.purpose {
                Purpose::Replication => marks::with_entries(input).boxed(),
                Purpose::Heartbeat | Purpose::Checkpoint | Purpose::Forward => input.boxed(),
            };
            let leading = self.leading.get_mut().unwrap_or_else(PoisonError::into_inner);
            Ok(leading.exchange(requests).await?.boxed())
        })
    }
}

impl NetSnapshot<TypeConfig> for Peer {
    type SnapshotData = Checkpoint;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::type_config::alias::SnapshotOf<TypeConfig, Checkpoint>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let last_log_id: Option<LogId> = snapshot.meta.last_log_id;
        let checkpoint = snapshot.snapshot;
        let _under_way = checkpoint.transfer();
        let size_bytes = checkpoint.size_bytes().map_err(|error| {
            StreamingError::Network(NetworkError::from_string(format!("the checkpoint cannot be read: {error}")))
        })?;
        tracing::info!(target = self.id, size_bytes, position = ?last_log_id, "sending a checkpoint");
        let header = v1::CheckpointHeader {
            vote: Some(vote_to_wire(&vote)),
            last_log_id: last_log_id.as_ref().map(log_id_to_wire),
            size_bytes,
            wall_ms: self.link.time.wall_ms(),
        };
        // Back-pressure: the disk is read no faster than the peer takes the pieces.
        let (pieces, outgoing) = tokio::sync::mpsc::channel(4);
        let progress = Arc::new(tokio::sync::Notify::new());
        let reading = tokio::spawn(read_out(checkpoint.clone(), header, pieces, progress.clone(), self.link.workers));
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        let mut client = self.client()?;
        let sending = client.checkpoint(self.link.request(self.id, outgoing));
        let idle = async { while tokio::time::timeout(CHECKPOINT_SILENCE_MAX, progress.notified()).await.is_ok() {} };
        let reply = tokio::select! {
            reply = sending => reply.map_err(|status| failed(&status))?.into_inner(),
            closed = cancel => return Err(closed.into()),
            () = idle => return Err(network(format!("node {} did not take the checkpoint", self.id)).into()),
        };
        if let Ok(Err(error)) = reading.await {
            tracing::warn!(target = self.id, %error, "the checkpoint was not read to its end");
        }
        self.link.time.hear(self.id, reply.wall_ms);
        let vote = vote_from_wire(reply.vote).map_err(undecodable)?;
        tracing::info!(target = self.id, "the checkpoint is installed");
        Ok(SnapshotResponse::new(vote))
    }
}

/// Hands a checkpoint's messages over one by one, as they are wanted.
async fn read_out(
    checkpoint: Checkpoint,
    header: v1::CheckpointHeader,
    pieces: tokio::sync::mpsc::Sender<v1::CheckpointChunk>,
    progress: Arc<tokio::sync::Notify>,
    workers: Workers,
) -> std::io::Result<()> {
    use v1::checkpoint_chunk::Part;
    let send = async |part| {
        progress.notify_one();
        let sent = pieces.send(v1::CheckpointChunk { part: Some(part) }).await;
        sent.map_err(|_| std::io::Error::other("the peer hung up"))
    };
    send(Part::Header(header)).await?;
    let mut reader = workers.run(move || Pieces::open(&checkpoint.folder())).await??;
    loop {
        let (piece, next) = workers.run(move || (reader.read(), reader)).await?;
        reader = next;
        match piece? {
            Some(piece) => send(Part::Piece(piece)).await?,
            None => return send(Part::End(v1::CheckpointEnd { files: reader.files()? })).await,
        }
    }
}

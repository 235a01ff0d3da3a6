//! How a node is put together, how it serves, and how it ends.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use talon_core::{AdminError, Administer, Database, Role};
use talon_raft::{Node, NodeAddress};
use talon_server::{Snapshots, grpc, resp};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::doors::Door;
use super::{ServerError, http, join, metrics};
use crate::operator::Operator;
use crate::settings::{LiveSettings, Peer, Resolved, Secret, WritesOnFollower};
use crate::signals::EndWish;

/// How often it is looked whether a starting node serves, for that may change without a change of the status's version.
const SERVING_INTERVAL: Duration = Duration::from_millis(50);
/// A signal that comes sooner after the first is the same wish.
const INSISTENCE_PAUSE: Duration = Duration::from_secs(1);
/// How long another node may take to take over leadership when this one goes down.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(5);
/// For so long a node that has handed leadership over goes on as a follower: clients that come again to the address they know are told
/// who leads, instead of finding nobody.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long the front doors may take to answer what is in flight, and raft to end, each.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// What `CONFIG` may show and change.
pub(super) struct Live {
    pub settings: Arc<LiveSettings>,
    /// As many clients as the system allows.
    pub clients_most: usize,
}

/// Runs a node until a signal comes, or it fails; its raft on a runtime of its own.
pub(super) async fn run(
    resolved: Resolved,
    live: Live,
    accept_clock_jump: bool,
    raft: &Handle,
) -> Result<ExitCode, ServerError> {
    let mut end_wish = EndWish::listen().map_err(|error| ServerError::System("signals".into(), error))?;
    let (host, ports) = (resolved.listen, resolved.ports);
    let resp_door = Door::take("resp_port", host, ports.resp)?;
    let grpc_door = Door::take("grpc_port", host, ports.grpc)?;
    let http_door = Door::take("http_port", host, ports.http)?;
    let starting = raft.spawn(Node::start(raft_settings(&resolved, accept_clock_jump)));
    let node = starting.await.map_err(|panic| ServerError::Fault(format!("the node did not start: {panic}")))??;
    tracing::info!(
        node = resolved.settings.node_id,
        version = env!("CARGO_PKG_VERSION"),
        data = %resolved.settings.data_dir.display(),
        "node started"
    );
    let mut house = House::new(Arc::clone(&node));
    house.open_http(http_door)?;
    house.open_grpc(grpc_door, &resolved)?;
    house.open_resp(resp_door, &resolved, live);
    let joining = joining(&node, &resolved);
    let outcome = tokio::select! {
        signal = end_wish.next() => Ok(signal),
        failure = until_failure(&node, &mut house.tasks) => Err(failure),
    };
    joining.abort();
    match outcome {
        Ok(signal) => {
            tracing::info!(signal, "going down");
            // Whoever asks a second time does not want to wait.
            tokio::select! {
                () = house.end(&node) => {}
                signal = insistence(&mut end_wish) => tracing::warn!(signal, "ending at once"),
            }
            tracing::info!("ended");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            // After a fault nothing more is written: what is on disk is what this node knows.
            tracing::error!(%error, "this node stops");
            Err(error)
        }
    }
}

/// Waits for a signal that is meant as a second one: a process and its wrapper are often told to end at the same moment, and the
/// wrapper passes it on.
async fn insistence(end_wish: &mut EndWish) -> &'static str {
    let first = Instant::now();
    loop {
        let signal = end_wish.next().await;
        if first.elapsed() >= INSISTENCE_PAUSE {
            return signal;
        }
    }
}

/// What runs beside the node.
struct House {
    node: Arc<Node>,
    resp_metrics: Arc<resp::Metrics>,
    draining: CancellationToken,
    /// Closes the doors for clients.
    close: CancellationToken,
    /// Closes the HTTP port, last of all.
    close_http: CancellationToken,
    /// Made at one front door, they are there at the other one, too.
    snapshots: Arc<Snapshots>,
    tasks: JoinSet<Result<(), String>>,
}

impl House {
    fn new(node: Arc<Node>) -> House {
        House {
            node,
            resp_metrics: Arc::default(),
            snapshots: Arc::default(),
            draining: CancellationToken::new(),
            close: CancellationToken::new(),
            close_http: CancellationToken::new(),
            tasks: JoinSet::new(),
        }
    }

    fn open_http(&mut self, door: Door) -> Result<(), ServerError> {
        let listener = door.open()?;
        let mut registry = metrics::registry(&self.node);
        registry.register_collector(Box::new(metrics::RespFigures(Arc::clone(&self.resp_metrics))));
        let node = Arc::clone(&self.node);
        registry.register_collector(Box::new(metrics::RaftFigures(move || node.gauges())));
        let (draining, end) = (self.draining.clone(), self.close_http.clone());
        let page = http::serve(listener, Arc::clone(&self.node), registry, draining, end);
        self.tasks.spawn(async move { page.await.map_err(|error| format!("the HTTP port: {error}")) });
        Ok(())
    }

    /// gRPC is open before the node serves: operators look at a starting node through it.
    fn open_grpc(&mut self, door: Door, resolved: &Resolved) -> Result<(), ServerError> {
        let listener = door.open()?;
        let settings = grpc::Settings {
            password: door_password(resolved),
            protected_mode: resolved.settings.protected_mode,
            request_bytes_max: resolved.settings.request_bytes_max,
            connections_max: resolved.settings.maxclients,
            snapshots: Arc::clone(&self.snapshots),
            consistency: resolved.settings.consistency,
            ..grpc::Settings::default()
        };
        let (node, close) = (Arc::clone(&self.node), self.close.clone());
        self.tasks.spawn(async move {
            grpc::serve_cluster(listener, node, settings, close.cancelled_owned())
                .await
                .map_err(|error| error.to_string())
        });
        Ok(())
    }

    /// Opens the door for Redis clients once the node serves.
    fn open_resp(&mut self, door: Door, resolved: &Resolved, live: Live) {
        let own = &resolved.settings;
        let settings = Arc::new(resp::RespSettings {
            password: door_password(resolved),
            protected_mode: resolved.settings.protected_mode,
            clients_max: resolved.settings.maxclients,
            idle_timeout: Duration::from_secs(resolved.settings.timeout_s),
            request_bytes_max: resolved.settings.request_bytes_max,
            query_bytes_max: own.query_bytes_max.unwrap_or(own.request_bytes_max.saturating_mul(2)),
            output_bytes_max: own.output_bytes_max,
            clients_reserved: own.clients_reserved,
            clients_most: live.clients_most,
            slowlog_slower_than_us: own.slowlog_slower_than_us,
            slowlog_entries_max: own.slowlog_entries_max,
            latency_threshold_ms: own.latency_threshold_ms,
            parameters: live.settings,
            forwards: resolved.settings.writes_on_follower == WritesOnFollower::Forward,
            consistency: resolved.settings.consistency,
            sentinel_name: resolved.settings.master_name.clone(),
            snapshots: Arc::clone(&self.snapshots),
            metrics: Arc::clone(&self.resp_metrics),
            ..resp::RespSettings::default()
        });
        let (node, close, port) = (Arc::clone(&self.node), self.close.clone(), resolved.ports.resp);
        self.tasks.spawn(async move {
            if close.run_until_cancelled(until_it_serves(&node)).await.is_none() {
                return Ok(());
            }
            let listener = door.open().map_err(|error| error.to_string())?;
            tracing::info!(port, "serving Redis clients");
            resp::serve(listener, node, settings, close).await;
            Ok(())
        });
    }

    /// Hands leadership over, answers what is in flight, ends.
    async fn end(&mut self, node: &Arc<Node>) {
        self.draining.cancel();
        // While the doors are still open: clients are told who leads instead of finding nobody.
        let status = node.status();
        if status.role == Role::Leader && status.members.len() > 1 {
            match timeout(HANDOVER_TIMEOUT, node.transfer_leadership(None)).await {
                Ok(Ok(())) => {
                    tracing::info!("another node leads");
                    // Where all nodes end at once, there is nobody to name.
                    let _ = timeout(FAREWELL, node.until_alone()).await;
                }
                Ok(Err(error @ AdminError::Refused(_))) => tracing::info!(%error, "leadership was not handed over"),
                Ok(Err(error)) => tracing::warn!(%error, "leadership was not handed over"),
                Err(_) => tracing::warn!("leadership was not handed over in time"),
            }
        }
        self.close.cancel();
        self.close_http.cancel();
        if timeout(DRAIN_TIMEOUT, async { while self.tasks.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("connections were still open at the end of the time for draining");
        }
        if timeout(DRAIN_TIMEOUT, node.shutdown()).await.is_err() {
            tracing::warn!("the node did not end in time; the log has everything that was acknowledged");
        }
    }
}

async fn until_it_serves(node: &Node) {
    loop {
        let status = node.status();
        if status.serving {
            return;
        }
        let _ = timeout(SERVING_INTERVAL, node.status_changed(status.version)).await;
    }
}

/// Waits until the node meets a fault, or a port ends that never should.
async fn until_failure(node: &Node, tasks: &mut JoinSet<Result<(), String>>) -> ServerError {
    tokio::select! {
        fault = node.failed() => ServerError::Fault(fault),
        Some(ended) = tasks.join_next() => match ended {
            Ok(Ok(())) => ServerError::Fault("a port closed by itself".into()),
            Ok(Err(text)) => ServerError::Fault(text),
            Err(panic) => ServerError::Fault(format!("a task ended: {panic}")),
        },
    }
}

fn door_password(resolved: &Resolved) -> Option<talon_server::secret::Secret> {
    resolved.requirepass.as_ref().map(|password| talon_server::secret::Secret::new(password.expose()))
}

/// Asks to be added, if the settings say so.
fn joining(node: &Arc<Node>, resolved: &Resolved) -> JoinHandle<()> {
    let seeds = resolved.settings.join.clone();
    let operator = Operator::new(resolved.requirepass.as_ref());
    let member = crate::cluster::member(&own_peer(resolved));
    let node = Arc::clone(node);
    tokio::spawn(async move {
        if !seeds.is_empty() {
            join::join(node, operator, seeds, member).await;
        }
    })
}

fn own_peer(resolved: &Resolved) -> Peer {
    Peer {
        id: resolved.settings.node_id,
        host: resolved.advertise_host.clone(),
        resp_port: resolved.ports.resp,
        grpc_port: resolved.ports.grpc,
        raft_port: resolved.ports.raft,
    }
}

fn node_address(peer: &Peer) -> NodeAddress {
    NodeAddress {
        host: peer.host.clone(),
        resp_port: peer.resp_port,
        grpc_port: peer.grpc_port,
        raft_port: peer.raft_port,
    }
}

fn raft_settings(resolved: &Resolved, accept_clock_jump: bool) -> talon_raft::Settings {
    let settings = &resolved.settings;
    let own = own_peer(resolved);
    let listen = SocketAddr::new(resolved.listen, resolved.ports.raft);
    // Who has nobody to form a cluster with, and asks nobody, is a cluster alone.
    let forming = if settings.peers.is_empty() && settings.join.is_empty() {
        std::slice::from_ref(&own)
    } else {
        &settings.peers[..]
    };
    talon_raft::Settings {
        peers: forming.iter().map(|peer| (peer.id, node_address(peer))).collect(),
        cluster_secret: resolved.cluster_secret.as_ref().map(Secret::expose).unwrap_or_default().to_owned(),
        request_bytes_max: settings.request_bytes_max,
        hold_ms_max: settings.hold_ms_max,
        writes_on_follower: match settings.writes_on_follower {
            WritesOnFollower::Redirect => talon_raft::WritesOnFollower::Redirect,
            WritesOnFollower::Forward => talon_raft::WritesOnFollower::Forward,
        },
        replica_staleness_ms_max: settings.replica_staleness_ms_max,
        election_timeout_ms_min: settings.election_timeout_ms_min,
        election_timeout_ms_max: settings.election_timeout_ms_max,
        heartbeat_ms: settings.heartbeat_ms,
        clock_skew_ms_max: settings.clock_skew_ms_max,
        clock_jump_ms_max: if accept_clock_jump { u64::MAX } else { settings.clock_jump_ms_max },
        memory_bytes: settings.memory_bytes,
        log_segment_bytes: settings.log_segment_bytes,
        log_bytes_before_checkpoint: settings.log_bytes_before_checkpoint,
        log_bytes_max: settings.log_bytes_max,
        disk_reserve_bytes: settings.disk_reserve_bytes,
        ..talon_raft::Settings::new(settings.node_id, settings.data_dir.clone(), listen, node_address(&own))
    }
}

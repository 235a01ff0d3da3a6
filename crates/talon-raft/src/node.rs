//! The node: everything wired together, started, and ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::storage::RaftLogStorage;
use openraft::{Config, RaftLogReader, SnapshotPolicy};
use talon_core::planted::{Bug, is_planted};
use talon_core::{Denied, Status};
use talon_proto::v1;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::disk::DiskRoom;
use crate::environment::{Environment, Eventually};
use crate::forward::{self, Forwarder};
use crate::identity::{Home, HomeError, Identity};
use crate::leadership::{Heard, Leadership};
use crate::lease::LeaseGuard;
use crate::liveness::Liveness;
use crate::log::{LogSettings, LogStore};
use crate::probe::Prober;
use crate::proposer::Proposer;
use crate::read_index::ReadIndex;
use crate::remote_watches::RemoteWatches;
use crate::settings::Settings;
use crate::state::{Raft, StateMachine, Stores};
use crate::timekeeper::Timekeeper;
use crate::transport::{Gate, Link, MESSAGE_BYTES_MAX, Network, Received};
use crate::types::NodeAddress;
use crate::{disk, forward_watch, reads, transport, upkeep, watcher};

/// How long a stream with unanswered requests may be silent, ms.
const SILENCE_MS_MAX: u64 = 5_000;
/// How many reads over many rows run at once.
const WIDE_READS_MAX: usize = 8;
/// What one entry carries at most beside the largest request, bytes: one pipeline of other calls.
const ENTRY_SLACK_BYTES: usize = 16 << 20;
/// How often a node looks whether its raft has stopped: by itself, it does that only after a fault.
const STOPPED_CHECK: Duration = Duration::from_millis(50);
/// How often a starting node asks its peers.
const HELLO_INTERVAL: Duration = Duration::from_millis(200);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The log.
    #[error("the log: {0}")]
    Log(String),
    /// The state.
    #[error("the state: {0}")]
    State(String),
    /// Log and state do not fit together.
    #[error("{0}")]
    Mismatch(String),
    /// The only voter's clock is far ahead of what it last stored.
    #[error(
        "this machine's clock is {ahead_ms} ms ahead of the last time stored in the data, more than clock_jump_ms_max ({max_ms} ms): \
         if the clock is wrong, keys would expire before their time. Set the clock right, or set clock_jump_ms_max higher \
         (0 = any) for this start"
    )]
    ClockJump {
        /// By how much.
        ahead_ms: u64,
        /// The bound.
        max_ms: u64,
    },
    /// A setting that raft does not take.
    #[error("settings: {0}")]
    Settings(String),
    /// The raft port cannot be listened on.
    #[error("cannot listen for other nodes on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// openraft did not start.
    #[error("raft: {0}")]
    Raft(String),
}

/// A running node of a cluster. It implements [`talon_core::Database`] and [`talon_core::Administer`].
pub struct Node {
    pub(crate) inner: Arc<Inner>,
    /// Ends the tasks and the listener.
    ending: CancellationToken,
}

/// What the node's tasks share.
pub(crate) struct Inner {
    pub settings: Settings,
    pub raft: Raft,
    pub stores: Arc<Stores>,
    pub log: LogStore,
    pub time: Arc<Timekeeper>,
    pub lease: Arc<LeaseGuard>,
    /// How long ago each member was heard.
    pub liveness: Arc<Liveness>,
    pub link: Arc<Link>,
    pub proposer: Arc<Proposer>,
    pub read_index: ReadIndex,
    pub prober: Prober,
    pub forwarder: Forwarder,
    /// What it watches for other nodes.
    pub remote_watches: RemoteWatches,
    /// How many reads over many rows run at once.
    pub wide_reads: Arc<Semaphore>,
    pub leadership: watch::Receiver<Leadership>,
    pub status: watch::Receiver<Arc<Status>>,
    pub voter_sets: Mutex<Vec<Vec<u64>>>,
    pub watch_over: Arc<WatchOver>,
    pub fault: watch::Receiver<Option<String>>,
    /// Room on the disk.
    pub disk: Arc<DiskRoom>,
    pub environment: Environment,
}

impl Inner {
    pub fn voter_sets(&self) -> MutexGuard<'_, Vec<Vec<u64>>> {
        self.voter_sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when a call that comes now may be held, monotonic ms.
    pub fn hold_deadline_ms(&self) -> u64 {
        self.time.monotonic_ms() + self.settings.hold_ms_max
    }
}

/// What arrives from other nodes goes past here.
pub(crate) struct WatchOver {
    home: Home,
    node_id: u64,
    time: Arc<Timekeeper>,
    link: OnceLock<Arc<Link>>,
    /// The node itself, once it is put together.
    node: OnceLock<Weak<Inner>>,
    pub heard: Heard,
    /// Somebody has hung up: whether it was the leader is to be looked at.
    pub hung_up: Notify,
    disk: Arc<DiskRoom>,
    /// It may have been a voter that lost its disk: no votes until it holds what the cluster had committed.
    pub joining: AtomicBool,
    /// A restarted voter may have acknowledged a leader just before: no votes until that lease is over, monotonic ms.
    pub quiet_until_ms: u64,
}

impl WatchOver {
    /// This node belongs to a cluster now.
    fn belong(&self, cluster_id: &str, joining: bool) -> Result<(), HomeError> {
        self.home.save(self.node_id, cluster_id, joining)?;
        self.joining.store(joining, Ordering::Release);
        if let Some(link) = self.link.get() {
            link.set_cluster_id(cluster_id);
        }
        tracing::info!(cluster_id, joining, "this node belongs to a cluster now");
        Ok(())
    }

    /// The node itself.
    fn running(&self) -> Result<Arc<Inner>, tonic::Status> {
        let node = self.node.get().and_then(Weak::upgrade);
        node.ok_or_else(|| tonic::Status::failed_precondition("this node does not run"))
    }

    /// It holds what the cluster had committed: it may vote from now on.
    pub fn joined(&self) -> Result<(), HomeError> {
        let cluster_id = self.link.get().map(|link| link.cluster_id()).unwrap_or_default();
        self.home.save(self.node_id, &cluster_id, false)?;
        self.joining.store(false, Ordering::Release);
        tracing::info!("this node has caught up and may vote");
        Ok(())
    }
}

impl Gate for WatchOver {
    fn join(&self, cluster_id: &str) -> Result<(), String> {
        self.belong(cluster_id, true).map_err(|error| error.to_string())
    }

    fn found(&self, cluster_id: &str) -> Result<(), String> {
        self.belong(cluster_id, false).map_err(|error| error.to_string())
    }

    fn why_no_vote(&self) -> Option<&'static str> {
        if self.joining.load(Ordering::Acquire) {
            return Some("this node has not caught up with the cluster it joined");
        }
        (self.time.monotonic_ms() < self.quiet_until_ms).then_some("this node has just been restarted")
    }

    fn takes_entries(&self) -> bool {
        self.disk.takes_entries(self.time.monotonic_ms())
    }

    fn disk(&self) -> &DiskRoom {
        &self.disk
    }

    fn read_index(&self, request: v1::ReadIndexRequest) -> Eventually<'_, Result<v1::ReadIndexReply, Denied>> {
        let node = self.node.get().and_then(Weak::upgrade);
        Box::pin(async move {
            let inner = node.ok_or(Denied::NoLeader)?;
            reads::read_index(&inner, request).await
        })
    }

    fn forward(
        &self,
        from: u64,
        request: v1::ForwardRequest,
    ) -> Eventually<'_, Result<v1::ForwardReply, tonic::Status>> {
        let node = self.running();
        Box::pin(async move { forward::answer(&node?, from, request).await })
    }

    fn watch(&self, from: u64, request: v1::WatchRequest) -> Eventually<'_, Result<v1::WatchReply, tonic::Status>> {
        let node = self.running();
        Box::pin(async move { forward_watch::answer_watch(&*node?, from, request).await })
    }

    fn forward_if(
        &self,
        from: u64,
        request: v1::ForwardIfRequest,
    ) -> Eventually<'_, Result<v1::ForwardReply, tonic::Status>> {
        let node = self.running();
        Box::pin(async move { forward_watch::answer_if(&node?, from, request).await })
    }

    fn keep_watches(&self, from: u64, request: &v1::KeepWatchesRequest) {
        if let Ok(node) = self.running() {
            forward_watch::hear_news(&node, from, request);
        }
    }

    fn heard(&self, received: Received) {
        self.heard.hear(self.time.monotonic_ms(), received.committed_index);
    }

    fn left(&self, node_id: u64) {
        self.heard.leave(node_id);
        self.hung_up.notify_one();
    }
}

fn raft_config(settings: &Settings) -> Result<Config, StartError> {
    let config = Config {
        cluster_name: "talon".to_owned(),
        heartbeat_interval: settings.heartbeat_ms,
        election_timeout_min: settings.election_timeout_ms_min,
        election_timeout_max: settings.election_timeout_ms_max,
        max_payload_entries: 64,
        max_append_entries: Some(64),
        // Checkpoints and purges are triggered by bytes, in `upkeep`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        purge_batch_size: 256,
        replication_lag_threshold: 1_000,
        install_snapshot_timeout: 600_000,
        enable_pre_vote: Some(true),
        // A restarted leader may have lost a tail that it never acknowledged; as leader of the same term it would give its log ids
        // to other entries.
        enable_leader_restore: Some(is_planted(Bug::LeaderRestore)),
        // A follower may come back with an empty disk. It does not vote before it has caught up (`joining`).
        allow_log_reversion: Some(true),
        // Until `watcher` allows it.
        enable_elect: false,
        ..Config::default()
    };
    config.validate().map_err(|error| StartError::Settings(error.to_string()))
}

impl Node {
    /// Starts a node on the machine's own clocks. Returns once it runs; whether it serves, [`talon_core::Database::status`] says.
    ///
    /// # Errors
    /// If the folder, the log, the state or the port cannot be used.
    pub async fn start(settings: Settings) -> Result<Arc<Node>, StartError> {
        Node::start_in(settings, Environment::system()).await
    }

    /// Starts a node that takes clocks, connections, disks and threads from this environment.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_in(settings: Settings, environment: Environment) -> Result<Arc<Node>, StartError> {
        let request_bytes_max = MESSAGE_BYTES_MAX - 2 * ENTRY_SLACK_BYTES;
        if settings.request_bytes_max > request_bytes_max {
            let given = settings.request_bytes_max;
            return Err(StartError::Settings(format!("request_bytes_max of {given} is above {request_bytes_max}")));
        }
        let home = Home::open(&settings.data_dir)?;
        let identity = home.identity(settings.node_id)?;
        let time = Arc::new(Timekeeper::new(settings.node_id, environment.clocks.clone()));
        let lease = Arc::new(LeaseGuard::new(settings.election_timeout_ms_max));
        let cluster_id = identity.as_ref().map(|identity| identity.cluster_id.clone()).unwrap_or_default();
        let link = Link::new(
            settings.node_id,
            &settings.cluster_secret,
            cluster_id,
            time.clone(),
            lease.clone(),
            SILENCE_MS_MAX,
            environment.workers,
        );
        let link = Arc::new(link.map_err(StartError::Settings)?);

        let log_settings = LogSettings { segment_bytes: settings.log_segment_bytes, ..LogSettings::default() };
        let folder = home.log();
        let files = environment.disks.log_files(&folder);
        let files = files.map_err(|error| StartError::Log(format!("cannot open {}: {error}", folder.display())))?;
        let log = LogStore::open(files, log_settings, environment.workers);
        let log = log.map_err(|error| StartError::Log(error.to_string()))?;
        let (fault_known, fault) = watch::channel(None);
        let stores = Stores::open(&home.state(), settings.memory_bytes, &environment, fault_known)
            .map_err(|fault| StartError::State(fault.0))?;
        let stores = Arc::new(stores);
        let restarted = fits(log.clone(), &stores).await?;
        refuse_clock_jump(&settings, &stores, time.wall_ms())?;

        let now_ms = time.monotonic_ms();
        let disk = Arc::new(DiskRoom::new(settings.disk_reserve_bytes));
        let watch_over = Arc::new(WatchOver {
            disk: disk.clone(),
            node_id: settings.node_id,
            time: time.clone(),
            link: OnceLock::from(link.clone()),
            node: OnceLock::new(),
            heard: Heard::new(now_ms),
            hung_up: Notify::new(),
            joining: AtomicBool::new(identity.as_ref().is_some_and(|identity| identity.joining)),
            quiet_until_ms: if restarted && !is_planted(Bug::VoteWithinOldLease) {
                now_ms + settings.election_timeout_ms_max
            } else {
                0
            },
            home,
        });

        let network = Network::new(link.clone(), environment.sockets.clone());
        let machine = StateMachine::start(stores.clone()).map_err(|error| StartError::State(error.to_string()))?;
        let config = Arc::new(raft_config(&settings)?);
        let raft = Raft::new(settings.node_id, config, network.clone(), log.clone(), machine)
            .await
            .map_err(|error| StartError::Raft(error.to_string()))?;

        let ending = CancellationToken::new();
        let address = settings.raft_listen;
        transport::listen(address, &*environment.sockets, &raft, &link, watch_over.clone(), &stores, &ending)
            .await
            .map_err(|source| StartError::Listen { address, source })?;

        let (status_known, status) = watch::channel(Arc::new(watcher::first_status(&settings)));
        let (leadership_known, leadership) = watch::channel(Leadership::Nobody);
        let proposer = Arc::new(Proposer::new(time.clone(), stores.pending.clone()));
        let liveness = Arc::<Liveness>::default();
        let inner = Arc::new(Inner {
            read_index: ReadIndex::start(raft.clone()),
            prober: Prober::start(network.clone(), watch_over.clone(), status.clone(), time.clone(), liveness.clone()),
            forwarder: Forwarder::new(network.clone()),
            remote_watches: RemoteWatches::new(rand::random()),
            wide_reads: Arc::new(Semaphore::new(WIDE_READS_MAX)),
            settings,
            raft,
            stores,
            log,
            time,
            lease,
            liveness,
            link,
            proposer,
            leadership,
            status,
            voter_sets: Mutex::default(),
            watch_over,
            fault,
            disk,
            environment,
        });
        // Set once, here.
        let _ = inner.watch_over.node.set(Arc::downgrade(&inner));
        spawn(&ending, watcher::run(inner.clone(), leadership_known, status_known));
        spawn(&ending, upkeep::keep_time(inner.clone()));
        spawn(&ending, upkeep::ask_for_members(inner.clone()));
        spawn(&ending, upkeep::purge_expired(inner.clone()));
        spawn(&ending, upkeep::bound_the_log(inner.clone()));
        spawn(&ending, upkeep::give_up_lost_calls(inner.clone()));
        spawn(&ending, upkeep::mind_the_clock(inner.clone()));
        spawn(&ending, forward_watch::tell_news(inner.clone()));
        spawn(&ending, forward_watch::prune(inner.clone()));
        spawn(&ending, disk::watch(inner.clone()));
        spawn(&ending, disk::mind_the_others(inner.clone(), network.clone()));
        let proposing = inner.clone();
        spawn(&ending, async move {
            let (leadership, status) = (proposing.leadership.clone(), proposing.status.clone());
            let leader = || status.borrow().leader().cloned();
            let is_busy = || proposing.stores.live().machine.is_busy();
            let is_unwatched = || proposing.stores.live().machine.is_unwatched();
            let (raft, disk_denial) = (proposing.raft.clone(), || proposing.disk.denial());
            proposing.proposer.run(raft, leadership, leader, is_busy, is_unwatched, disk_denial).await;
        });
        if !restarted && inner.stores.live().machine.applied().is_nothing() {
            spawn(&ending, form(inner.clone(), network, identity));
        }
        Ok(Arc::new(Node { inner, ending }))
    }

    /// Resolves when the node has met a storage fault, with what it was: whoever runs the node ends it then.
    pub async fn failed(&self) -> String {
        let mut fault = self.inner.fault.clone();
        let metrics = self.inner.raft.metrics();
        let mut turning = self.inner.raft.server_metrics();
        loop {
            if let Some(text) = fault.borrow_and_update().clone() {
                return text;
            }
            if let Err(error) = &metrics.borrow_watched().running_state {
                return error.to_string();
            }
            tokio::select! {
                changed = fault.changed() => if changed.is_err() { return "the state is gone".to_owned() },
                // They turn seldom, and end with openraft's own task: also when that has panicked, which it says nowhere else.
                changed = turning.changed() => if changed.is_err() { return "raft has stopped".to_owned() },
                // Not `metrics.changed()`: they change several times an entry, and whoever waits here has a thread of its own to wake.
                () = tokio::time::sleep(STOPPED_CHECK) => {}
            }
        }
    }

    /// Ends the node: hands leadership over if it leads (as far as that goes within a few seconds), stops raft, and makes durable what
    /// is applied.
    pub async fn shutdown(&self) {
        if matches!(*self.inner.leadership.borrow(), Leadership::Leading { .. })
            && self.inner.voter_sets().iter().any(|set| set.len() > 1)
            && let Err(error) = talon_core::Administer::transfer_leadership(self, None).await
        {
            crate::admin::tell_of_kept_leadership(&error);
        }
        self.ending.cancel();
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(%error, "raft did not end cleanly");
        }
        let stores = self.inner.stores.clone();
        let workers = self.inner.environment.workers;
        match workers.run(move || stores.live().machine.flush()).await {
            Ok(Ok(applied)) => tracing::info!(index = applied.index, "the state is on disk"),
            Ok(Err(fault)) => tracing::error!(%fault, "the state was not flushed; the log will bring it again"),
            Err(error) => tracing::error!(%error, "the state was not flushed; the log will bring it again"),
        }
        let log = self.inner.log.clone();
        if let Ok(Err(error)) = workers.run(move || log.close()).await {
            tracing::error!(%error, "the log did not end cleanly");
        }
    }

    /// Returns when no other voter runs any more.
    pub async fn until_alone(&self) {
        self.inner.until_alone().await;
    }

    /// Figures for the metrics endpoint: name (without prefix), what it is, and the value.
    pub fn gauges(&self) -> Vec<(&'static str, &'static str, f64)> {
        crate::watcher::gauges(&self.inner)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

fn spawn(ending: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    let ending = ending.clone();
    tokio::spawn(async move { ending.run_until_cancelled_owned(work).await });
}

/// What is applied must reach up to where the log begins: what was purged can only come from the state. Returns whether this node
/// has ever voted or had entries.
async fn fits(mut log: LogStore, stores: &Stores) -> Result<bool, StartError> {
    let failed = |error: std::io::Error| StartError::Log(error.to_string());
    let log_state = log.get_log_state().await.map_err(failed)?;
    let vote = log.get_log_reader().await.read_vote().await.map_err(failed)?;
    let applied = stores.live().machine.applied();
    if let Some(purged) = log_state.last_purged_log_id
        && (applied.is_nothing() || applied.index < purged.index)
    {
        return Err(StartError::Mismatch(format!(
            "the log begins behind index {}, but the state ends at {}: either the file {} has lost its end, or the state \
             folder is not the one that belongs to this log. Restore it, or remove the whole data folder and let this node \
             get its data from the others",
            purged.index,
            applied.index,
            stores.manifest().display()
        )));
    }
    Ok(vote.is_some() || log_state.last_log_id.is_some())
}

/// With one voter, no other clock can contradict this one.
fn refuse_clock_jump(settings: &Settings, stores: &Stores, wall_ms: u64) -> Result<(), StartError> {
    let (clock_ms, max_ms) = (stores.live().machine.applied().clock_ms, settings.clock_jump_ms_max);
    let ahead_ms = wall_ms.saturating_sub(clock_ms);
    if clock_ms == 0 || max_ms == 0 || ahead_ms <= max_ms || !only_voter(settings, stores)? {
        return Ok(());
    }
    Err(StartError::ClockJump { ahead_ms, max_ms })
}

fn only_voter(settings: &Settings, stores: &Stores) -> Result<bool, StartError> {
    stores.voters().map(|voters| voters == [settings.node_id]).map_err(|fault| StartError::State(fault.0))
}

/// The first start: the node with the lowest number forms the cluster, once all the others have said that they belong to none. The others
/// become founders first: a founder may vote at once, for it cannot have forgotten anything. Whoever comes with an empty disk later
/// may have been a voter, and has to catch up first.
async fn form(inner: Arc<Inner>, network: Network, identity: Option<Identity>) {
    let settings = &inner.settings;
    // With an identity: it was interrupted between writing that and the first log entry.
    let forms = identity.as_ref().is_none_or(|identity| !identity.joining);
    if !forms || settings.peers.first_key_value().map(|(id, _)| *id) != Some(settings.node_id) {
        return;
    }
    let begun = identity.map(|identity| identity.cluster_id).filter(|id| !id.is_empty());
    let Some(()) = ask_all(&inner, &network, begun.as_deref(), "").await else { return };
    let cluster_id = begun.clone().unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
    if begun.is_none()
        && let Err(error) = inner.watch_over.belong(&cluster_id, false)
    {
        inner.stores.fail(&talon_core::Fault(error.to_string()));
        return;
    }
    let Some(()) = ask_all(&inner, &network, Some(&cluster_id), &cluster_id).await else { return };
    match inner.raft.initialize(settings.peers.clone()).await {
        Ok(()) => tracing::info!(cluster_id, nodes = settings.peers.len(), "formed a cluster"),
        Err(error) => tracing::error!(%error, "the cluster was not formed"),
    }
}

/// Asks every other peer until all have answered that they belong to no cluster, or to `own`; with `found`, makes them its founders.
/// `None`: there is another cluster, and this node waits for its leader.
async fn ask_all(inner: &Inner, network: &Network, own: Option<&str>, found: &str) -> Option<()> {
    let settings = &inner.settings;
    let mut missing: BTreeMap<u64, NodeAddress> =
        settings.peers.iter().filter(|(id, _)| **id != settings.node_id).map(|(id, a)| (*id, a.clone())).collect();
    loop {
        for (id, address) in missing.clone() {
            match network.hello(id, &address, found).await {
                Ok(reply) if reply.cluster_id == found || Some(reply.cluster_id.as_str()) == own => {
                    missing.remove(&id);
                }
                Ok(reply) if !reply.cluster_id.is_empty() => {
                    tracing::info!(cluster_id = reply.cluster_id, "there is a cluster already; waiting for its leader");
                    return None;
                }
                Ok(_) => {}
                Err(status) if status.code() == tonic::Code::Unavailable => {
                    tracing::debug!(id, message = status.message(), "a peer does not answer yet");
                }
                Err(status) => network.say_refused(id, &status),
            }
        }
        if missing.is_empty() {
            return Some(());
        }
        if own.is_none() && !inner.link.cluster_id().is_empty() {
            return None;
        }
        tokio::time::sleep(HELLO_INTERVAL).await;
    }
}

//! What a node needs to know before it starts. Validated by whoever fills it in; units are in the names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::types::NodeAddress;

/// What a node that does not lead does with writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WritesOnFollower {
    /// Names the leader.
    #[default]
    Redirect,
    /// Has the leader carry them out, and answers with its answers.
    Forward,
}

/// The settings of one node. They may differ between the nodes of a cluster, except `cluster_secret` and the raft timings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node's number in the cluster, above 0.
    pub node_id: u64,
    /// Where everything is kept; one process at a time.
    pub data_dir: PathBuf,
    /// Where it listens for the other nodes.
    pub raft_listen: SocketAddr,
    /// Where clients and the other nodes reach it.
    pub advertised: NodeAddress,
    /// Who forms the cluster at the very first start, this node included; ignored afterwards. Empty: this node waits until the
    /// leader of an existing cluster adds it.
    pub peers: BTreeMap<u64, NodeAddress>,
    /// What the nodes show each other; strangers without it are refused.
    pub cluster_secret: String,
    /// The largest single request in bytes.
    pub request_bytes_max: usize,
    /// How long a call is held while nobody is known to lead, or the node does not serve yet, ms.
    pub hold_ms_max: u64,
    /// What a node that does not lead does with writes.
    pub writes_on_follower: WritesOnFollower,
    /// After how long without word from a leader a follower refuses reads, ms; 0 = never.
    pub replica_staleness_ms_max: u64,
    /// The shortest election timeout, ms.
    pub election_timeout_ms_min: u64,
    /// The longest election timeout, ms; also the length of the lease.
    pub election_timeout_ms_max: u64,
    /// How often the leader makes itself heard, ms.
    pub heartbeat_ms: u64,
    /// By how much a leader's wall clock may differ from the voters' median before it prefers that another node leads, ms.
    pub clock_skew_ms_max: u64,
    /// By how much the wall clock may lie ahead of the stored `T` at the start of a one-voter cluster, ms; 0 = any. Nobody else could
    /// tell that a clock is wrong, and a clock that is ahead ends keys before their time.
    pub clock_jump_ms_max: u64,
    /// Memory for RocksDB's block cache and memtables together, bytes.
    pub memory_bytes: usize,
    /// The size of one file of the log, bytes.
    pub log_segment_bytes: u64,
    /// How much the log grows before a checkpoint is made and the log behind it goes, bytes. (Up to four of its files are kept to be written
    /// again.)
    pub log_bytes_before_checkpoint: u64,
    /// How much log is kept for followers that lag, bytes; beyond it they get a checkpoint.
    pub log_bytes_max: u64,
    /// With less than so much free on the disk, the node takes no writes and no entries, bytes; 0 = it never refuses.
    pub disk_reserve_bytes: u64,
}

impl Settings {
    /// Settings with the defaults for everything that has one.
    pub fn new(node_id: u64, data_dir: PathBuf, raft_listen: SocketAddr, advertised: NodeAddress) -> Settings {
        Settings {
            node_id,
            data_dir,
            raft_listen,
            advertised,
            peers: BTreeMap::new(),
            cluster_secret: String::new(),
            request_bytes_max: talon_core::limits::REQUEST_BYTES_MAX,
            hold_ms_max: 5_000,
            writes_on_follower: WritesOnFollower::Redirect,
            replica_staleness_ms_max: 10_000,
            election_timeout_ms_min: 400,
            election_timeout_ms_max: 700,
            heartbeat_ms: 100,
            clock_skew_ms_max: 500,
            clock_jump_ms_max: 366 * 86_400_000,
            memory_bytes: 1 << 30,
            log_segment_bytes: 64 << 20,
            log_bytes_before_checkpoint: 256 << 20,
            log_bytes_max: 2 << 30,
            disk_reserve_bytes: 1 << 30,
        }
    }
}

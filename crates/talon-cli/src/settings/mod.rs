//! What a node is told from outside: one struct, merged from its defaults, a TOML file, the environment and flags
//! (each stronger than the one before), and checked once at the start.
//!
//! A field's name is the key in the file; in capitals behind `TALON_` it is the environment variable, and with dashes
//! it is the flag. Its comment is the help text.

mod as_text;
mod live;
mod load;
mod peer;
mod resolve;
mod rewrite;
mod secret;

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use serde::{Deserialize, Serialize};
use talon_core::Consistency;

pub use live::LiveSettings;
pub use load::{ServerCommand, load, unknown_variables};
pub use peer::Peer;
pub use resolve::{Ports, Resolved};
pub use secret::Secret;

/// Why the settings cannot be used; the text names the setting.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub String);

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people: one line of text, in colour on a terminal.
    Human,
    /// For machines: one JSON object a line.
    Json,
}

/// What a node that does not lead does with writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WritesOnFollower {
    /// Names the leader.
    Redirect,
    /// Has the leader carry them out.
    Forward,
}

/// The settings of one node, as they were written.
#[derive(Clone, Debug, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// This node's number in the cluster, from 1. Never reuse the number of a removed node.
    #[arg(long, env = "TALON_NODE_ID", default_value_t = 1)]
    pub node_id: u64,

    /// The folder for this node's data and log.
    #[arg(long, env = "TALON_DATA_DIR", default_value = "talon-data")]
    pub data_dir: PathBuf,

    /// The address to listen on; 0.0.0.0 or :: for all of them.
    #[arg(long, env = "TALON_LISTEN", default_value = "127.0.0.1")]
    pub listen: String,

    /// The host name or address that clients and the other nodes reach this node by [default: this node's host in
    /// `peers`, else the address it listens on, or the machine's name where that is all of them].
    #[arg(long, env = "TALON_ADVERTISE_HOST")]
    pub advertise_host: Option<String>,

    /// The port for Redis clients.
    #[arg(long, env = "TALON_RESP_PORT", default_value_t = 6380)]
    pub resp_port: u16,

    /// The port for gRPC clients and `talon cluster` [default: resp_port + 1000].
    #[arg(long, env = "TALON_GRPC_PORT")]
    pub grpc_port: Option<u16>,

    /// The port on which nodes replicate to each other [default: resp_port + 2000].
    #[arg(long, env = "TALON_RAFT_PORT")]
    pub raft_port: Option<u16>,

    /// The port for metrics and the live and ready probes [default: resp_port + 3000].
    #[arg(long, env = "TALON_HTTP_PORT")]
    pub http_port: Option<u16>,

    /// The voters that form the cluster at its first start, this node included, separated by commas:
    /// `id=host:resp_port`, or `id=host:resp_port:grpc_port:raft_port`. Empty: a cluster of this node alone. A later
    /// start needs none, for the log knows the members.
    #[arg(long, env = "TALON_PEERS", value_delimiter = ',')]
    #[serde(default)]
    pub peers: Vec<Peer>,

    /// Instead of `peers`, for a node that is new in a running cluster: members (`host:grpc_port`) that it asks to add
    /// it as a learner, separated by commas.
    #[arg(long, env = "TALON_JOIN", value_delimiter = ',')]
    #[serde(default)]
    pub join: Vec<String>,

    /// The password that Redis and gRPC clients must give.
    #[arg(long, env = "TALON_REQUIREPASS", hide_env_values = true)]
    pub requirepass: Option<Secret>,

    /// A file that holds the password, instead of `requirepass`.
    #[arg(long, env = "TALON_REQUIREPASS_FILE")]
    pub requirepass_file: Option<PathBuf>,

    /// The secret that the cluster's nodes show each other.
    #[arg(long, env = "TALON_CLUSTER_SECRET", hide_env_values = true)]
    pub cluster_secret: Option<Secret>,

    /// A file that holds the cluster's secret, instead of `cluster_secret`.
    #[arg(long, env = "TALON_CLUSTER_SECRET_FILE")]
    pub cluster_secret_file: Option<PathBuf>,

    /// Whether strangers are refused while this node listens beyond loopback without a password or a cluster secret.
    #[arg(long, env = "TALON_PROTECTED_MODE", default_value_t = true, action = ArgAction::Set)]
    pub protected_mode: bool,

    /// How many clients may be connected at once, through each of the two doors. Fewer are, and the log says so, where the system
    /// allows this process too few open files (ulimit -n).
    #[arg(long, env = "TALON_MAXCLIENTS", default_value_t = 10_000)]
    pub maxclients: usize,

    /// How many of these places, for Redis clients, only clients on this machine get (at most a quarter of all), so that one can
    /// still look into a node that is full.
    #[arg(long, env = "TALON_CLIENTS_RESERVED", default_value_t = 8)]
    pub clients_reserved: usize,

    /// After how many idle seconds a client is disconnected; 0: never.
    #[arg(long, env = "TALON_TIMEOUT_S", default_value_t = 0)]
    pub timeout_s: u64,

    /// The largest single request (an MSET, a MULTI group, a batch), in bytes.
    #[arg(long, env = "TALON_REQUEST_BYTES_MAX", default_value_t = talon_core::limits::REQUEST_BYTES_MAX)]
    pub request_bytes_max: usize,

    /// How many bytes are read ahead of what a Redis client has been answered; one whose unfinished request is larger is cut off
    /// [default: twice request_bytes_max].
    #[arg(long, env = "TALON_QUERY_BYTES_MAX")]
    pub query_bytes_max: Option<usize>,

    /// The most bytes of replies that wait for one Redis client; one with more is cut off.
    #[arg(long, env = "TALON_OUTPUT_BYTES_MAX", default_value_t = 1 << 30)]
    pub output_bytes_max: usize,

    /// From how many microseconds on a command, or the pipeline it came in, is put into the slow log; 0: all are, -1: none is.
    #[arg(long, env = "TALON_SLOWLOG_SLOWER_THAN_US", default_value_t = 10_000, allow_negative_numbers = true)]
    pub slowlog_slower_than_us: i64,

    /// The most entries of the slow log; 0: none are kept.
    #[arg(long, env = "TALON_SLOWLOG_ENTRIES_MAX", default_value_t = 128)]
    pub slowlog_entries_max: usize,

    /// From how many milliseconds on `LATENCY` keeps how long a command took; 0: it keeps nothing.
    #[arg(long, env = "TALON_LATENCY_THRESHOLD_MS", default_value_t = 0)]
    pub latency_threshold_ms: u64,

    /// For how long a follower answers reads without word from a leader; 0: for ever.
    #[arg(long, env = "TALON_REPLICA_STALENESS_MS_MAX", default_value_t = 10_000)]
    pub replica_staleness_ms_max: u64,

    /// What this node does with writes while it does not lead: it names the leader (`-MOVED`), or has the leader carry them out and answers
    /// with its answers. Then any client works on any node, and keeps its connection when another node leads.
    #[arg(long, env = "TALON_WRITES_ON_FOLLOWER", value_enum, default_value = "redirect")]
    pub writes_on_follower: WritesOnFollower,

    /// How reads are answered that do not choose it themselves (CLIENT CONSISTENCY, gRPC's `consistency`): `default` (linearizable on the
    /// leader, the newest state on a follower), `linearizable` (on every node), `lease` (by the leader alone), `snapshot` (the
    /// newest state of any node), or `bounded N`, with N in milliseconds: any node, at most so stale.
    #[arg(long, env = "TALON_CONSISTENCY", default_value_t = Consistency::Default)]
    #[serde(with = "as_text")]
    pub consistency: Consistency,

    /// For how long a command is held while nobody leads.
    #[arg(long, env = "TALON_HOLD_MS_MAX", default_value_t = 5_000)]
    pub hold_ms_max: u64,

    /// By how much a leader's clock may differ from the voters' median before it hands leadership over.
    #[arg(long, env = "TALON_CLOCK_SKEW_MS_MAX", default_value_t = 500)]
    pub clock_skew_ms_max: u64,

    /// A start is refused when the wall clock is further than this past the stored clock of a node that is alone
    /// (366 days; 0: never).
    #[arg(long, env = "TALON_CLOCK_JUMP_MS_MAX", default_value_t = 366 * 24 * 3_600_000)]
    pub clock_jump_ms_max: u64,

    /// The shortest time without word from a leader after which a follower campaigns.
    #[arg(long, env = "TALON_ELECTION_TIMEOUT_MS_MIN", default_value_t = 400)]
    pub election_timeout_ms_min: u64,

    /// The longest of these times; also the leader's lease.
    #[arg(long, env = "TALON_ELECTION_TIMEOUT_MS_MAX", default_value_t = 700)]
    pub election_timeout_ms_max: u64,

    /// How often the leader lets followers hear from it.
    #[arg(long, env = "TALON_HEARTBEAT_MS", default_value_t = 100)]
    pub heartbeat_ms: u64,

    /// The memory for data, in bytes: recent writes, and blocks read from disk. Some of it is left for buffers.
    #[arg(long, env = "TALON_MEMORY_BYTES", default_value_t = 1 << 30)]
    pub memory_bytes: usize,

    /// How many threads carry clients' connections [default: one a core]. Replication has one of its own.
    #[arg(long, env = "TALON_WORKER_THREADS")]
    pub worker_threads: Option<usize>,

    /// The size of one file of the log, in bytes.
    #[arg(long, env = "TALON_LOG_SEGMENT_BYTES", default_value_t = 64 << 20)]
    pub log_segment_bytes: u64,

    /// After how many bytes of log a checkpoint is taken, so that the log before it can go.
    #[arg(long, env = "TALON_LOG_BYTES_BEFORE_CHECKPOINT", default_value_t = 256 << 20)]
    pub log_bytes_before_checkpoint: u64,

    /// How much log is kept for followers that lag, in bytes; those further behind get a checkpoint.
    #[arg(long, env = "TALON_LOG_BYTES_MAX", default_value_t = 2 << 30)]
    pub log_bytes_max: u64,

    /// With less than so many bytes free on the disk of `data_dir`, this node takes no writes (`-MISCONF`) and answers reads, until
    /// there is room again; a leader lets a node with room lead. It should hold a few files of the log and a
    /// compaction of the storage: 1 GB does. 0: it takes writes until the disk itself refuses, and then stops.
    #[arg(long, env = "TALON_DISK_RESERVE_BYTES", default_value_t = 1 << 30)]
    pub disk_reserve_bytes: u64,

    /// The name under which Sentinel-aware clients ask for this cluster.
    #[arg(long, env = "TALON_MASTER_NAME", default_value = "talon")]
    pub master_name: String,

    /// How log lines look.
    #[arg(long, env = "TALON_LOG_FORMAT", value_enum, default_value = "human")]
    pub log_format: LogFormat,

    /// Which log lines are written: error, warn, info, debug or trace, or filters such as `info,talon_raft=debug`.
    #[arg(long, env = "TALON_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

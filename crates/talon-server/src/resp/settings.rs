//! What the RESP front door can be told.

use std::sync::Arc;
use std::time::Duration;

use talon_core::Consistency;
use talon_core::limits::{REQUEST_BYTES_MAX, VALUE_BYTES_MAX};

use super::metrics::Metrics;
use super::parameters::{NoParameters, Parameters};
use crate::secret::Secret;
use crate::snapshots::Snapshots;

/// Settings of the RESP front door. They may differ between nodes.
#[derive(Clone, Debug)]
pub struct RespSettings {
    /// The password of the one user, `default`; none = everyone is let in.
    pub password: Option<Secret>,
    /// Without a password, a listener that is not on loopback refuses peers that are not.
    pub protected_mode: bool,
    /// The most connections at one time.
    pub clients_max: usize,
    /// How many of these places only clients on this machine get (at most a quarter of all): whoever looks after a node can still
    /// look into one that is full.
    pub clients_reserved: usize,
    /// A connection that asks nothing for so long is closed; zero = never.
    pub idle_timeout: Duration,
    /// The longest word of a request, in bytes (`proto-max-bulk-len`).
    pub bulk_bytes_max: usize,
    /// The most words of one request.
    pub words_max: usize,
    /// The most bytes of one request, as a whole; also of what MULTI gathers.
    pub request_bytes_max: usize,
    /// The most commands that MULTI gathers.
    pub queue_calls_max: usize,
    /// The most bytes read ahead of what was carried out; more in one unfinished request closes the connection.
    pub query_bytes_max: usize,
    /// The most reply bytes of one batch of a pipeline; more closes the connection.
    pub output_bytes_max: usize,
    /// The most bytes of messages that wait for a subscriber to read; more closes the connection.
    pub push_bytes_max: usize,
    /// The most channels and patterns that one connection may subscribe to.
    pub subscriptions_max: usize,
    /// The most keys that one connection may watch.
    pub watched_keys_max: usize,
    /// A client that takes no byte of its replies for so long is cut off.
    pub output_stall_max: Duration,
    /// The most calls that are handed to the database at once.
    pub pipeline_calls_max: usize,
    /// The most bytes of calls that are handed to the database at once; one larger call goes alone.
    pub pipeline_bytes_max: usize,
    /// From how long on a batch of commands is put into the slow log, in microseconds; negative = never.
    pub slowlog_slower_than_us: i64,
    /// The most entries of the slow log.
    pub slowlog_entries_max: usize,
    /// From how long on `LATENCY` keeps a batch's time, in milliseconds; 0 = it keeps none.
    pub latency_threshold_ms: u64,
    /// How long connections may take to end after a shutdown was asked for.
    pub drain_max: Duration,
    /// The database has the leader carry out what only the leader may: its clients need not go there, and keep their connections when
    /// another node leads.
    pub forwards: bool,
    /// How reads are answered on connections that have not chosen it.
    pub consistency: Consistency,
    /// The name under which `SENTINEL` knows the cluster.
    pub sentinel_name: String,
    /// As many connections as the system allows; CONFIG SET goes no further.
    pub clients_most: usize,
    /// What CONFIG shows of the node.
    pub parameters: Arc<dyn Parameters>,
    /// The snapshots of this node.
    pub snapshots: Arc<Snapshots>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
}

impl Default for RespSettings {
    fn default() -> RespSettings {
        RespSettings {
            password: None,
            protected_mode: true,
            clients_max: 10_000,
            clients_reserved: 8,
            idle_timeout: Duration::ZERO,
            bulk_bytes_max: VALUE_BYTES_MAX,
            words_max: 1_048_576,
            request_bytes_max: REQUEST_BYTES_MAX,
            queue_calls_max: 262_144,
            query_bytes_max: 2 * REQUEST_BYTES_MAX,
            output_bytes_max: 1024 * 1024 * 1024,
            push_bytes_max: 32 * 1024 * 1024,
            subscriptions_max: 10_000,
            watched_keys_max: 10_000,
            output_stall_max: Duration::from_secs(60),
            pipeline_calls_max: 1024,
            pipeline_bytes_max: 8 * 1024 * 1024,
            slowlog_slower_than_us: 10_000,
            slowlog_entries_max: 128,
            latency_threshold_ms: 0,
            drain_max: Duration::from_secs(5),
            forwards: false,
            consistency: Consistency::Default,
            sentinel_name: "talon".to_owned(),
            clients_most: usize::MAX,
            parameters: Arc::new(NoParameters),
            snapshots: Arc::default(),
            metrics: Arc::new(Metrics::default()),
        }
    }
}

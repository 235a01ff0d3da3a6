//! The bounds of the gRPC front door.

use std::sync::Arc;
use std::time::Duration;

use talon_core::Consistency;
use talon_core::limits::{KEY_BYTES_MAX, REPLY_BYTES_MAX, REQUEST_BYTES_MAX};

use crate::secret::Secret;
use crate::snapshots::Snapshots;

/// What the front door is told. Every field has a default that suits a node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The password to ask for; none: see `protected_mode`.
    pub password: Option<Secret>,
    /// Without a password, refuse whoever does not come from this machine.
    pub protected_mode: bool,
    /// The largest single request, in bytes of keys, values and their framing.
    pub request_bytes_max: usize,
    /// The largest single answer, in bytes. Scans answer in many.
    pub reply_bytes_max: usize,
    /// How many connections may be open; one more is closed at once.
    pub connections_max: usize,
    /// How many requests and streams may be open on one connection; more wait on the client's side.
    pub streams_per_connection_max: u32,
    /// How many bytes a client may send on one stream before the server has taken them.
    pub stream_window_bytes: u32,
    /// How many bytes a client may send on one connection before the server has taken them.
    pub connection_window_bytes: u32,
    /// How long one request may take, ms; a client's own deadline counts if it is nearer.
    pub request_ms_max: u64,
    /// The snapshots of this node.
    pub snapshots: Arc<Snapshots>,
    /// How many scans may run at once.
    pub scans_max: usize,
    /// How many rows a scan reads at once; the core bounds their bytes.
    pub scan_page_rows_max: usize,
    /// How many commands of a pipeline are carried out together.
    pub pipeline_calls_max: usize,
    /// About how many bytes of a pipeline's commands are carried out together.
    pub pipeline_bytes_max: usize,
    /// How long a scan or a pipeline waits for its client to read, ms.
    pub stream_idle_ms_max: u64,
    /// How often an idle connection is asked whether it is alive, and how long it may take to answer, ms.
    pub keepalive_ms: u64,
    /// How reads are answered that do not say it.
    pub consistency: Consistency,
    /// How long open requests are waited for when the node goes down, ms.
    pub drain_ms_max: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            password: None,
            protected_mode: true,
            request_bytes_max: REQUEST_BYTES_MAX,
            // The core bounds what is in an answer; a quarter more is room for the framing.
            reply_bytes_max: REPLY_BYTES_MAX + REPLY_BYTES_MAX / 4,
            connections_max: 1_024,
            streams_per_connection_max: 128,
            stream_window_bytes: 1 << 20,
            connection_window_bytes: 4 << 20,
            request_ms_max: 30_000,
            snapshots: Arc::default(),
            scans_max: 64,
            scan_page_rows_max: 1_000,
            pipeline_calls_max: 256,
            pipeline_bytes_max: 1 << 20,
            stream_idle_ms_max: 60_000,
            keepalive_ms: 20_000,
            consistency: Consistency::Default,
            drain_ms_max: 5_000,
        }
    }
}

impl Settings {
    /// The largest message that is read: a request of the largest size, in the form that has the most framing
    /// (a batch of small writes), must get as far as the check that names the limit.
    pub(super) fn message_bytes_max(&self) -> usize {
        self.request_bytes_max.saturating_mul(2).saturating_add(KEY_BYTES_MAX)
    }

    pub(super) fn request_time(&self) -> Duration {
        Duration::from_millis(self.request_ms_max)
    }

    pub(super) fn stream_idle(&self) -> Duration {
        Duration::from_millis(self.stream_idle_ms_max)
    }

    pub(super) fn keepalive(&self) -> Duration {
        Duration::from_millis(self.keepalive_ms)
    }

    pub(super) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms_max)
    }
}

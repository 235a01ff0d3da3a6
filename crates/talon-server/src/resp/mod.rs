//! The RESP front door: Redis clients.
//!
//! Each connection is one task that reads, takes every complete request, hands them to the database in one call, and
//! answers in order with one flush. What the commands of the data are is the core's business; those of the connection
//! (`HELLO`, `CLIENT`, `MULTI`, …) are rows of a table here, with the same facts as the core's. `COMMAND` reads both.
//!
//! Bounds: connections, words and bytes of a request, calls and bytes of a batch, bytes of replies, the time a client may take
//! to read them, the time a shutdown may take. All are in [`RespSettings`].
//!
//! Connections come from a [`Listener`]: TCP, or what stands for it in a simulation.
//!
//! When a node stops leading, its ordinary connections are answered and closed, and those in READONLY mode stay.

mod alarm;
mod clients;
mod commands;
mod connection;
mod cross_protocol;
mod cursors;
mod deferred;
mod denied;
mod events;
mod failover;
mod histogram;
mod key_counts;
mod latency;
mod listener;
mod metrics;
mod monitors;
mod notices;
mod outbox;
mod parameters;
mod pause;
mod pipeline;
mod pubsub;
mod rates;
mod session;
mod settings;
mod shown;
mod slot;
mod slot_keys;
mod slowlog;
mod snapshot;
mod socket;
mod table;
mod topology;
mod tunables;
mod wait;
mod wall_clock;

pub use listener::serve;
pub use metrics::{CommandCounters, Metrics};
pub use parameters::{Changed, Parameters, RewriteError};
pub use settings::RespSettings;
pub use slot::{SLOTS, key_slot};
pub use socket::Listener;

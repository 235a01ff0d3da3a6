//! Talon's replication: the log on disk, openraft, the transport between nodes, and the node that is made of them.

#![warn(missing_docs)]

mod admin;
pub mod checkpoint;
pub mod clock;
mod database;
mod disk;
pub mod environment;
mod forward;
mod forward_watch;
mod gathering;
mod identity;
mod leadership;
pub mod lease;
mod liveness;
pub mod log;
mod node;
mod pending;
mod pointer;
mod probe;
mod proposer;
mod queue;
mod read_index;
mod reads;
mod remote_watches;
pub mod settings;
mod state;
mod timekeeper;
mod transport;
pub mod types;
mod upkeep;
mod watch_handles;
mod watched;
mod watcher;

pub use environment::Environment;
pub use node::{Node, StartError};
pub use settings::{Settings, WritesOnFollower};
pub use types::NodeAddress;

//! Talon's replication: the log on disk, openraft, the transport between nodes, and the node that is made of them.

#![warn(missing_docs)]

pub mod log;
pub mod types;

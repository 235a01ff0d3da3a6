//! Talon's front doors: what comes in from clients, and what goes out to them.
//!
//! *Enters*: connections. *Leaves*: [`talon_core::Call`]s to a [`talon_core::Database`], replies to clients.
//! *Must never know*: raft, storage, where the data is. Everything it has to know of the cluster is in
//! [`talon_core::Status`].

#![warn(missing_docs)]

pub mod grpc;
pub mod resp;
pub mod secret;
mod snapshots;

pub use snapshots::{SnapshotLimits, Snapshots};

//! The deterministic heart of Talon: given the data, a clock value and requests, it decides what
//! happens and what is answered.
//!
//! *Enters*: [`Request`]s, a [`Source`] to read the data from, the replicated clock `T`, a seed.
//! *Leaves*: [`Reply`]s and the [`Change`]s to commit.
//! *Must never know*: a wall clock, ambient randomness, disks, sockets, threads. Time and randomness
//! reach it as arguments, so that the same state and the same requests give the same bytes on
//! every node.

mod big;
pub mod command;
pub mod commands;
pub mod consistency;
pub mod database;
pub mod entry;
pub mod error;
pub mod extended;
pub mod glob;
mod held;
pub mod limits;
mod listeners;
pub mod numbers;
pub mod outcomes;
mod overlay;
pub mod planted;
pub mod proposal;
pub mod random;
mod ranges;
mod reader;
pub mod reply;
pub mod request;
#[cfg(feature = "script")]
pub mod script;
pub mod transaction;
pub mod typed;
pub mod value;
pub mod watch;

pub use command::{Command, Container, Execute, Facts, Flag, Group, KeySpec, Kind};
pub use consistency::Consistency;
pub use database::{
    AdminError, Administer, Call, DOWN_AFTER_MS, Database, Denied, Member, MemberRole, Outcome, PointInTime, Role,
    StateHash, Status,
};
pub use error::{Error, Fault, Refusal};
pub use listeners::{Listener, Listeners};
pub use proposal::Proposal;
pub use reply::Reply;
pub use request::Request;
pub use transaction::{Change, Source, Transaction};
pub use value::Record;
pub use watch::{LocalWatch, Releaser, RemoteWatch, Touches, Watch, WatchId, Watches};

//! What the black-box tests share: free ports, real `talon server` and `redis-server` processes on temporary folders, and
//! a RESP client that shows the very bytes of a reply.
//!
//! *Enters*: the binary, already built (`TALON_BIN`, else `target/release/talon`). *Leaves*: running processes, which end
//! when they are dropped and, whatever happens to the test, no later than the test's process. *Must never know*: anything
//! of Talon's inside; it links no crate that holds data.

#![warn(missing_docs)]

mod client;
mod cluster;
mod ports;
mod process;
mod redis;

pub use client::Client;
pub use cluster::{Cluster, ClusterOptions, Host, Node, talon_binary};
pub use ports::free_ports;
pub use process::{Process, wait_until};
pub use redis::RedisServer;

// What a reply is, for those who use `Client`.
pub use bytes::Bytes;
pub use talon_resp::Value;

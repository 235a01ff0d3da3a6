//! Unmodified clients and real clusters, one cluster at a time: what is timed would be disturbed by others.

mod everyday;
mod failover;

use std::sync::{Mutex, MutexGuard, PoisonError};

use talon_tests_support::Cluster;

static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other test of this binary runs.
fn alone() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ports of all nodes as the programs take them.
fn ports(cluster: &Cluster) -> String {
    cluster.nodes.iter().map(|node| node.resp_port.to_string()).collect::<Vec<_>>().join(",")
}

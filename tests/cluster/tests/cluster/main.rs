//! Real clusters, one at a time: what they are given to do, and what is done to them, would disturb each other.

mod expiry;
mod freshness;
mod handover;
mod kills;
mod large;
mod liveness;
mod membership;
mod nets;
mod rejoin;
mod routing;
mod settings;
mod watching;

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use talon_tests_support::Cluster;

static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other test of this binary runs.
fn alone() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where all nodes take Redis clients.
fn addresses(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster.nodes.iter().map(talon_tests_support::Node::address).collect()
}

/// A number from 0 to `below`, different at each call: the tests are to meet other moments at every run.
fn any(below: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() % below.max(1)
}

/// Waits a random time.
fn rest_up_to(longest_ms: u64) {
    std::thread::sleep(Duration::from_millis(any(longest_ms)));
}

/// How long something took, in milliseconds, for printing.
fn ms(since: Instant) -> u128 {
    since.elapsed().as_millis()
}

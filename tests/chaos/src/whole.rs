//! Whether a cluster is whole again.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use talon_tests_support::{Cluster, talon_binary, wait_until};

use crate::clients::Load;

/// Within this time after the last fault everything has to be whole.
pub const WHOLE_WITHIN: Duration = Duration::from_secs(30);
/// How long it is asked again: a node that cannot be reached yet is not equal.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until every node serves, exactly one leads, and every client gets its reads and writes answered again. Returns
/// how long that took.
///
/// # Panics
/// If it takes longer than [`WHOLE_WITHIN`].
pub fn wait_until_whole(cluster: &Cluster, load: &Load, clients: usize) -> Duration {
    const MORE: u64 = 5;
    let begun = Instant::now();
    let all: Vec<usize> = (0..clients).collect();
    let before = load.answered();
    assert!(
        load.goes_on(&all, MORE, WHOLE_WITHIN),
        "after {WHOLE_WITHIN:?} without a fault some client is still not served: {before:?}, then {:?}",
        load.answered()
    );
    let mut roles = Vec::new();
    let in_time = wait_until(WHOLE_WITHIN.saturating_sub(begun.elapsed()), || {
        roles = cluster.nodes.iter().map(talon_tests_support::Node::role).collect();
        let leaders = roles.iter().flatten().filter(|role| *role == "master").count();
        roles.iter().all(Option::is_some) && leaders == 1
    });
    assert!(in_time, "after {WHOLE_WITHIN:?} without a fault the nodes are not one cluster: {roles:?}");
    begun.elapsed()
}

/// `talon cluster verify`: all nodes answer, and hold the same bytes. The caller sits where the nodes can be reached.
///
/// # Panics
/// If they do not.
pub fn assert_equal_nodes(cluster: &Cluster) {
    let mut last = String::new();
    let equal = wait_until(VERIFY_TIMEOUT, || {
        let node = &cluster.nodes[cluster.leader()];
        let at = format!("{}:{}", node.host.address, node.grpc_port);
        let mut command = Command::new(talon_binary());
        // What is meant for the tests would look like misspelt settings to it.
        command.args(["cluster", "verify", "--json", "--at", &at]).env_remove("TALON_BIN").env_remove("TALON_LONG");
        let output = command.output().expect("the binary can be started");
        last = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let report: Json = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let nodes = report["nodes"].as_array().map_or(0, Vec::len);
        output.status.success() && report["equal"] == true && nodes == cluster.nodes.len()
    });
    assert!(equal, "the nodes are not seen to hold the same bytes: {last}");
}

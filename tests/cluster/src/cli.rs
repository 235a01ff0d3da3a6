//! `talon cluster …`, as an operator types it.

use std::process::Command;

use serde_json::Value as Json;
use talon_tests_support::{Cluster, Node, talon_binary};

/// What came of a command.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote.
    pub out: String,
    /// What it complained of.
    pub complaint: String,
}

/// Runs `talon` with these words, to its end.
///
/// # Panics
/// If it cannot be started.
pub fn talon(words: &[&str]) -> Finished {
    // What is meant for the tests would look like misspelt settings to it.
    let mut command = Command::new(talon_binary());
    command.args(words).env_remove("TALON_BIN").env_remove("TALON_LONG");
    let output = command.output().expect("the binary can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Finished { code: output.status.code(), out: text(&output.stdout), complaint: text(&output.stderr) }
}

/// `host:grpc_port`.
fn at(node: &Node) -> String {
    format!("127.0.0.1:{}", node.grpc_port)
}

fn json(finished: &Finished) -> Json {
    serde_json::from_str(&finished.out).unwrap_or_else(|error| panic!("no JSON ({error}): {finished:?}"))
}

/// `talon cluster status`, asked of this node.
///
/// # Panics
/// If it does not answer.
pub fn status(node: &Node) -> Json {
    json(&talon(&["cluster", "status", "--json", "--at", &at(node)]))
}

/// The row of one node in the status.
///
/// # Panics
/// If it has none.
pub fn member_status(status: &Json, id: u16) -> Json {
    let nodes = status["nodes"].as_array().expect("rows of nodes");
    nodes.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("node {id} is missing: {status}")).clone()
}

/// `talon cluster verify`: all nodes answer and are byte-equal. Returns how many rows each has.
///
/// # Panics
/// If they are not.
pub fn verify(cluster: &Cluster) -> u64 {
    verify_at(&cluster.nodes[cluster.leader()], cluster.nodes.len())
}

/// As [`verify`], asked of this node, of a cluster with so many members.
///
/// # Panics
/// If they are not equal, or not so many.
pub fn verify_at(node: &Node, members: usize) -> u64 {
    let finished = talon(&["cluster", "verify", "--json", "--at", &at(node)]);
    assert_eq!(finished.code, Some(0), "the nodes are not equal: {finished:?}");
    let report = json(&finished);
    assert_eq!(report["equal"], true, "{report}");
    let nodes = report["nodes"].as_array().expect("rows of nodes");
    assert_eq!(nodes.len(), members, "{report}");
    let digests: Vec<&Json> = nodes.iter().map(|row| &row["digest"]).collect();
    assert!(digests.iter().all(|digest| digest.is_string() && *digest == digests[0]), "{report}");
    nodes[0]["rows"].as_u64().expect("a number of rows")
}

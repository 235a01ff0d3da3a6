//! Optimistic transactions (`WATCH`, `MULTI`, `EXEC`) by plain clients of all nodes at once, where nodes forward.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use talon_cluster_tests::{is_long, talon, verify};
use talon_tests_support::{Client, Cluster, ClusterOptions, Value};

use crate::{addresses, alone, ms, rest_up_to};

const KEY: &str = "count";

#[derive(Debug, Default)]
struct Counted {
    ahead: i64,
    touched: u64,
    doubts: i64,
    refused: Vec<String>,
    hung_up: u64,
}

impl Counted {
    /// One more, if nobody has touched the number since it was watched. `None` = the connection has ended.
    fn step(&mut self, client: &mut Client) -> Option<()> {
        let watched = client.call(&["WATCH", KEY]).ok()?;
        let read = client.call(&["GET", KEY]).ok()?;
        let number: Option<i64> = match &read {
            Value::Null => Some(0),
            other => other.text().and_then(|text| text.parse().ok()),
        };
        let (Value::Simple(_), Some(number)) = (&watched, number) else {
            self.refused.push(format!("{watched:?}, {read:?}"));
            return Some(());
        };
        client.call(&["MULTI"]).ok()?;
        client.call(&["SET", KEY, &(number + 1).to_string()]).ok()?;
        let Ok(answer) = client.call(&["EXEC"]) else {
            self.doubts += 1;
            return None;
        };
        match answer {
            Value::Null => self.touched += 1,
            Value::Array(_) => {
                self.ahead += 1;
                // Else who is closest to the leader would never let the others have a turn.
                thread::sleep(Duration::from_millis(15));
            }
            Value::Error(line) if line.starts_with("INDOUBT") => self.doubts += 1,
            other => self.refused.push(format!("EXEC: {other:?}")),
        }
        Some(())
    }
}

/// Counts on one node until it is told to stop, on another connection whenever one has ended.
fn count(address: SocketAddr, stop: Arc<AtomicBool>) -> JoinHandle<Counted> {
    thread::spawn(move || {
        let mut counted = Counted::default();
        let mut client = None;
        while !stop.load(Ordering::Relaxed) {
            let Some(mut open) = client.take().or_else(|| Client::connect(address).ok()) else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            match counted.step(&mut open) {
                Some(()) => client = Some(open),
                None => counted.hung_up += 1,
            }
        }
        counted
    })
}

fn stored(cluster: &Cluster) -> i64 {
    let value = cluster.connect_to_leader().call(&["GET", KEY]).expect("an answer");
    value.text().map_or(0, |text| text.parse().expect("a number"))
}

/// Lets two clients of every node count while something happens. Each transaction that went ahead counts once, and nothing else does.
fn race(cluster: &mut Cluster, what: &str, event: impl FnOnce(&mut Cluster)) -> Vec<Counted> {
    let before = stored(cluster);
    let stop = Arc::new(AtomicBool::new(false));
    let counting: Vec<_> =
        addresses(cluster).into_iter().flat_map(|at| [at, at]).map(|at| count(at, stop.clone())).collect();
    thread::sleep(Duration::from_millis(500));
    rest_up_to(300);
    event(cluster);
    thread::sleep(Duration::from_millis(1_000));
    stop.store(true, Ordering::Relaxed);
    let all: Vec<Counted> = counting.into_iter().map(|counting| counting.join().expect("it counts")).collect();
    cluster.wait_until_serving();
    let raised = stored(cluster) - before;
    println!("{what}: {raised} more; {all:?}");
    let ahead: i64 = all.iter().map(|counted| counted.ahead).sum();
    let doubts: i64 = all.iter().map(|counted| counted.doubts).sum();
    assert!((ahead..=ahead + doubts).contains(&raised), "{what}: {raised}, but {ahead} and {doubts} of doubt");
    let touched: u64 = all.iter().map(|counted| counted.touched).sum();
    let went_ahead = all.iter().filter(|counted| counted.ahead > 0).count();
    assert!(went_ahead > 1 && touched > 0, "{what}: there was no race");
    all
}

#[test]
fn counting_on_all_nodes_is_exact_through_a_handover_and_a_kill() {
    let _turn = alone();
    let mut cluster = Cluster::start_with(&ClusterOptions::nodes(3).flag("--writes-on-follower", "forward"));
    cluster.wait_until_serving();
    for _ in 0..if is_long() { 10 } else { 1 } {
        let to = cluster.nodes[(cluster.leader() + 1) % 3].id.to_string();
        let handed = race(&mut cluster, "hand-over", |cluster| {
            let at = format!("127.0.0.1:{}", cluster.nodes[0].grpc_port);
            let moved = talon(&["cluster", "transfer", &to, "--at", &at]);
            assert_eq!(moved.code, Some(0), "{moved:?}");
        });
        let noticed = |counted: &Counted| counted.doubts > 0 || !counted.refused.is_empty() || counted.hung_up > 0;
        assert!(!handed.iter().any(noticed), "an operator's hand-over costs nothing but a transaction's turn");
        race(&mut cluster, "kill", |cluster| {
            let leader = cluster.leader();
            cluster.nodes[leader].kill();
            let begun = Instant::now();
            cluster.leader();
            println!("another leader after {} ms", ms(begun));
            thread::sleep(Duration::from_millis(500));
            cluster.nodes[leader].start().expect("it can be started again");
        });
    }
    verify(&cluster);
}

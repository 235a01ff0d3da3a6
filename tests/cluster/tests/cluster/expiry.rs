//! Keys end everywhere, in time, and restarts change nothing about when.

use std::time::{Duration, Instant};

use talon_cluster_tests::{is_long, verify};
use talon_tests_support::{Client, Cluster, Value};

use crate::{alone, any, ms};

/// On a follower a key may be seen longer by a tick of 100 ms and the replication lag; on a loaded machine that is a lot.
const LATE_MS_MAX: u128 = 600;

/// How long after the leader's answer a write may be missing on a follower. Shorter than any key of this test lives.
const LAG_MAX: Duration = Duration::from_millis(100);

fn call(client: &mut Client, words: &[&str]) -> Value {
    client.call(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn readers(cluster: &Cluster) -> Vec<Client> {
    let connect = |node: &talon_tests_support::Node| {
        let mut client = node.connect().expect("it serves");
        call(&mut client, &["READONLY"]);
        client
    };
    cluster.nodes.iter().map(connect).collect()
}

fn integer(value: &Value) -> i64 {
    match value {
        Value::Integer(number) => *number,
        other => panic!("no number: {other:?}"),
    }
}

#[test]
fn a_key_ends_on_every_node_in_time() {
    let _turn = alone();
    let count = if is_long() { 400 } else { 60 };
    let cluster = Cluster::start(3);
    let leader_place = cluster.leader();
    let mut leader = cluster.connect_to_leader();
    // When each was set, before and after, and for how long.
    let mut keys: Vec<(String, Instant, Instant, u128)> = Vec::new();
    for number in 0..count {
        let (name, life_ms) = (format!("short:{number}"), 200 + any(2500));
        let before = Instant::now();
        assert_eq!(call(&mut leader, &["SET", &name, "v", "PX", &life_ms.to_string()]), Value::Simple("OK".into()));
        keys.push((name, before, Instant::now(), life_ms.into()));
    }
    let watchers: Vec<_> = readers(&cluster)
        .into_iter()
        .map(|mut client| {
            let keys = keys.clone();
            std::thread::spawn(move || watch(&mut client, &keys))
        })
        .collect();
    let late: Vec<u128> = watchers.into_iter().map(|watcher| watcher.join().expect("a watcher's findings")).collect();
    assert_eq!(integer(&call(&mut leader, &["DBSIZE"])), 0);
    assert!(talon_tests_support::wait_until(Duration::from_secs(5), || verify(&cluster) == 0), "rows are left behind");
    println!("{count} keys ended; at the latest, by node (node {} led): {late:?} ms late", leader_place + 1);
}

/// Looks at all keys again and again until all have ended; returns by how many ms the latest was late.
fn watch(client: &mut Client, keys: &[(String, Instant, Instant, u128)]) -> u128 {
    let (mut live, mut late_max) = (keys.to_vec(), 0);
    while !live.is_empty() {
        live.retain(|(name, before, after, life_ms)| {
            // Not early but for the slewing of the clock; not late but for tick and lag.
            let asked_ms = ms(*before);
            let there = call(client, &["EXISTS", name]) == Value::Integer(1);
            if there {
                let late_ms =
                    asked_ms.saturating_sub(after.duration_since(*before).as_millis()).saturating_sub(*life_ms);
                assert!(late_ms < LATE_MS_MAX, "{name} is still there {late_ms} ms after its end");
                late_max = late_max.max(late_ms);
            } else if after.elapsed() < LAG_MAX {
                // It may not have come to this follower yet.
                return true;
            } else {
                let lived_ms = ms(*before);
                assert!(lived_ms * 100 >= life_ms * 95, "{name} ended after {lived_ms} ms of {life_ms}");
            }
            there
        });
        std::thread::sleep(Duration::from_millis(10));
    }
    late_max
}

#[test]
fn ends_of_keys_survive_every_restart() {
    let _turn = alone();
    let mut cluster = Cluster::start(3);
    let mut leader = cluster.connect_to_leader();
    for (name, life) in [("long", "600000"), ("longer", "86400000")] {
        call(&mut leader, &["SET", name, "v", "PX", life]);
    }
    call(&mut leader, &["SET", "forever", "v"]);
    let ends: Vec<i64> =
        ["long", "longer", "forever"].iter().map(|name| integer(&call(&mut leader, &["PEXPIRETIME", name]))).collect();
    assert_eq!(ends[2], -1);
    for gently in [true, false] {
        let mut leader = cluster.connect_to_leader();
        assert_eq!(call(&mut leader, &["SET", "brief", "v", "PX", "1200"]), Value::Simple("OK".into()));
        let left_ms = integer(&call(&mut leader, &["PTTL", "long"]));
        let begun = Instant::now();
        for node in &mut cluster.nodes {
            if gently {
                assert_eq!(node.terminate().expect("it ends in time").code(), Some(0));
            } else {
                node.kill();
            }
        }
        std::thread::sleep(Duration::from_millis(1500));
        cluster.nodes.iter_mut().for_each(|node| node.start().expect("it can be started again"));
        cluster.wait_until_serving();
        let mut leader = cluster.connect_to_leader();
        assert_eq!(call(&mut leader, &["EXISTS", "brief"]), Value::Integer(0), "it ended while nobody ran");
        let (now_ms, elapsed_ms) = (integer(&call(&mut leader, &["PTTL", "long"])), ms(begun) as i64);
        let passed_ms = left_ms - now_ms;
        assert!((passed_ms - elapsed_ms).abs() < 600, "{passed_ms} ms of the TTL passed in {elapsed_ms} ms");
        for (client, place) in readers(&cluster).iter_mut().zip(1..) {
            let gone = talon_tests_support::wait_until(Duration::from_millis(LATE_MS_MAX as u64), || {
                call(client, &["EXISTS", "brief"]) == Value::Integer(0)
            });
            assert!(gone, "on node {place} it is still there");
            let now: Vec<i64> = ["long", "longer", "forever"]
                .iter()
                .map(|name| integer(&call(client, &["PEXPIRETIME", name])))
                .collect();
            assert_eq!(now, ends, "on node {place}");
        }
        verify(&cluster);
        println!(
            "all nodes {}: of a TTL, {passed_ms} ms passed in {elapsed_ms} ms",
            if gently { "ended and restarted" } else { "killed and restarted" }
        );
    }
}

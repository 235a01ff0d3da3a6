//! `WATCH` on nodes that have the leader carry out what only the leader may.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use support::{Anyhow, Cluster, all_equal, bulk, call, follower, requests, run_one, until, with_learner};
use talon_core::{Administer, Consistency, Database, Denied, Outcome, Reply, Role, Watch};
use talon_raft::{Node, WritesOnFollower};

const TOUCHED: Outcome = Ok(Reply::NullArray);

async fn start() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.writes_on_follower = WritesOnFollower::Forward;
    cluster.start_all().await;
    cluster
}

async fn watch(node: &Node, keys: &[&'static str]) -> Watch {
    node.watch(keys.iter().map(|key| Bytes::from_static(key.as_bytes())).collect()).await.expect("it is watched")
}

async fn serving(cluster: &Cluster) {
    let serves = |node: &Arc<Node>| node.status().serving && node.status().leader_id.is_some();
    until("all serve", || async { cluster.nodes.values().all(serves) }).await;
}

async fn transfer(cluster: &Cluster, from: u64, to: u64) {
    cluster.nodes[&from].transfer_leadership(Some(to)).await.expect("another node leads");
    until("it leads", || async { cluster.nodes[&to].status().role == Role::Leader }).await;
    serving(cluster).await;
}

/// How many watches a node keeps for others.
fn kept(node: &Node) -> usize {
    let gauges = node.gauges();
    gauges.iter().find(|(name, ..)| *name == "remote_watches").expect("it is counted").2 as usize
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_node_it_holds_until_a_key_is_touched_anywhere() -> Anyhow {
    let mut cluster = start().await;
    let nodes = with_learner(&mut cluster).await;
    let leader = &nodes[0];
    for (place, node) in nodes.iter().enumerate() {
        assert_eq!(run_one(node, "MSET a 1 b 1 c 1").await, Ok(Reply::Ok));
        run_one(node, "DEL missing").await.expect("it is taken");
        // What touches nothing: reads, other keys, what changes nothing.
        let watches = vec![watch(node, &["a", "b"]).await, watch(node, &["missing"]).await];
        assert_eq!(run_one(node, "GET a").await, bulk("1"));
        for line in ["SET c 2", "SETNX a 2", "DEL missing", "PERSIST a", "DELPREFIX mis"] {
            run_one(&nodes[(place + 1) % 3], line).await.expect("it is taken");
        }
        let outcome = node.execute_if(requests(&["SET a 2", "GET b"]), watches).await;
        assert_eq!(outcome, Ok(Reply::Array(vec![Reply::Ok, Reply::bulk("1")])), "node {place}");
        assert_eq!(run_one(node, "GET a").await, bulk("2"), "its own client finds it");
        // What touches, by way of any node.
        for (number, line) in
            ["SET a 2", "APPEND a x", "DEL b", "EXPIRE c 1000", "SET missing 1", "DELPREFIX c", "FLUSHALL"]
                .into_iter()
                .enumerate()
        {
            run_one(node, "MSET a 2 b 1 c 1").await.expect("it is taken");
            run_one(node, "DEL missing").await.expect("it is taken");
            let watches = vec![watch(node, &["a", "b"]).await, watch(node, &["missing", "c"]).await];
            run_one(&nodes[number % 3], line).await.expect("it is taken");
            assert_eq!(node.execute_if(requests(&["SET a 3"]), watches).await, TOUCHED, "node {place}: {line}");
            assert_ne!(run_one(node, "GET a").await, bulk("3"));
        }
        // A key that ends, and one that had ended before.
        run_one(node, "SET a 1 PX 60").await.expect("it is taken");
        let early = vec![watch(node, &["a"]).await];
        tokio::time::sleep(Duration::from_millis(70)).await;
        let late = vec![watch(node, &["a"]).await];
        let read = node.execute(vec![call("GET a")], Consistency::Snapshot).await;
        assert_eq!(read, [Ok(Reply::Null)], "it counts as missing, so nobody may see it");
        assert_eq!(node.execute_if(requests(&["SET a 4"]), early).await, TOUCHED);
        assert_eq!(node.execute_if(requests(&["SET a 5"]), late).await, Ok(Reply::Array(vec![Reply::Ok])));
        // With nothing to carry out, and with reads only.
        for (lines, replies) in [(&[][..], vec![]), (&["GET a"][..], vec![Reply::bulk("5")])] {
            let holds = vec![watch(node, &["a"]).await];
            assert_eq!(node.execute_if(requests(lines), holds).await, Ok(Reply::Array(replies)));
            let touched = vec![watch(node, &["a"]).await];
            run_one(leader, "SET a 5").await.expect("it is taken");
            assert_eq!(node.execute_if(requests(lines), touched).await, TOUCHED);
        }
    }
    all_equal(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_behind_it_is_no_older_than_it() -> Anyhow {
    let cluster = start().await;
    let (_, leader) = cluster.leader().await;
    let node = follower(&cluster).await;
    let stop = Instant::now() + Duration::from_millis(1_500);
    let writer = leader.clone();
    let acknowledged = Arc::new(AtomicI64::new(0));
    let told = acknowledged.clone();
    let writing = tokio::spawn(async move {
        let mut number = 0;
        while Instant::now() < stop {
            number += 1;
            assert_eq!(run_one(&writer, &format!("SET n {number}")).await, Ok(Reply::Ok));
            told.store(number, Ordering::SeqCst);
        }
    });
    let mut rounds = 0;
    while Instant::now() < stop {
        let before = acknowledged.load(Ordering::SeqCst);
        let _watch = watch(&node, &["n"]).await;
        // Even who takes any state as it is.
        let read = node.execute(vec![call("GET n")], Consistency::Snapshot).await.remove(0);
        let seen = match &read {
            Ok(Reply::Bulk(value)) => String::from_utf8_lossy(value).parse::<i64>()?,
            _ => 0,
        };
        assert!(seen >= before, "{read:?} behind a WATCH that began after {before}");
        rounds += 1;
    }
    writing.await?;
    assert!(rounds > 10, "{rounds}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_lets_go_of_what_is_not_needed() -> Anyhow {
    let cluster = start().await;
    let (_, leader) = cluster.leader().await;
    let node = follower(&cluster).await;
    let many: Vec<Watch> = futures::future::join_all((0..50).map(|_| watch(&node, &["a", "b"]))).await;
    assert_eq!(kept(&leader), 50);
    drop(many);
    until("what was dropped is released", || async { kept(&leader) == 0 }).await;
    let done = vec![watch(&node, &["a"]).await];
    let open = watch(&node, &["a"]).await;
    assert_eq!(node.execute_if(requests(&["GET a"]), done).await, Ok(Reply::Array(vec![Reply::Null])));
    assert_eq!(kept(&leader), 1, "EXEC ends it");
    let too_large = vec![Bytes::from(vec![b'k'; 65 << 20])];
    assert!(matches!(node.watch(too_large).await, Err(Denied::TooLarge { .. } | Denied::TooMuchWatched)));
    assert_eq!(kept(&leader), 1);
    assert_eq!(run_one(&node, "SET a 1").await, Ok(Reply::Ok));
    assert_eq!(node.execute_if(requests(&["SET a 2"]), vec![open]).await, TOUCHED);
    assert_eq!(kept(&leader), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leader_ends_it_wherever_it_was_begun() -> Anyhow {
    let cluster = start().await;
    let (leader_id, leader) = cluster.leader().await;
    serving(&cluster).await;
    let before = futures::future::join_all(cluster.nodes.values().map(|node| watch(node, &["a"]))).await;
    let target = leader_id % 3 + 1;
    transfer(&cluster, leader_id, target).await;
    for (node, before) in cluster.nodes.values().zip(before) {
        // Of the keys that are watched already, only others are watched now.
        let after = watch(node, &["b"]).await;
        assert_eq!(node.execute_if(requests(&["SET a 1"]), vec![before, after]).await, TOUCHED);
    }
    assert_eq!(run_one(&leader, "GET a").await, Ok(Reply::Null));
    // From where it was, back to there: that is another term.
    let before = futures::future::join_all(cluster.nodes.values().map(|node| watch(node, &["a"]))).await;
    transfer(&cluster, target, leader_id).await;
    transfer(&cluster, leader_id, target).await;
    for (node, before) in cluster.nodes.values().zip(before) {
        assert_eq!(node.execute_if(requests(&["SET a 1"]), vec![before]).await, TOUCHED);
    }
    assert_eq!(run_one(&leader, "GET a").await, Ok(Reply::Null));
    for node in cluster.nodes.values() {
        until("nothing is left of it", || async { kept(node) == 0 }).await;
    }
    all_equal(&cluster).await
}

/// What came of counting: by transactions that went ahead, and of which nobody knows.
#[derive(Debug, Default)]
struct Counted {
    ahead: i64,
    touched: u32,
    doubts: i64,
    denied: Vec<Denied>,
}

/// Raises a number as everybody does who has only WATCH: reads it, and writes one more if nobody has touched it.
fn count_up(node: Arc<Node>, until: Instant) -> tokio::task::JoinHandle<Counted> {
    tokio::spawn(async move {
        let mut counted = Counted::default();
        while Instant::now() < until {
            let watch = match node.watch(vec![Bytes::from_static(b"count")]).await {
                Ok(watch) => watch,
                Err(denied) => {
                    counted.denied.push(denied);
                    continue;
                }
            };
            let number = match run_one(&node, "GET count").await {
                Ok(Reply::Bulk(value)) => String::from_utf8_lossy(&value).parse().expect("a number"),
                Ok(Reply::Null) => 0,
                other => panic!("{other:?}"),
            };
            match node.execute_if(requests(&[&format!("SET count {}", number + 1)]), vec![watch]).await {
                Ok(Reply::NullArray) => counted.touched += 1,
                Ok(_) => {
                    counted.ahead += 1;
                    // Else those who are closest to the leader would never let the others have a turn.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(Denied::InDoubt) => counted.doubts += 1,
                Err(denied) => counted.denied.push(denied),
            }
        }
        counted
    })
}

/// Lets every node count at once, while something is done to the cluster. Nothing is lost and nothing is counted twice.
async fn race(cluster: &Cluster, node: &Arc<Node>, time: Duration, fault: impl Future<Output = ()>) -> Vec<Counted> {
    let number = |outcome: Outcome| match outcome {
        Ok(Reply::Bulk(value)) => String::from_utf8_lossy(&value).parse::<i64>().expect("a number"),
        _ => 0,
    };
    let before = number(run_one(node, "GET count").await);
    let end = Instant::now() + time;
    let counting: Vec<_> = cluster.nodes.values().flat_map(|node| [node, node]).cloned().collect();
    let counting: Vec<_> = counting.into_iter().map(|node| count_up(node, end)).collect();
    fault.await;
    let mut all = Vec::new();
    for counting in counting {
        all.push(counting.await.expect("it counts"));
    }
    let after = number(node.execute(vec![call("GET count")], Consistency::Linearizable).await.remove(0));
    println!("{before} to {after}: {all:?}");
    let ahead = all.iter().map(|counted| counted.ahead).sum::<i64>();
    let doubts = all.iter().map(|counted| counted.doubts).sum::<i64>();
    assert!((ahead..=ahead + doubts).contains(&(after - before)), "{before} to {after}: {ahead} and {doubts} of doubt");
    assert!(ahead > 50 && all.iter().any(|counted| counted.touched > 0), "there was no race: {all:?}");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_on_all_nodes_at_once_is_exact_also_through_a_transfer() -> Anyhow {
    let cluster = start().await;
    let (leader_id, leader) = cluster.leader().await;
    serving(&cluster).await;
    let handover = async {
        tokio::time::sleep(Duration::from_millis(800)).await;
        transfer(&cluster, leader_id, leader_id % 3 + 1).await;
    };
    let all = race(&cluster, &leader, Duration::from_millis(2_500), handover).await;
    for counted in &all {
        assert!(counted.doubts == 0 && counted.denied.is_empty() && counted.ahead > 0, "{counted:?}");
    }
    all_equal(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_is_exact_but_for_doubts_when_a_leader_is_cut_off() -> Anyhow {
    let cluster = start().await;
    let (leader_id, _) = cluster.leader().await;
    let node = follower(&cluster).await;
    let cut = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        (1..=3).filter(|id| *id != leader_id).for_each(|id| cluster.cables.cut(leader_id, id));
        tokio::time::sleep(Duration::from_millis(4_000)).await;
        cluster.cables.mend();
    };
    race(&cluster, &node, Duration::from_millis(8_000), cut).await;
    serving(&cluster).await;
    all_equal(&cluster).await
}

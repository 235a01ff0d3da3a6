//! Nodes that have the leader carry out what only the leader may: their clients need not know who leads.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use support::{Anyhow, Cluster, all_equal, bulk, call, follower, requests, run, run_one, until, with_learner};
use talon_core::{Administer, Call, Consistency, Database, Denied, Outcome, Reply};
use talon_raft::{Node, WritesOnFollower};

async fn start() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.writes_on_follower = WritesOnFollower::Forward;
    cluster.start_all().await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_takes_writes_and_answers_as_the_leader_does() -> Anyhow {
    let mut cluster = start().await;
    let nodes = with_learner(&mut cluster).await;
    let gathered = || Call::Transaction(requests(&["SET t 1", "INCRBY t 41", "GET t"]));
    for (n, node) in nodes.iter().enumerate() {
        let lines = [&format!("GET k{n}")[..], &format!("SET k{n} 5"), &format!("GET k{n}"), &format!("INCR k{n}")];
        let expected = [Ok(Reply::Null), Ok(Reply::Ok), bulk("5"), Ok(Reply::Integer(6))];
        assert_eq!(run(node, &lines).await, expected);
        assert_eq!(run_one(node, &format!("GET k{n}")).await, bulk("6"), "a client finds its own writes");
        let refused = run(node, &["SET text x", "INCR text"]).await;
        assert!(matches!(&refused[..], [Ok(Reply::Ok), Ok(Reply::Error(_))]), "a refusal is an answer: {refused:?}");
        let outcomes = node.execute(vec![gathered(), call("GET t")], Consistency::Default).await;
        assert_eq!(outcomes, [Ok(Reply::Array(vec![Reply::Ok, Reply::Integer(42), Reply::bulk("42")])), bulk("42")]);
        // What only the leader may answer goes there, too.
        assert_eq!(node.execute(vec![call("GET t")], Consistency::Lease).await, [bulk("42")]);
        assert_eq!(node.execute(vec![call("GET t")], Consistency::Linearizable).await, [bulk("42")]);
        let point = node.point_in_time(Consistency::Lease).await.expect("a point in time");
        let Call::One(get) = call("GET t") else { unreachable!("one line is one request") };
        assert_eq!(point.read(&get), bulk("42"));
    }
    for n in 0..200 {
        let node = &nodes[n % 3];
        assert_eq!(run_one(node, &format!("SET own {n}")).await, Ok(Reply::Ok));
        let read = node.execute(vec![call("GET own")], Consistency::Snapshot).await;
        assert_eq!(read, [Ok(Reply::Bulk(n.to_string().into()))]);
    }
    // By the leader's clock, and then by this node's own word: with nothing written, the log's clock stands still.
    assert_eq!(run_one(&nodes[1], "SET long v PX 100000").await, Ok(Reply::Ok));
    tokio::time::sleep(Duration::from_millis(300)).await;
    for node in &nodes {
        let lines = node.execute(vec![call("PTTL long")], Consistency::Lease).await;
        let [Ok(Reply::Integer(first))] = lines[..] else { panic!("{lines:?}") };
        let Ok(Reply::Integer(second)) = run_one(node, "PTTL long").await else { panic!("no time left") };
        assert!(second <= first && first <= 99_800, "{second} ms are left, and were {first} before");
    }
    let many: Vec<String> = (0..1_000).map(|n| format!("SET m{n} {}", "x".repeat(20_000))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(run(&nodes[1], &many).await.iter().all(|outcome| *outcome == Ok(Reply::Ok)), "20 MB, in parts");
    assert_eq!(run_one(&nodes[0], "COUNTPREFIX m").await, Ok(Reply::Integer(1_000)));
    all_equal(&cluster).await
}

/// Counts up through one node until told to stop; each success must be the next number, but for `doubts` of unknown fate.
fn count_up(node: Arc<Node>, key: &'static str, until: Instant) -> tokio::task::JoinHandle<(i64, i64, Vec<Denied>)> {
    tokio::spawn(async move {
        let (mut acknowledged, mut last, mut denied) = (0, 0, Vec::new());
        while Instant::now() < until {
            match run_one(&node, &format!("INCR {key}")).await {
                Ok(Reply::Integer(value)) => {
                    assert!(value > last, "{value} after {last}");
                    (acknowledged, last) = (acknowledged + 1, value);
                }
                Err(error) => denied.push(error),
                Ok(other) => panic!("{other:?}"),
            }
        }
        (acknowledged, last, denied)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_not_noticed() -> Anyhow {
    let cluster = start().await;
    let (leader_id, leader) = cluster.leader().await;
    let until = Instant::now() + Duration::from_millis(1_500);
    let keys = ["one", "two", "three"];
    let counters: Vec<_> =
        cluster.nodes.values().zip(keys).map(|(node, key)| count_up(node.clone(), key, until)).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let target = leader_id % 3 + 1;
    leader.transfer_leadership(Some(target)).await?;
    for (counter, key) in counters.into_iter().zip(keys) {
        let (acknowledged, last, denied) = counter.await?;
        assert_eq!((acknowledged, &denied[..]), (last, &[][..]), "{key}: each was carried out once");
        assert!(last > 20, "{key}: {last}");
        println!("{key}: {last}");
    }
    all_equal(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_ends_or_is_cut_off_costs_at_most_what_was_under_way() -> Anyhow {
    let mut cluster = start().await;
    for cut in [true, false] {
        let (leader_id, _) = cluster.leader().await;
        let node = follower(&cluster).await;
        let key = if cut { "cut" } else { "ended" };
        let counting = count_up(node.clone(), key, Instant::now() + Duration::from_millis(6_000));
        tokio::time::sleep(Duration::from_millis(300)).await;
        if cut {
            (1..=3).filter(|id| *id != leader_id).for_each(|id| cluster.cables.cut(leader_id, id));
        } else {
            cluster.stop_node(leader_id).await;
        }
        let (acknowledged, last, denied) = counting.await?;
        println!("{key}: {last}, {denied:?}");
        assert!(denied.is_empty() || denied == [Denied::InDoubt], "{denied:?}");
        assert!(acknowledged <= last && last <= acknowledged + denied.len() as i64, "{acknowledged} {last}");
        assert!(last > 100, "{last}");
        cluster.cables.mend();
        until("it is there", || async {
            let outcome: Outcome = run_one(&node, &format!("GET {key}")).await;
            matches!(&outcome, Ok(Reply::Bulk(value)) if String::from_utf8_lossy(value).parse::<i64>().is_ok_and(|at| at >= last))
        })
        .await;
        if !cut {
            cluster.start_node(leader_id).await;
        }
    }
    all_equal(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nobody_to_lead_nothing_is_carried_out() -> Anyhow {
    let mut cluster = Cluster::new(3);
    (cluster.writes_on_follower, cluster.hold_ms_max) = (WritesOnFollower::Forward, 800);
    cluster.start_all().await;
    cluster.leader().await;
    let node = follower(&cluster).await;
    assert_eq!(run_one(&node, "SET k 1").await, Ok(Reply::Ok));
    for (one, other) in [(1, 2), (1, 3), (2, 3)] {
        cluster.cables.cut(one, other);
    }
    // The first may have been on its way to a leader; from then on nobody is there.
    let first = run_one(&node, "SET k 2").await;
    assert!(matches!(first, Err(Denied::InDoubt | Denied::NoLeader)), "{first:?}");
    until("it knows that nobody leads", || async { node.status().leader_id.is_none() }).await;
    let begun = Instant::now();
    assert_eq!(run(&node, &["SET k 3", "GET k"]).await, [Err(Denied::NoLeader), Err(Denied::NoLeader)]);
    assert!(begun.elapsed() >= Duration::from_millis(800), "it was held");
    Ok(())
}

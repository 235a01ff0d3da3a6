//! How fresh a read is, on every kind of node, and in a partition.

mod support;

use std::time::{Duration, Instant};

use support::{Anyhow, Cluster, bulk, call, follower, run_one, until, with_learner};
use talon_core::Consistency::{Bounded, Default, Lease, Linearizable, Snapshot};
use talon_core::{Consistency, Database, Denied, Outcome, Reply, Role};
use talon_raft::Node;

async fn read(node: &Node, consistency: Consistency, line: &str) -> Outcome {
    node.execute(vec![call(line)], consistency).await.remove(0)
}

/// By way of a point in time.
async fn read_at_point(node: &Node, consistency: Consistency, line: &str) -> Outcome {
    let talon_core::Call::One(request) = call(line) else { unreachable!("one call") };
    node.point_in_time(consistency).await?.read(&request)
}

fn is_stale(outcome: &Outcome, at_least_ms: u64, bound: u64) -> bool {
    matches!(outcome, Err(Denied::Stale { behind_ms, bound_ms }) if *behind_ms >= at_least_ms && *bound_ms == bound)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_is_in_the_answer_of_every_node() -> Anyhow {
    let mut cluster = Cluster::start(3).await;
    let [leader, follower, learner] = with_learner(&mut cluster).await;
    for n in 0..150 {
        assert_eq!(run_one(&leader, &format!("SET k {n}")).await, Ok(Reply::Ok));
        let expected = Ok(Reply::Bulk(n.to_string().into()));
        for level in [Linearizable, Bounded { ms: 0 }] {
            for node in [&leader, &follower, &learner] {
                assert_eq!(read(node, level, "GET k").await, expected, "{level}");
                assert_eq!(read_at_point(node, level, "GET k").await, expected, "{level}");
            }
        }
        assert_eq!(read(&leader, Lease, "GET k").await, expected);
    }
    for node in [&follower, &learner] {
        let leader_id = leader.status().node_id;
        let outcome = read(node, Lease, "GET k").await;
        assert!(matches!(&outcome, Err(Denied::NotLeader { leader }) if leader.id == leader_id), "{outcome:?}");
        until("it has the write", || async { read(node, Snapshot, "GET k").await == bulk("149") }).await;
        assert_eq!(read(node, Default, "GET k").await, bulk("149"));
        assert_eq!(read(node, Bounded { ms: 60_000 }, "GET k").await, bulk("149"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_share_their_questions() -> Anyhow {
    let cluster = Cluster::start(3).await;
    let (_, leader) = cluster.leader().await;
    let follower = follower(&cluster).await;
    assert_eq!(run_one(&leader, "SET k 1").await, Ok(Reply::Ok));
    let begun = Instant::now();
    let readers = (0..2_000).map(|_| {
        let follower = follower.clone();
        tokio::spawn(async move { read(&follower, Linearizable, "GET k").await })
    });
    for reader in readers.collect::<Vec<_>>() {
        assert_eq!(reader.await?, bulk("1"));
    }
    // One by one, each would have to wait for a round to a quorum.
    println!("2000 readers in {:?}", begun.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_has_ended_is_gone_everywhere() -> Anyhow {
    let mut cluster = Cluster::start(3).await;
    let [leader, follower, learner] = with_learner(&mut cluster).await;
    for n in 0..10 {
        let level = [Linearizable, Bounded { ms: 0 }][n % 2];
        let ends = Instant::now() + Duration::from_millis(40);
        assert_eq!(run_one(&leader, "SET short v PX 40").await, Ok(Reply::Ok));
        tokio::time::sleep_until((ends + Duration::from_millis(5)).into()).await;
        // Whoever has seen that it has ended must not find it again on another node.
        until("it ends", || async { read(&leader, Lease, "GET short").await == Ok(Reply::Null) }).await;
        for node in [&follower, &learner] {
            assert_eq!(read(node, level, "GET short").await, Ok(Reply::Null), "{level}");
        }
    }
    // With nothing written, the log's clock stands still; what is left of a key's time does not.
    assert_eq!(run_one(&leader, "SET long v PX 100000").await, Ok(Reply::Ok));
    tokio::time::sleep(Duration::from_millis(500)).await;
    for node in [&leader, &follower, &learner] {
        let mut least = 99_600;
        for level in [Linearizable, Snapshot, Default, Bounded { ms: 60_000 }, Snapshot] {
            let outcome = read(node, level, "PTTL long").await;
            let Ok(Reply::Integer(left)) = outcome else { panic!("{level}: {outcome:?}") };
            assert!(left <= least, "{level}: {left} ms are left, and were {least} before");
            least = left;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_says_how_old_its_state_may_be() -> Anyhow {
    let mut cluster = Cluster::new(3);
    cluster.hold_ms_max = 1_500;
    cluster.start_all().await;
    let (old_id, old) = cluster.leader().await;
    assert_eq!(run_one(&old, "SET k old").await, Ok(Reply::Ok));
    let cut = Instant::now();
    for id in [1, 2, 3].into_iter().filter(|id| *id != old_id) {
        cluster.cables.cut(old_id, id);
    }
    // It may still have its lease; nobody else leads yet.
    assert_eq!(read(&old, Bounded { ms: 10_000 }, "GET k").await, bulk("old"));
    let new = loop {
        let found = cluster.nodes.iter().find(|(id, node)| **id != old_id && node.status().role == Role::Leader);
        if let Some((_, node)) = found {
            break node.clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(run_one(&new, "SET k new").await, Ok(Reply::Ok));
    let acknowledged = Instant::now();
    for level in [Linearizable, Lease] {
        assert_eq!(read(&old, level, "GET k").await, Err(Denied::NoLeader), "{level}");
    }
    // What was acknowledged longer ago than the bound must be in the answer, and it is not here.
    let bound_ms = acknowledged.elapsed().as_millis() as u64 - 100;
    let outcome = read(&old, Bounded { ms: bound_ms }, "GET k").await;
    assert!(is_stale(&outcome, bound_ms, bound_ms), "{outcome:?}");
    assert!(
        matches!(outcome, Err(Denied::Stale { behind_ms, .. }) if u128::from(behind_ms) <= cut.elapsed().as_millis() + 500)
    );
    let begun = Instant::now();
    assert_eq!(read(&old, Bounded { ms: 60_000 }, "GET k").await, bulk("old"), "that old it may be");
    assert!(begun.elapsed() < Duration::from_millis(200), "it is known at once");
    assert_eq!(read(&old, Snapshot, "GET k").await, bulk("old"));
    cluster.cables.mend();
    for level in [Linearizable, Bounded { ms: bound_ms }] {
        // Held until it has found the new leader; or not found in time, never answered from the old state.
        until("it answers again", || async {
            match read(&old, level, "GET k").await {
                Err(Denied::NoLeader | Denied::Stale { .. }) => false,
                outcome => {
                    assert_eq!(outcome, bulk("new"), "{level}");
                    true
                }
            }
        })
        .await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_and_a_learner_that_are_cut_off_know_it() -> Anyhow {
    let mut cluster = Cluster::new(3);
    cluster.hold_ms_max = 1_000;
    cluster.start_all().await;
    let [leader, follower, learner] = with_learner(&mut cluster).await;
    assert_eq!(run_one(&leader, "SET k old").await, Ok(Reply::Ok));
    for node in [&follower, &learner] {
        assert_eq!(read(node, Linearizable, "GET k").await, bulk("old"));
        let cut_off = node.status().node_id;
        (1..=4).filter(|id| *id != cut_off).for_each(|id| cluster.cables.cut(id, cut_off));
    }
    let cut = Instant::now();
    assert_eq!(run_one(&leader, "SET k new").await, Ok(Reply::Ok));
    for node in [&follower, &learner] {
        let outcome = read(node, Bounded { ms: 0 }, "GET k").await;
        assert!(is_stale(&outcome, 1, 0), "{outcome:?}");
        let outcome = read(node, Linearizable, "GET k").await;
        assert_eq!(outcome, Err(Denied::NoLeader));
    }
    for node in [&follower, &learner] {
        let bound_ms = cut.elapsed().as_millis() as u64 - 10;
        let outcome = read(node, Bounded { ms: bound_ms }, "GET k").await;
        assert!(is_stale(&outcome, bound_ms, bound_ms), "{outcome:?}");
        assert_eq!(read(node, Bounded { ms: 60_000 }, "GET k").await, bulk("old"));
        assert_eq!(read(node, Snapshot, "GET k").await, bulk("old"));
    }
    cluster.cables.mend();
    for node in [&follower, &learner] {
        until("it answers again", || async {
            match read(node, Linearizable, "GET k").await {
                Err(Denied::NoLeader) => false,
                outcome => {
                    assert_eq!(outcome, bulk("new"));
                    true
                }
            }
        })
        .await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_when_it_has_come_to_an_index() -> Anyhow {
    let cluster = Cluster::start(3).await;
    let (leader_id, leader) = cluster.leader().await;
    let follower = follower(&cluster).await;
    for n in 0..50 {
        assert_eq!(run_one(&leader, &format!("SET k {n}")).await, Ok(Reply::Ok));
        let index = leader.applied_index();
        assert!(follower.reached(index, Duration::from_secs(5)).await >= index);
        assert_eq!(read(&follower, Snapshot, "GET k").await, Ok(Reply::Bulk(n.to_string().into())));
    }
    cluster.cables.cut(leader_id, follower.status().node_id);
    assert_eq!(run_one(&leader, "SET k last").await, Ok(Reply::Ok));
    let (index, begun) = (leader.applied_index(), Instant::now());
    assert!(follower.reached(index, Duration::from_millis(100)).await < index);
    assert!(begun.elapsed() >= Duration::from_millis(100), "it waited");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_has_gone_is_not_named_to_who_asks_whether_it_is_there() -> Anyhow {
    const AT_ONCE: Duration = Duration::from_secs(5);
    let cluster = Cluster::start(3).await;
    let (leader_id, _) = cluster.leader().await;
    let follower = follower(&cluster).await;
    let follower_id = follower.status().node_id;
    assert_eq!(follower.confirmed_status(AT_ONCE).await.leader_id, Some(leader_id));
    // A leader that is slow, or behind a broken cable, may lead all the same.
    cluster.cables.cut(leader_id, follower_id);
    let begun = Instant::now();
    let status = follower.confirmed_status(Duration::from_millis(50)).await;
    assert!(status.leader_id == Some(leader_id) || begun.elapsed() > Duration::from_millis(300), "{status:?}");
    assert!(begun.elapsed() >= Duration::from_millis(50), "it was waited for");
    // Its entries do not come any more, but the end of their connection is not known yet: nothing else tells of it.
    cluster.cables.mend();
    until("it is heard again", || async { follower.status().leader_id == Some(leader_id) }).await;
    let term = follower.status().term;
    cluster.cables.cut(leader_id, follower_id);
    cluster.cables.deafen(leader_id);
    let begun = Instant::now();
    let status = follower.confirmed_status(AT_ONCE).await;
    println!("known in {:?}", begun.elapsed());
    assert_eq!((status.leader_id, status.term), (None, term), "before an election has begun");
    Ok(())
}

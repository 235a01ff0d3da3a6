//! Requests of a few bytes that write megabytes: what one entry writes has a bound, and nobody notices.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::{Anyhow, Cluster, all_equal, bulk, call, follower, run, run_one};
use talon_core::limits::{ENTRY_WRITES_MAX, TRANSACTION_WRITES_MAX, VALUE_BYTES_MAX};
use talon_core::{Call, Consistency, Database, Outcome, Reply, Request};
use talon_raft::{Node, WritesOnFollower};

/// A value of 16 MB, made by a few bytes.
fn grow(key: &str) -> String {
    format!("SETBIT {key} {} 1", VALUE_BYTES_MAX * 8 - 1)
}

async fn start() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.writes_on_follower = WritesOnFollower::Forward;
    cluster.start_all().await;
    cluster
}

fn request(line: &str) -> Request {
    match call(line) {
        Call::One(request) => request,
        Call::Transaction(_) => unreachable!("one line is one request"),
    }
}

fn transaction(lines: &[String]) -> Call {
    Call::Transaction(lines.iter().map(|line| request(line)).collect())
}

/// Grows values, with a counter raised and read in between, all in one pipeline.
async fn grow_many(node: &Node, prefix: &str, count: usize) {
    let counter = format!("{prefix}:n");
    let mut lines = Vec::new();
    for number in 1..=count {
        lines.extend([grow(&format!("{prefix}:{number}")), format!("INCR {counter}"), format!("GET {counter}")]);
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let expected: Vec<Outcome> = (1..=count)
        .flat_map(|number| {
            let count = Reply::Integer(number as i64);
            [Ok(Reply::Integer(0)), Ok(count), Ok(Reply::Bulk(number.to_string().into()))]
        })
        .collect();
    assert!(run(node, &lines).await == expected, "each once, and in order");
}

/// Raises a counter that it watches, until told to stop; how often.
async fn raise_watched(node: Arc<Node>, stop: Arc<AtomicBool>) -> i64 {
    let mut raised = 0;
    while !stop.load(Ordering::Acquire) {
        let watch = node.watch(vec!["watched".into()]).await.expect("it leads");
        let outcome = node.execute_if(vec![request("INCR watched")], vec![watch]).await;
        raised += 1;
        assert_eq!(outcome, Ok(Reply::Array(vec![Reply::Integer(raised)])), "nobody else touches it");
    }
    raised
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_that_write_much_are_carried_out_in_parts_and_in_order() -> Anyhow {
    let mut cluster = start().await;
    let (_, leader) = cluster.leader().await;
    let other = follower(&cluster).await;
    let before = leader.status_now().applied_index;
    let stop = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(raise_watched(leader.clone(), stop.clone()));
    tokio::join!(grow_many(&leader, "a", 13), grow_many(&leader, "b", 10), grow_many(&other, "c", 9));
    stop.store(true, Ordering::Release);
    assert!(watching.await? > 0);
    let entries = leader.status_now().applied_index - before;
    assert!(entries as usize >= 32 * VALUE_BYTES_MAX / ENTRY_WRITES_MAX as usize, "{entries} entries");
    assert_eq!(run_one(&leader, "COUNTPREFIX a:").await, Ok(Reply::Integer(14)));
    all_equal(&cluster).await?;

    // Whoever applies its log again comes to the same.
    let (leader_id, _) = cluster.leader().await;
    let id = cluster.nodes.keys().copied().find(|id| *id != leader_id).expect("a follower");
    drop((leader, other));
    cluster.stop_node(id).await;
    cluster.start_node(id).await;
    let applied = |cluster: &Cluster| cluster.nodes.values().map(|node| node.applied_index()).collect::<Vec<_>>();
    support::until("it has caught up", || async { applied(&cluster).iter().all(|index| *index >= before + entries) })
        .await;
    all_equal(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_writes_too_much_leaves_nothing_behind() -> Anyhow {
    let cluster = start().await;
    let (_, leader) = cluster.leader().await;
    let other = follower(&cluster).await;
    let too_many = TRANSACTION_WRITES_MAX as usize / VALUE_BYTES_MAX;
    let grow_all = |count| transaction(&(0..count).map(|number| grow(&format!("t:{number}"))).collect::<Vec<_>>());
    for node in [&leader, &other] {
        let calls = vec![call("SET n 1"), grow_all(too_many), call("INCR n"), grow_all(too_many), call("INCR n")];
        let outcomes = node.execute(calls, Consistency::Default).await;
        assert_eq!(
            [&outcomes[0], &outcomes[2], &outcomes[4]],
            [&Ok(Reply::Ok), &Ok(Reply::Integer(2)), &Ok(Reply::Integer(3))]
        );
        for refused in [&outcomes[1], &outcomes[3]] {
            let is_refused =
                matches!(refused, Ok(Reply::Error(refusal)) if refusal.line().starts_with("EXECABORT Transaction "));
            assert!(is_refused, "{refused:?}");
        }
        assert_eq!(run(node, &["COUNTPREFIX t:", "GET n"]).await, [Ok(Reply::Integer(0)), bulk("3")]);
    }
    let outcomes = leader.execute(vec![grow_all(too_many - 1), call("COUNTPREFIX t:")], Consistency::Default).await;
    assert_eq!(outcomes[1], Ok(Reply::Integer(too_many as i64 - 1)));
    all_equal(&cluster).await
}

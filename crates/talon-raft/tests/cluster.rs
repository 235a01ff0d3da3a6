//! Three nodes in one process: they form a cluster, replicate, fail over, and come back.

mod support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use support::{Anyhow, Cluster, address, all_equal, bulk, call, free_ports, learner, run, run_one, start, until};
use talon_core::{Administer, Consistency, Database, Denied, MemberRole, Reply, Role};
use talon_raft::Settings;

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_form_a_cluster_and_answer() -> Anyhow {
    let cluster = Cluster::start(3).await;
    let (leader_id, leader) = cluster.leader().await;
    assert_eq!(leader_id, 1, "the first node forms the cluster and leads it");
    let replies = run(&leader, &["SET a 1", "GET a", "INCR a", "GET a", "DEL a", "GET a"]).await;
    let expected = [Ok(Reply::Ok), bulk("1"), Ok(Reply::Integer(2)), bulk("2"), Ok(Reply::Integer(1)), Ok(Reply::Null)];
    assert_eq!(replies, expected);
    assert_eq!(run_one(&leader, "SET b x").await, Ok(Reply::Ok));
    assert_eq!(run_one(&leader, "GET b").await, bulk("x"));
    let follower = cluster.nodes[&2].clone();
    until("the follower has the write", || async { run_one(&follower, "GET b").await == bulk("x") }).await;
    match run_one(&follower, "SET b y").await {
        Err(Denied::NotLeader { leader }) => assert_eq!(leader.id, 1),
        other => panic!("{other:?}"),
    }
    assert_eq!(run(&follower, &["GET b", "SET b y", "GET b"]).await[0], bulk("x"));
    all_equal(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_at_the_same_position_everywhere_and_is_purged() -> Anyhow {
    let cluster = Cluster::start(3).await;
    let (_, leader) = cluster.leader().await;
    assert_eq!(run_one(&leader, "SET short v PX 300").await, Ok(Reply::Ok));
    assert_eq!(run_one(&leader, "GET short").await, bulk("v"));
    tokio::time::sleep(Duration::from_millis(301)).await;
    assert_eq!(run_one(&leader, "GET short").await, Ok(Reply::Null));
    for node in cluster.nodes.values() {
        until("the key ends", || async { run_one(node, "GET short").await == Ok(Reply::Null) }).await;
    }
    let index = leader.mark_state().await?;
    let rows = leader.state_hash(index).await?.rows;
    let purged = || async {
        let Ok(index) = leader.mark_state().await else { return false };
        leader.state_hash(index).await.is_ok_and(|hash| hash.rows == 0)
    };
    assert!(rows <= 1);
    until("the row is purged", purged).await;
    all_equal(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_takes_over_and_the_first_comes_back() -> Anyhow {
    let mut cluster = Cluster::start(3).await;
    let (leader_id, leader) = cluster.leader().await;
    for n in 0..200 {
        assert_eq!(run_one(&leader, &format!("SET k{n} {n}")).await, Ok(Reply::Ok));
    }
    drop(leader);
    let begun = Instant::now();
    cluster.stop_node(leader_id).await;
    let (second_id, second) = cluster.leader().await;
    println!("handed over in {:?}", begun.elapsed());
    assert_ne!(second_id, leader_id);
    for n in 0..200 {
        assert_eq!(run_one(&second, &format!("GET k{n}")).await, Ok(Reply::Bulk(n.to_string().into())));
    }
    assert_eq!(run_one(&second, "SET more 1").await, Ok(Reply::Ok));
    cluster.start_node(leader_id).await;
    let back = cluster.nodes[&leader_id].clone();
    until("it catches up", || async { run_one(&back, "GET more").await == bulk("1") }).await;
    all_equal(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_keeps_every_call() -> Anyhow {
    let cluster = Cluster::start(3).await;
    let (first_id, first) = cluster.leader().await;
    let writer = {
        let nodes = cluster.nodes.clone();
        tokio::spawn(async move {
            let mut acknowledged = 0;
            let mut target = first_id;
            while acknowledged < 500 {
                match run_one(&nodes[&target], "INCR counter").await {
                    Ok(Reply::Integer(value)) => {
                        acknowledged += 1;
                        assert_eq!(value, acknowledged, "no call was lost or counted twice");
                    }
                    Err(Denied::NotLeader { leader }) => target = leader.id,
                    other => panic!("{other:?}"),
                }
            }
        })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    first.transfer_leadership(Some(3)).await?;
    println!("transferred in {:?}", begun.elapsed());
    writer.await?;
    let (leader_id, _) = cluster.leader().await;
    assert_eq!(leader_id, 3);
    all_equal(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_and_a_new_one_get_a_checkpoint() -> Anyhow {
    let mut cluster = Cluster::start(3).await;
    let (_, leader) = cluster.leader().await;
    let value = "x".repeat(100_000);
    for n in 0..100 {
        assert_eq!(run_one(&leader, &format!("SET big{n} {value}")).await, Ok(Reply::Ok));
    }
    cluster.stop_node(3).await;
    std::fs::remove_dir_all(cluster.data(3))?;
    cluster.start_node(3).await;
    let back = cluster.nodes[&3].clone();
    until("the wiped node serves", || async { back.status().serving }).await;
    until("it has the data", || async { run_one(&back, "DBSIZE").await == Ok(Reply::Integer(100)) }).await;

    let port = free_ports(1)[0];
    cluster.peers.insert(4, address(port));
    let mut settings = cluster.settings(4);
    settings.peers = BTreeMap::new();
    let fourth = start(settings).await;
    cluster.nodes.insert(4, fourth.clone());
    let (_, leader) = cluster.leader().await;
    leader.add_learner(learner(4, port)).await?;
    until("the learner has the data", || async { run_one(&fourth, "DBSIZE").await == Ok(Reply::Integer(100)) }).await;
    leader.promote(4).await?;
    until("it votes", || async {
        leader.status().members.iter().any(|member| member.id == 4 && member.role == MemberRole::Voter)
    })
    .await;
    leader.remove(2).await?;
    cluster.stop_node(2).await;
    assert_eq!(run_one(&leader, "SET after 1").await, Ok(Reply::Ok));
    all_equal(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_too_far_behind_for_the_log_gets_a_checkpoint_while_writes_go_on() -> Anyhow {
    let mut cluster = Cluster::start_with_log(3, 1 << 20).await;
    let (_, leader) = cluster.leader().await;
    let value = "x".repeat(50_000);
    cluster.stop_node(2).await;
    for n in 0..200 {
        assert_eq!(run_one(&leader, &format!("SET big{n} {value} EX 1000")).await, Ok(Reply::Ok));
    }
    until("the log is purged", || async { leader.status().first_log_index > 100 }).await;
    let writing = {
        let (leader, value) = (leader.clone(), value.clone());
        tokio::spawn(async move {
            for n in 0..200 {
                assert_eq!(run_one(&leader, &format!("SET more{n} {value}")).await, Ok(Reply::Ok));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    };
    cluster.start_node(2).await;
    let behind = cluster.nodes[&2].clone();
    let has_all = || async { run_one(&behind, "DBSIZE").await == Ok(Reply::Integer(400)) };
    until("it has caught up", has_all).await;
    writing.await?;
    all_equal(&cluster).await?;

    // The same for one that has lost its disk; and what was installed survives a restart of everybody.
    cluster.stop_node(3).await;
    std::fs::remove_dir_all(cluster.data(3))?;
    cluster.start_node(3).await;
    let wiped = cluster.nodes[&3].clone();
    until("the wiped node serves", || async { wiped.status().serving }).await;
    until("it has the data", || async { run_one(&wiped, "DBSIZE").await == Ok(Reply::Integer(400)) }).await;
    all_equal(&cluster).await?;
    drop((leader, behind, wiped));
    for id in 1..=3 {
        cluster.stop_node(id).await;
    }
    for id in 1..=3 {
        cluster.start_node(id).await;
    }
    let (_, leader) = cluster.leader().await;
    assert_eq!(run_one(&leader, "DBSIZE").await, Ok(Reply::Integer(400)));
    assert_eq!(run_one(&leader, "SET last 1").await, Ok(Reply::Ok));
    all_equal(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_stop_and_start_again() -> Anyhow {
    let mut cluster = Cluster::start(3).await;
    let (_, leader) = cluster.leader().await;
    for n in 0..50 {
        assert!(run_one(&leader, &format!("INCRBY sum {n}")).await.is_ok());
    }
    drop(leader);
    for id in 1..=3 {
        cluster.stop_node(id).await;
    }
    for id in 1..=3 {
        cluster.start_node(id).await;
    }
    let (_, leader) = cluster.leader().await;
    assert_eq!(run_one(&leader, "GET sum").await, bulk("1225"));
    all_equal(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused() -> Anyhow {
    let cluster = Cluster::start(3).await;
    let (_, leader) = cluster.leader().await;
    let port = free_ports(1)[0];
    let folder = tempfile::tempdir()?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut settings = Settings::new(9, Path::join(folder.path(), "9"), listen, address(port));
    settings.cluster_secret = "guess".into();
    let stranger = start(settings).await;
    let adding = tokio::time::timeout(Duration::from_secs(3), leader.add_learner(learner(9, port))).await;
    assert!(adding.is_err(), "it never catches up");
    assert!(!stranger.status().serving);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_acknowledged() -> Anyhow {
    let mut cluster = Cluster::start(3).await;
    let (leader_id, leader) = cluster.leader().await;
    assert_eq!(run_one(&leader, "SET k 1").await, Ok(Reply::Ok));
    for id in [1, 2, 3].into_iter().filter(|id| *id != leader_id) {
        cluster.stop_node(id).await;
    }
    let outcome = run_one(&leader, "SET k 2").await;
    assert!(matches!(outcome, Err(Denied::InDoubt | Denied::NoLeader)), "{outcome:?}");
    tokio::time::sleep(Duration::from_millis(2000)).await;
    assert_eq!(leader.execute(vec![call("GET k")], Consistency::Lease).await, [Err(Denied::NoLeader)]);
    assert_ne!(leader.status().role, Role::Leader, "it knows that it may have been replaced");
    Ok(())
}

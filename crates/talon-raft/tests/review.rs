//! What a review found: each of these scenarios went wrong once.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use talon_core::{Administer, Call, Consistency, Database, Outcome, Reply, Request, Role};
use talon_raft::{Node, NodeAddress, Settings};

type Anyhow = Result<(), Box<dyn std::error::Error>>;

fn settings(folder: &std::path::Path, count: u64) -> Vec<Settings> {
    let listeners: Vec<_> =
        (0..count).map(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")).collect();
    let port = |n: u64| listeners[n as usize - 1].local_addr().expect("its address").port();
    let address =
        |n| NodeAddress { host: "127.0.0.1".into(), raft_port: port(n), resp_port: port(n), grpc_port: port(n) };
    let peers: BTreeMap<u64, NodeAddress> = (1..=count).map(|n| (n, address(n))).collect();
    let each = |n: u64| {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port(n)));
        let mut settings = Settings::new(n, folder.join(n.to_string()), listen, address(n));
        settings.cluster_secret = "sesame".into();
        settings.peers = peers.clone();
        settings.memory_bytes = 32 << 20;
        settings
    };
    (1..=count).map(each).collect()
}

async fn leading(nodes: &[Arc<Node>]) -> usize {
    let begun = Instant::now();
    loop {
        if let Some(place) = nodes.iter().position(|node| node.status().role == Role::Leader) {
            return place;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody leads");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn call(line: &str) -> Call {
    let mut words = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes()));
    let name = words.next().expect("a name");
    Call::One(Request::parse(&name, words.collect()).expect("a command"))
}

async fn run(node: &Node, lines: &[&str]) -> Vec<Outcome> {
    node.execute(lines.iter().map(|line| call(line)).collect(), Consistency::Default).await
}

/// A mark travels in one entry with other clients' calls; its index is the answer of the mark alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_mark_changes_nobody_elses_reply() -> Anyhow {
    let folder = tempfile::tempdir()?;
    let node = Node::start(settings(folder.path(), 1).remove(0)).await?;
    leading(std::slice::from_ref(&node)).await;
    let clients: Vec<_> = (0..16)
        .map(|client| {
            let node = node.clone();
            tokio::spawn(async move {
                for n in 0..100 {
                    let outcome = run(&node, &[&format!("SET k{client} {n}")]).await.remove(0);
                    assert_eq!(outcome, Ok(Reply::Ok), "the reply to a SET");
                }
            })
        })
        .collect();
    while clients.iter().any(|client| !client.is_finished()) {
        node.mark_state().await?;
    }
    for client in clients {
        client.await?;
    }
    Ok(())
}

/// Keys that end all the time must not keep a read over many keys from ever being answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_wide_read_is_answered_while_keys_end_all_the_time() -> Anyhow {
    let folder = tempfile::tempdir()?;
    let mut nodes = Vec::new();
    for settings in settings(folder.path(), 3) {
        nodes.push(Node::start(settings).await?);
    }
    let leader = nodes[leading(&nodes).await].clone();
    // Four keys a millisecond.
    let lines: Vec<String> = (0..60_000).map(|n| format!("SET k{n} v PX {}", 3_000 + n / 4)).collect();
    for chunk in lines.chunks(4_000) {
        run(&leader, &chunk.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    // Other clients make a tick's way through the log take as long as it does in earnest.
    let value = "v".repeat(20_000);
    let clients: Vec<_> = (0..32)
        .map(|client| {
            let (node, line) = (leader.clone(), format!("SET w{client} {value}"));
            tokio::spawn(async move {
                loop {
                    run(&node, &[&line]).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    for _ in 0..5 {
        let begun = Instant::now();
        let outcome = run(&leader, &["DBSIZE"]).await.remove(0);
        println!("{outcome:?} after {:?}", begun.elapsed());
        assert!(outcome.is_ok(), "{outcome:?} after {:?}", begun.elapsed());
    }
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

/// Whoever asked for a transfer may hang up in the middle of it; writes go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_is_given_up_leaves_the_proposer_running() -> Anyhow {
    let folder = tempfile::tempdir()?;
    let mut nodes = Vec::new();
    for settings in settings(folder.path(), 3) {
        nodes.push(Node::start(settings).await?);
    }
    let leader = nodes.remove(leading(&nodes).await);
    let lagging = nodes.pop().ok_or("a third node")?;
    let target = lagging.status().node_id;
    run(&leader, &["SET a 1"]).await;
    lagging.shutdown().await;
    drop(lagging);
    assert_eq!(run(&leader, &["SET a 2"]).await, [Ok(Reply::Ok)]);
    let given_up = tokio::time::timeout(Duration::from_millis(200), leader.transfer_leadership(Some(target))).await;
    assert!(given_up.is_err(), "it waits for a node that is gone");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(run(&leader, &["SET a 3"]).await, [Ok(Reply::Ok)], "this node still leads");
    Ok(())
}

/// A pipeline as a whole is held for `hold_ms_max`, not each of its runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_held_once() -> Anyhow {
    let folder = tempfile::tempdir()?;
    let mut settings = settings(folder.path(), 3).remove(0);
    settings.hold_ms_max = 300;
    let node = Node::start(settings).await?;
    let begun = Instant::now();
    let outcomes = run(&node, &["SET a 1", "GET a"].repeat(10)).await;
    assert!(outcomes.iter().all(Result::is_err), "one of three nodes can do nothing: {outcomes:?}");
    assert!(begun.elapsed() < Duration::from_millis(1_500), "it was held for {:?}", begun.elapsed());
    Ok(())
}

/// A call that comes while the node goes down is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_a_node_that_has_ended_is_answered() -> Anyhow {
    let folder = tempfile::tempdir()?;
    let node = Node::start(settings(folder.path(), 1).remove(0)).await?;
    leading(std::slice::from_ref(&node)).await;
    node.shutdown().await;
    let outcome = tokio::time::timeout(Duration::from_secs(8), run(&node, &["SET a 1"])).await;
    assert!(outcome.is_ok_and(|outcomes| outcomes[0].is_err()), "it is never answered");
    Ok(())
}

/// A kill in the middle of removing the only checkpoint (an install does that) leaves a part of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_removed_checkpoint_does_not_keep_the_node_from_starting() -> Anyhow {
    let folder = tempfile::tempdir()?;
    let mut settings = settings(folder.path(), 1).remove(0);
    settings.log_bytes_before_checkpoint = 1 << 20;
    let node = Node::start(settings.clone()).await?;
    leading(std::slice::from_ref(&node)).await;
    let state = folder.path().join("1/state");
    let checkpoint = || {
        let mut names = std::fs::read_dir(&state).into_iter().flatten().flatten().map(|entry| entry.path());
        names.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("checkpoint-")))
    };
    let value = "v".repeat(100_000);
    let begun = Instant::now();
    while checkpoint().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20), "no checkpoint was made");
        run(&node, &[&format!("SET a {value}")]).await;
    }
    node.shutdown().await;
    drop(node);
    let checkpoint = checkpoint().ok_or("a checkpoint")?;
    std::fs::remove_file(checkpoint.join("CURRENT"))?;
    let begun = Instant::now();
    loop {
        match Node::start(settings.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if begun.elapsed() > Duration::from_secs(5) => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

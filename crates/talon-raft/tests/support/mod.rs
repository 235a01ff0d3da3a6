//! Several nodes in one process, and the cables between them.

#![allow(dead_code)]

mod cables;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use talon_core::{Administer, Call, Consistency, Database, Member, MemberRole, Outcome, Reply, Request, Role};
use talon_raft::{Environment, Node, NodeAddress, Settings, WritesOnFollower};

pub use cables::Cables;

pub type Anyhow = Result<(), Box<dyn std::error::Error>>;

/// Ports that are free right now.
pub fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> =
        (0..count).map(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("its address").port()).collect()
}

pub fn address(raft_port: u16) -> NodeAddress {
    NodeAddress { host: "127.0.0.1".into(), raft_port, resp_port: raft_port, grpc_port: raft_port }
}

/// A node that is to be added.
pub fn learner(id: u64, port: u16) -> Member {
    let NodeAddress { host, raft_port, resp_port, grpc_port } = address(port);
    Member {
        id,
        host,
        resp_port,
        grpc_port,
        raft_port,
        role: MemberRole::Learner,
        matched_index: None,
        silent_ms: None,
    }
}

pub struct Cluster {
    pub folder: tempfile::TempDir,
    pub peers: BTreeMap<u64, NodeAddress>,
    pub nodes: BTreeMap<u64, Arc<Node>>,
    /// How much the log grows before a checkpoint is made.
    pub log_bytes: u64,
    /// How long a call is held, ms.
    pub hold_ms_max: u64,
    /// What nodes that do not lead do with writes.
    pub writes_on_follower: WritesOnFollower,
    /// Between the nodes.
    pub cables: Cables,
}

impl Cluster {
    pub async fn start(count: u64) -> Cluster {
        Cluster::start_with_log(count, 256 << 20).await
    }

    pub async fn start_with_log(count: u64, log_bytes: u64) -> Cluster {
        let mut cluster = Cluster { log_bytes, ..Cluster::new(count) };
        cluster.start_all().await;
        cluster
    }

    /// With nobody started.
    pub fn new(count: u64) -> Cluster {
        let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
        let ports = free_ports(count as usize);
        let peers = (1..=count).zip(ports).map(|(id, port)| (id, address(port))).collect();
        let folder = tempfile::tempdir().expect("a folder");
        let cables = Cables::default();
        Cluster {
            folder,
            peers,
            nodes: BTreeMap::new(),
            log_bytes: 256 << 20,
            hold_ms_max: 5_000,
            writes_on_follower: WritesOnFollower::Redirect,
            cables,
        }
    }

    pub async fn start_all(&mut self) {
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.start_node(id).await;
        }
    }

    pub fn settings(&self, id: u64) -> Settings {
        let address = self.peers[&id].clone();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, address.raft_port));
        let mut settings = Settings::new(id, self.data(id), listen, address);
        settings.cluster_secret = "sesame".into();
        settings.peers = self.peers.clone();
        settings.memory_bytes = 32 << 20;
        settings.hold_ms_max = self.hold_ms_max;
        settings.writes_on_follower = self.writes_on_follower;
        settings.log_bytes_before_checkpoint = self.log_bytes;
        settings.log_bytes_max = 4 * self.log_bytes;
        settings.log_segment_bytes = 1 << 20;
        settings
    }

    pub fn data(&self, id: u64) -> std::path::PathBuf {
        self.folder.path().join(id.to_string())
    }

    pub async fn start_node(&mut self, id: u64) {
        let node = start_with(self.settings(id), self.environment(id)).await;
        self.nodes.insert(id, node);
    }

    /// Of a node whose connections can be cut.
    pub fn environment(&self, id: u64) -> Environment {
        Environment { sockets: self.cables.of(id, self.peers[&id].raft_port), ..Environment::system() }
    }

    pub async fn stop_node(&mut self, id: u64) {
        let node = self.nodes.remove(&id).expect("it runs");
        node.shutdown().await;
        drop(node);
    }

    pub async fn leader(&self) -> (u64, Arc<Node>) {
        let begun = Instant::now();
        loop {
            for (id, node) in &self.nodes {
                if node.status().role == Role::Leader {
                    return (*id, node.clone());
                }
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "nobody leads");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A node's folder may still be held for a moment by the one that has just ended.
pub async fn start(settings: Settings) -> Arc<Node> {
    start_with(settings, Environment::system()).await
}

pub async fn start_with(settings: Settings, environment: Environment) -> Arc<Node> {
    let begun = Instant::now();
    loop {
        match Node::start_in(settings.clone(), environment.clone()).await {
            Ok(node) => return node,
            Err(error) if begun.elapsed() > Duration::from_secs(10) => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

pub fn call(line: &str) -> Call {
    let mut words = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes()));
    let name = words.next().expect("a name");
    Call::One(Request::parse(&name, words.collect()).expect("a command"))
}

/// The requests of one transaction.
pub fn requests(lines: &[&str]) -> Vec<Request> {
    let one = |line: &&str| match call(line) {
        Call::One(request) => request,
        Call::Transaction(_) => unreachable!("one line is one request"),
    };
    lines.iter().map(one).collect()
}

pub async fn run(node: &Node, lines: &[&str]) -> Vec<Outcome> {
    node.execute(lines.iter().map(|line| call(line)).collect(), Consistency::Default).await
}

pub async fn run_one(node: &Node, line: &str) -> Outcome {
    run(node, &[line]).await.remove(0)
}

pub fn bulk(text: &'static str) -> Outcome {
    Ok(Reply::bulk(text))
}

pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub async fn all_equal(cluster: &Cluster) -> Anyhow {
    let (_, leader) = cluster.leader().await;
    let index = leader.mark_state().await?;
    let expected = leader.state_hash(index).await?;
    for (id, node) in &cluster.nodes {
        assert_eq!(node.state_hash(index).await?, expected, "node {id}");
    }
    Ok(())
}

/// Three voters and a learner, which is number 4; the leader comes first.
pub async fn with_learner(cluster: &mut Cluster) -> [Arc<Node>; 3] {
    let port = free_ports(1)[0];
    cluster.peers.insert(4, address(port));
    let mut settings = cluster.settings(4);
    settings.peers.clear();
    let fourth = start_with(settings, cluster.environment(4)).await;
    cluster.nodes.insert(4, fourth.clone());
    let (_, leader) = cluster.leader().await;
    leader.add_learner(learner(4, port)).await.expect("it is added");
    until("the learner serves", || async { fourth.status().serving && fourth.status().role == Role::Learner }).await;
    let follower = follower(cluster).await;
    [leader, follower, fourth]
}

pub async fn follower(cluster: &Cluster) -> Arc<Node> {
    let (leader_id, _) = cluster.leader().await;
    let follower = cluster.nodes.iter().find(|(id, _)| **id != leader_id).expect("there is one").1.clone();
    until("the follower serves", || async { follower.status().serving && follower.status().leader_id.is_some() }).await;
    follower
}

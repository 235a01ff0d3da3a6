//! The systems that are compared. Each is started alone, with fresh data, and ends before the next one starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use talon_tests_support::{Client, Process, Value, free_ports, wait_until};
use tempfile::TempDir;

use super::etcd;
use crate::Outcome;
use crate::cluster::Cluster;

const REPLICAS: usize = 2;
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Everything that is acknowledged is on the disk. No snapshots beside that, and the file is never rewritten meanwhile.
const ALWAYS: [&str; 6] = ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"];

/// One way to keep keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Three `talon server` nodes, started by `talon dev`.
    Talon,
    /// A Redis primary with two replicas, all with an append-only file that is synced before a reply.
    RedisReplicas,
    /// One Redis with such a file.
    RedisAlways,
    /// One Redis that keeps its keys in memory only.
    Redis,
    /// Three nodes of etcd.
    Etcd,
}

impl System {
    /// For the head of a column.
    pub fn title(self) -> &'static str {
        match self {
            System::Talon => "Talon, 3 nodes",
            System::RedisReplicas => "Redis, 1 + 2 replicas, all fsync always",
            System::RedisAlways => "Redis alone, fsync always",
            System::Redis => "Redis alone, in memory",
            System::Etcd => "etcd, 3 nodes",
        }
    }

    /// Starts it with fresh data, and waits until all of it serves.
    ///
    /// # Errors
    /// If it does not come to it.
    pub fn start(self, talon_flags: &[String]) -> Outcome<Running> {
        let folder = tempfile::tempdir()?;
        match self {
            System::Talon => Running::of_cluster(Cluster::start(talon_flags)?),
            System::RedisReplicas => redis(folder, &ALWAYS, REPLICAS),
            System::RedisAlways => redis(folder, &ALWAYS, 0),
            System::Redis => redis(folder, &[], 0),
            System::Etcd => {
                let (processes, addresses): (Vec<Process>, Vec<SocketAddr>) = etcd::start(&folder)?.into_iter().unzip();
                Ok(Running {
                    leader: addresses[0],
                    followers: addresses[1..].to_vec(),
                    processes,
                    cluster: None,
                    _folder: folder,
                })
            }
        }
    }
}

fn redis(folder: TempDir, flags: &[&str], replicas: usize) -> Outcome<Running> {
    let ports = free_ports(1 + replicas);
    let (mut processes, mut addresses) = (Vec::new(), Vec::new());
    for &port in &ports {
        let data = folder.path().join(port.to_string());
        std::fs::create_dir(&data)?;
        let (port_text, data_text) = (port.to_string(), data.to_string_lossy().into_owned());
        let mut arguments = vec!["--port", &port_text, "--bind", "127.0.0.1", "--dir", &data_text, "--save", ""];
        arguments.extend(flags);
        let primary = ports[0].to_string();
        if port != ports[0] {
            arguments.extend(["--replicaof", "127.0.0.1", &primary]);
        } else {
            arguments.extend(["--repl-diskless-sync-delay", "0"]);
        }
        let log = folder.path().join(format!("{port}.log"));
        let mut process = Process::start("redis-server", Path::new("redis-server"), &arguments, &log)
            .map_err(|error| format!("redis-server (apt-get install redis-server): {error}"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        wait_until(START_TIMEOUT, || !process.is_running() || Client::connect(address).is_ok());
        if !process.is_running() {
            return Err(format!("redis-server does not run:\n{}", process.last_lines()).into());
        }
        processes.push(process);
        addresses.push(address);
    }
    let mut roles = Vec::new();
    let in_time = wait_until(START_TIMEOUT, || {
        roles = addresses.iter().skip(1).map(|address| role(*address)).collect();
        roles.iter().all(|role| role.iter().any(|part| part == "connected"))
    });
    if !in_time {
        return Err(format!("the replicas do not follow: {roles:?}").into());
    }
    Ok(Running { leader: addresses[0], followers: addresses[1..].to_vec(), processes, cluster: None, _folder: folder })
}

/// The texts in the reply to ROLE; empty if there is none.
fn role(address: SocketAddr) -> Vec<String> {
    let reply = Client::connect(address).and_then(|mut client| client.call(&["ROLE"]));
    match reply {
        Ok(Value::Array(parts)) => parts.iter().filter_map(Value::text).collect(),
        _ => Vec::new(),
    }
}

/// A running system; it ends when this is dropped, and its data goes with it.
pub struct Running {
    /// Where writes go.
    pub leader: SocketAddr,
    /// The others.
    pub followers: Vec<SocketAddr>,
    processes: Vec<Process>,
    cluster: Option<Cluster>,
    _folder: TempDir,
}

impl Running {
    fn of_cluster(cluster: Cluster) -> Outcome<Running> {
        let leader = cluster.nodes[cluster.leader()?].resp;
        let followers = cluster.followers()?;
        Ok(Running { leader, followers, processes: Vec::new(), cluster: Some(cluster), _folder: tempfile::tempdir()? })
    }

    /// The processes, that of the leader first.
    ///
    /// # Errors
    /// If nobody leads.
    pub fn pids(&self) -> Outcome<Vec<u32>> {
        match &self.cluster {
            Some(cluster) => cluster.pids(),
            None => Ok(self.processes.iter().map(Process::pid).collect()),
        }
    }

    /// The term, where there is one to see.
    ///
    /// # Errors
    /// If no node answers.
    pub fn term(&self) -> Outcome<Option<u64>> {
        self.cluster.as_ref().map(Cluster::term).transpose()
    }

    /// Looks again who leads, after something went wrong.
    ///
    /// # Errors
    /// If a process has ended, or nobody leads.
    pub fn look_again(&mut self) -> Outcome<()> {
        for process in &mut self.processes {
            if !process.is_running() {
                return Err(format!("a process ended:\n{}", process.last_lines()).into());
            }
        }
        if let Some(cluster) = &mut self.cluster {
            if !cluster.is_whole() {
                return Err(format!("a node ended:\n{}", cluster.last_lines()).into());
            }
            self.leader = cluster.nodes[cluster.leader()?].resp;
            self.followers = cluster.followers()?;
        }
        Ok(())
    }
}

//! What is measured: three Talon nodes, and Redis in two ways; each started with fresh data, one at a time.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use talon_tests_support::{Client, Cluster, ClusterOptions, RedisServer, Value, wait_until};

const REPLICAS: usize = 2;
const NODES: u16 = 3;
/// How long the replicas may take until they follow.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(60);
/// Everything that is acknowledged is on the disk. No snapshots beside that.
const ALWAYS: [&str; 6] = ["--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"];

/// One way to keep keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum System {
    /// Three `talon server` nodes.
    Talon,
    /// A Redis primary with two replicas, all with an append-only file that is synced before a reply.
    Redis,
    /// One Redis that keeps its keys in memory only.
    RedisMemory,
}

impl System {
    /// For the head of a column.
    pub fn title(self) -> &'static str {
        match self {
            System::Talon => "Talon, 3 nodes",
            System::Redis => "Redis, 1 + 2 replicas, fsync always",
            System::RedisMemory => "Redis, in memory",
        }
    }

    /// Starts it, and waits until all of it serves.
    ///
    /// # Errors
    /// If the nodes do not come to follow their leader.
    ///
    /// # Panics
    /// If a process cannot be started; the message says why.
    pub fn start(self, cores: usize, talon_flags: &[String]) -> Result<Running, Box<dyn Error>> {
        match self {
            System::Talon => Ok(Running::of_cluster(Cluster::start_with(&talon_options(cores, talon_flags)))),
            System::Redis => {
                let primary = RedisServer::start(&ALWAYS);
                let port = primary.address().port().to_string();
                let mut servers = vec![primary];
                for _ in 0..REPLICAS {
                    servers.push(RedisServer::start(&[&ALWAYS[..], &["--replicaof", "127.0.0.1", &port]].concat()));
                }
                let mut roles = Vec::new();
                let in_time = wait_until(FOLLOW_TIMEOUT, || {
                    roles = servers.iter().skip(1).map(|server| role(server.address())).collect();
                    roles.iter().all(|role| role.iter().any(|part| part == "connected"))
                });
                if !in_time {
                    return Err(format!("the replicas do not follow: {roles:?}").into());
                }
                Ok(Running::of_redis(servers))
            }
            System::RedisMemory => Ok(Running::of_redis(vec![RedisServer::start(&[])])),
        }
    }
}

/// As `talon dev` starts its nodes, for they share one machine: the threads divided among them, everything else as a
/// node has it by itself.
fn talon_options(cores: usize, flags: &[String]) -> ClusterOptions {
    let threads = (cores / usize::from(NODES)).max(1).to_string();
    let mut options = ClusterOptions::nodes(NODES);
    for (flag, value) in [("--worker-threads", &*threads), ("--memory-bytes", "536870912")] {
        if !flags.iter().any(|given| given == flag) {
            options = options.flag(flag, value);
        }
    }
    options.flags.extend_from_slice(flags);
    options
}

/// The texts in the reply to ROLE; empty if there is none.
fn role(address: SocketAddr) -> Vec<String> {
    let reply = Client::connect(address).and_then(|mut client| client.call(&["ROLE"]));
    match reply {
        Ok(Value::Array(parts)) => parts.iter().filter_map(Value::text).collect(),
        _ => Vec::new(),
    }
}

enum Processes {
    Talon(Cluster),
    Redis(Vec<RedisServer>),
}

/// A running system; it ends when this is dropped, and its data goes with it.
pub struct Running {
    processes: Processes,
    /// Where writes go.
    pub leader: SocketAddr,
    /// The leader's process first, then those that follow it.
    pub pids: Vec<u32>,
}

impl Running {
    fn of_cluster(mut cluster: Cluster) -> Running {
        let place = cluster.leader();
        let leader = cluster.nodes[place].address();
        let mut pids: Vec<u32> = cluster.nodes.iter_mut().filter_map(|node| Some(node.process()?.pid())).collect();
        pids[..=place].rotate_right(1);
        Running { processes: Processes::Talon(cluster), leader, pids }
    }

    fn of_redis(mut servers: Vec<RedisServer>) -> Running {
        let pids = servers.iter_mut().map(|server| server.process().pid()).collect();
        let leader = servers[0].address();
        Running { processes: Processes::Redis(servers), leader, pids }
    }

    /// Whether all processes run and the same one leads as at the start.
    pub fn is_as_it_was(&mut self) -> bool {
        let all_run = match &mut self.processes {
            Processes::Talon(cluster) => cluster.nodes.iter_mut().all(talon_tests_support::Node::is_running),
            Processes::Redis(servers) => servers.iter_mut().all(|server| server.process().is_running()),
        };
        all_run && role(self.leader).first().is_some_and(|role| role == "master")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_the_caller_replace_the_own_ones() {
        let flags = ["--worker-threads".to_owned(), "7".to_owned()];
        let options = talon_options(12, &flags);
        assert_eq!(options.flags, ["--memory-bytes", "536870912", "--worker-threads", "7"]);
        assert_eq!(talon_options(12, &[]).flags[..2], ["--worker-threads", "4"]);
    }
}

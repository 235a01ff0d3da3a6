//! Talon as a person starts it: `talon dev`, which starts three `talon server` processes with their default settings.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use talon_tests_support::{Client, Process, Value as Reply, talon_binary, wait_until};
use tempfile::TempDir;

use crate::Outcome;
use crate::machine::Memory;

const START_TIMEOUT: Duration = Duration::from_secs(120);
/// A node that has to apply a long log takes so long at most.
const SERVE_TIMEOUT: Duration = Duration::from_secs(1800);
/// `talon dev` gives each node 20 s.
const END_TIMEOUT: Duration = Duration::from_secs(60);
/// The first port that is tried; a node's other ports lie 1000, 2000 and 3000 above.
const PORTS: std::ops::Range<u16> = 21_000..29_000;
const PORT_STEPS: [u16; 4] = [0, 1000, 2000, 3000];
const NODES: u16 = 3;
const DEV_LOG: &str = "dev.log";
/// What a node's log says when it stops leading, be it that another one leads or that it lost its lease for a while.
const DEPOSED: &str = "no longer leading";

/// What has become of leadership since a cluster was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// Grows with every election.
    pub term: u64,
    /// How often a leader stopped leading, without an election too; its clients lose their connections then.
    pub pauses: u64,
}

/// One server process.
#[derive(Debug)]
pub struct Node {
    /// Its number, from 1.
    pub id: u64,
    /// Where Redis clients reach it.
    pub resp: SocketAddr,
    /// Its port for gRPC.
    pub grpc_port: u16,
    /// Its process.
    pub pid: u32,
    arguments: Vec<String>,
    /// Its process, once it was started again by this program.
    own: Option<Process>,
}

/// A running cluster. It ends when this is dropped, and its data goes with it.
#[derive(Debug)]
pub struct Cluster {
    dev: Process,
    /// The nodes in the order of their numbers.
    pub nodes: Vec<Node>,
    folder: TempDir,
}

impl Cluster {
    /// Starts one with fresh data, and waits until all nodes serve. Further flags go to every server.
    ///
    /// # Errors
    /// If they do not come to serve.
    pub fn start(flags: &[String]) -> Outcome<Cluster> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join(DEV_LOG);
        let port = free_port()?.to_string();
        let data = folder.path().join("data").to_string_lossy().into_owned();
        let mut arguments: Vec<String> =
            ["dev", "--data", &data, "--port", &port].map(str::to_owned).into_iter().collect();
        if !flags.is_empty() {
            arguments.push("--".into());
            arguments.extend_from_slice(flags);
        }
        let mut dev = Process::start("talon dev", &talon_binary(), &arguments, &log)?;
        let mut nodes = Vec::new();
        wait_until(START_TIMEOUT, || {
            nodes = fs::read_to_string(&log).map(|text| nodes_of(&text)).unwrap_or_default();
            nodes.len() == usize::from(NODES) || !dev.is_running()
        });
        if nodes.len() != usize::from(NODES) {
            return Err(format!("talon dev does not come to serve:\n{}", dev.last_lines()).into());
        }
        for node in &mut nodes {
            node.arguments = arguments_of(node.pid)?;
        }
        Ok(Cluster { dev, nodes, folder })
    }

    /// The place in `nodes` of the one that leads.
    ///
    /// # Errors
    /// If nobody comes to lead.
    pub fn leader(&self) -> Outcome<usize> {
        let mut leader = None;
        wait_until(START_TIMEOUT, || {
            leader = self.nodes.iter().position(|node| crate::run::role(node.resp).is_ok_and(|role| role == "master"));
            leader.is_some()
        });
        leader.ok_or_else(|| "nobody leads".into())
    }

    /// Where those listen that do not lead.
    ///
    /// # Errors
    /// As [`Cluster::leader`].
    pub fn followers(&self) -> Outcome<Vec<SocketAddr>> {
        let leader = self.leader()?;
        let others = self.nodes.iter().enumerate().filter(|(place, _)| *place != leader);
        Ok(others.map(|(_, node)| node.resp).collect())
    }

    /// The processes, the leader's first.
    ///
    /// # Errors
    /// As [`Cluster::leader`].
    pub fn pids(&self) -> Outcome<Vec<u32>> {
        let mut pids: Vec<u32> = self.nodes.iter().map(|node| node.pid).collect();
        pids[..=self.leader()?].rotate_right(1);
        Ok(pids)
    }

    /// What `talon cluster status --json` shows.
    ///
    /// # Errors
    /// If no node answers.
    pub fn status(&self) -> Outcome<Value> {
        let at: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.grpc_port)).collect();
        let output =
            Command::new(talon_binary()).args(["cluster", "status", "--json", "--at", &at.join(",")]).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The newest term: it grows with every election.
    ///
    /// # Errors
    /// As [`Cluster::status`].
    pub fn term(&self) -> Outcome<u64> {
        self.status()?["term"].as_u64().ok_or_else(|| "the status has no term".into())
    }

    /// How often leadership changed or paused so far.
    ///
    /// # Errors
    /// As [`Cluster::status`].
    pub fn leadership(&self) -> Outcome<Leadership> {
        let own_logs = self.nodes.iter().map(|node| self.log_of(node.id));
        let logs = own_logs.chain([self.folder.path().join(DEV_LOG)]);
        // A node that was not started by this program has no log of its own.
        let texts = logs.map(|log| fs::read(log).unwrap_or_default());
        let pauses = texts.map(|text| String::from_utf8_lossy(&text).matches(DEPOSED).count() as u64).sum();
        Ok(Leadership { term: self.term()?, pauses })
    }

    fn log_of(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("node-{id}.log"))
    }

    /// A setting of the nodes, as `talon server --print-config` shows it.
    ///
    /// # Errors
    /// If it is none.
    pub fn setting(&self, name: &str) -> Outcome<u64> {
        let node = self.nodes.first().ok_or("no nodes")?;
        let output = Command::new(talon_binary()).args(&node.arguments).arg("--print-config").output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = text.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == name);
        let (_, value) = value.ok_or_else(|| format!("talon server --print-config shows no {name}:\n{text}"))?;
        Ok(value.trim().replace('_', "").parse()?)
    }

    /// The memory of every node.
    ///
    /// # Errors
    /// If one is gone.
    pub fn memory(&self) -> Outcome<Vec<Memory>> {
        self.nodes.iter().map(|node| Ok(Memory::of(node.pid)?)).collect()
    }

    /// `kill -9` of a node; it is not started again.
    ///
    /// # Errors
    /// If it is gone already.
    pub fn kill(&mut self, place: usize) -> Outcome<()> {
        self.end(place, "-KILL")
    }

    /// SIGTERM to a node, and waits for its end.
    ///
    /// # Errors
    /// If it does not end.
    pub fn terminate(&mut self, place: usize) -> Outcome<()> {
        self.end(place, "-TERM")
    }

    fn end(&mut self, place: usize, signal: &str) -> Outcome<()> {
        let node = &mut self.nodes[place];
        let pid = node.pid.to_string();
        if !Command::new("kill").args([signal, &pid]).status()?.success() {
            return Err(format!("there is no process {pid}").into());
        }
        let is_gone = wait_until(END_TIMEOUT, || match &mut node.own {
            Some(own) => !own.is_running(),
            None => !Path::new("/proc").join(&pid).exists(),
        });
        node.own = None;
        if is_gone { Ok(()) } else { Err(format!("node {} does not end", node.id).into()) }
    }

    /// The folder of a node's data.
    pub fn data(&self, place: usize) -> PathBuf {
        self.folder.path().join("data").join(format!("node-{}", self.nodes[place].id))
    }

    /// Starts a node that was ended, as it was started before.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_again(&mut self, place: usize) -> Outcome<()> {
        let log = self.log_of(self.nodes[place].id);
        let node = &mut self.nodes[place];
        let process = Process::start(&format!("talon node {}", node.id), &talon_binary(), &node.arguments, &log)?;
        node.pid = process.pid();
        node.own = Some(process);
        Ok(())
    }

    /// Waits until a node answers a GET.
    ///
    /// # Errors
    /// If it ends, or does not come to answer.
    pub fn wait_until_it_serves(&mut self, place: usize, key: &[u8]) -> Outcome<()> {
        let node = &mut self.nodes[place];
        let mut last = String::new();
        let mut has_ended = false;
        let serves = wait_until(SERVE_TIMEOUT, || {
            has_ended = node.own.as_mut().is_some_and(|own| !own.is_running());
            match Client::connect(node.resp).and_then(|mut client| client.call(&[b"GET", key])) {
                Ok(Reply::Error(error)) => last = error,
                Err(error) => last = error.to_string(),
                Ok(_) => return true,
            }
            has_ended
        });
        if serves && !has_ended { Ok(()) } else { Err(format!("node {} does not serve: {last}", node.id).into()) }
    }

    /// Whether all processes run.
    pub fn is_whole(&mut self) -> bool {
        let runs = |node: &mut Node| match &mut node.own {
            Some(own) => own.is_running(),
            None => Path::new("/proc").join(node.pid.to_string()).exists(),
        };
        self.nodes.iter_mut().all(runs)
    }

    /// The last lines of the log of `talon dev`, which has those of its nodes.
    pub fn last_lines(&self) -> String {
        self.dev.last_lines()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.own = None;
        }
        // It ends its nodes in order. If it cannot, they end with it, for the kernel ends them.
        if let Err(error) = self.dev.terminate(END_TIMEOUT) {
            eprintln!("talon dev: {error}");
        }
    }
}

/// A first port whose further ports are free, too.
fn free_port() -> Outcome<u16> {
    let is_free = |port: &u16| {
        let ports = PORT_STEPS.into_iter().flat_map(|step| (0..NODES).map(move |node| port + step + node));
        ports.into_iter().all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
    };
    // Other runs of this program begin elsewhere.
    let first = PORTS.start + (std::process::id() % 90) as u16 * 10;
    (first..PORTS.end).step_by(10).find(is_free).ok_or_else(|| "there are no free ports".into())
}

/// The nodes that `talon dev` names once all serve, with their ports and processes.
fn nodes_of(log: &str) -> Vec<Node> {
    log.lines().filter_map(node_of).collect()
}

fn node_of(line: &str) -> Option<Node> {
    let (_, rest) = line.split_once("    node ")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let behind = |name: &str| words.iter().position(|word| *word == name).and_then(|place| words.get(place + 1));
    Some(Node {
        id: words.first()?.parse().ok()?,
        resp: behind("redis")?.parse().ok()?,
        grpc_port: behind("grpc")?.trim_start_matches(':').parse().ok()?,
        pid: behind("pid")?.parse().ok()?,
        arguments: Vec::new(),
        own: None,
    })
}

/// The words a server was started with, without the name of its parent, which will be another one.
fn arguments_of(pid: u32) -> Outcome<Vec<String>> {
    let line = fs::read(format!("/proc/{pid}/cmdline"))?;
    let words = line.split(|&byte| byte == 0).filter(|word| !word.is_empty());
    let mut words: Vec<String> = words.skip(1).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    if let Some(place) = words.iter().position(|word| word == "--parent-pid") {
        words.drain(place..(place + 2).min(words.len()));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_names_the_nodes() {
        let line =
            "    node 2  follower  redis 127.0.0.1:6381  grpc :7381  metrics http://127.0.0.1:9381/metrics  pid 77";
        let node = node_of(line).unwrap();
        assert_eq!((node.id, node.resp.port(), node.grpc_port, node.pid), (2, 6381, 7381, 77));
        assert!(nodes_of("talon: forming a new cluster of 3 nodes in /x\nnode 2 | INFO pid 7").is_empty());
    }
}

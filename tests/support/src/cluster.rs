//! Real `talon server` processes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use talon_resp::Value;
use tempfile::TempDir;

use crate::{Client, Process, free_ports, wait_until};

/// How long a node may take until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a node may take to end when asked to.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// Modest memory and threads: several nodes, and several tests, share one machine.
const FLAGS: &[&str] = &["--memory-bytes", "67108864", "--worker-threads", "2", "--log-level", "info"];

/// The binary under test: `TALON_BIN`, else `release/talon` in the target folder of the running program.
///
/// # Panics
/// If it is not there; the message says how to build it.
pub fn talon_binary() -> PathBuf {
    let path = std::env::var_os("TALON_BIN").map(PathBuf::from).unwrap_or_else(|| {
        let program = std::env::current_exe().expect("this program's own path");
        // A test is <target>/<profile>/deps/<test>, a program <target>/<profile>/<program>.
        let folder = program.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
        folder.and_then(Path::parent).expect("a target folder").join("release/talon")
    });
    assert!(
        path.is_file(),
        "there is no binary {}: build it with `cargo build --release -p talon-cli --bin talon`, or name it in TALON_BIN",
        path.display()
    );
    path
}

/// Where a node lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The address it listens on, and is reached by.
    pub address: IpAddr,
    /// The network namespace (`ip netns`) that its process runs in, if not this program's.
    pub namespace: Option<String>,
}

impl Host {
    /// Loopback, in this program's own namespace.
    pub fn local() -> Host {
        Host { address: IpAddr::V4(Ipv4Addr::LOCALHOST), namespace: None }
    }
}

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// How many nodes.
    pub nodes: u16,
    /// Further flags for each node.
    pub flags: Vec<String>,
    /// Where the nodes live, in their order; those beyond it are local.
    pub hosts: Vec<Host>,
    /// The program that is run and the words before `server`; none: the binary under test.
    pub program: Vec<String>,
}

impl ClusterOptions {
    /// So many nodes.
    pub fn nodes(nodes: u16) -> ClusterOptions {
        ClusterOptions { nodes, flags: Vec::new(), hosts: Vec::new(), program: Vec::new() }
    }

    /// One node on each of these hosts.
    pub fn hosts(hosts: Vec<Host>) -> ClusterOptions {
        let nodes = u16::try_from(hosts.len()).expect("a few hosts");
        ClusterOptions { hosts, ..ClusterOptions::nodes(nodes) }
    }

    /// Runs another program than the binary under test, such as `env NAME=value talon-of-another-build`.
    #[must_use]
    pub fn program<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> ClusterOptions {
        self.program = words.into_iter().map(W::into).collect();
        self
    }

    /// With one more flag and its value.
    #[must_use]
    pub fn flag(mut self, flag: &str, value: &str) -> ClusterOptions {
        self.flags.extend([flag.to_owned(), value.to_owned()]);
        self
    }
}

/// One node, running or not.
#[derive(Debug)]
pub struct Node {
    /// Its number, from 1.
    pub id: u16,
    /// RESP.
    pub resp_port: u16,
    /// gRPC.
    pub grpc_port: u16,
    /// Raft.
    pub raft_port: u16,
    /// Metrics and probes.
    pub http_port: u16,
    /// Its data.
    pub data: PathBuf,
    /// Its log lines.
    pub log: PathBuf,
    /// Where it lives.
    pub host: Host,
    flags: Vec<String>,
    program: Vec<String>,
    process: Option<Process>,
}

impl Node {
    /// A node that does not run yet, with its data below `folder`. `flags` are those beyond its number, ports and data.
    ///
    /// # Panics
    /// If there are no free ports.
    pub fn new(id: u16, folder: &Path, flags: &[String]) -> Node {
        Node::on(Host::local(), id, folder, flags)
    }

    /// As [`Node::new`], on a host.
    ///
    /// # Panics
    /// If there are no free ports.
    pub fn on(host: Host, id: u16, folder: &Path, flags: &[String]) -> Node {
        let ports = free_ports(4);
        Node {
            id,
            resp_port: ports[0],
            grpc_port: ports[1],
            raft_port: ports[2],
            http_port: ports[3],
            data: folder.join(format!("node-{id}")),
            log: folder.join(format!("node-{id}.log")),
            host,
            flags: flags.to_vec(),
            program: Vec::new(),
            process: None,
        }
    }

    /// Its entry for `--peers`.
    pub fn peer(&self) -> String {
        format!("{}={}:{}:{}:{}", self.id, self.host.address, self.resp_port, self.grpc_port, self.raft_port)
    }

    /// Where Redis clients reach it.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host.address, self.resp_port)
    }

    /// Starts its process and does not wait until it serves.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start(&mut self) -> io::Result<()> {
        let mut args: Vec<String> = vec!["server".to_owned()];
        let ports = [
            ("--resp-port", self.resp_port),
            ("--grpc-port", self.grpc_port),
            ("--raft-port", self.raft_port),
            ("--http-port", self.http_port),
            ("--node-id", self.id),
        ];
        args.extend(ports.iter().flat_map(|(flag, number)| [(*flag).to_owned(), number.to_string()]));
        args.extend(["--data-dir".to_owned(), self.data.to_string_lossy().into_owned()]);
        for pair in FLAGS.chunks(2).filter(|pair| !self.flags.iter().any(|flag| flag == pair[0])) {
            args.extend(pair.iter().map(|&word| word.to_owned()));
        }
        if self.host != Host::local() {
            let address = self.host.address.to_string();
            args.extend(["--listen", &address, "--advertise-host", &address].map(str::to_owned));
            args.extend(["--protected-mode", "false"].map(str::to_owned));
        }
        args.extend(self.flags.iter().cloned());
        let name = format!("talon node {}", self.id);
        let mut program = self.program.first().map_or_else(talon_binary, PathBuf::from);
        args.splice(0..0, self.program.iter().skip(1).cloned());
        if let Some(namespace) = &self.host.namespace {
            // nsenter becomes the program, so the process id is the program's own.
            let enter = [format!("--net=/run/netns/{namespace}"), "--".to_owned(), program.display().to_string()];
            args.splice(0..0, enter);
            program = PathBuf::from("nsenter");
        }
        self.process = Some(Process::start(&name, &program, &args, &self.log)?);
        Ok(())
    }

    /// Gives a flag another value, from the next start on.
    pub fn set_flag(&mut self, flag: &str, value: &str) {
        match self.flags.iter().position(|known| known == flag) {
            Some(place) => self.flags[place + 1] = value.to_owned(),
            None => self.flags.extend([flag.to_owned(), value.to_owned()]),
        }
    }

    /// Its process, if it was started and not ended since.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Whether its process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// If it does not run, or does not end in time.
    pub fn terminate(&mut self) -> io::Result<ExitStatus> {
        match self.process.take() {
            Some(mut process) => process.terminate(END_TIMEOUT),
            None => Err(io::Error::other("the node does not run")),
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// If it does not serve.
    pub fn connect(&self) -> io::Result<Client> {
        Client::connect(self.address())
    }

    /// What it says it is: `master` or `slave`; `None` if it does not serve.
    pub fn role(&self) -> Option<String> {
        let mut client = self.connect().ok()?;
        client.set_timeout(Duration::from_secs(5)).ok()?;
        match client.call(&["ROLE"]).ok()? {
            Value::Array(parts) => parts.first().and_then(Value::text),
            _ => None,
        }
    }
}

/// Nodes that form one cluster, on one temporary folder.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes in the order of their numbers.
    pub nodes: Vec<Node>,
    folder: TempDir,
    flags: Vec<String>,
    program: Vec<String>,
}

impl Cluster {
    /// Starts so many nodes, and waits until all serve.
    ///
    /// # Panics
    /// If they do not come to serve.
    pub fn start(nodes: u16) -> Cluster {
        Cluster::start_with(&ClusterOptions::nodes(nodes))
    }

    /// Starts nodes as `options` say, and waits until all serve.
    ///
    /// # Panics
    /// If they do not come to serve.
    pub fn start_with(options: &ClusterOptions) -> Cluster {
        Cluster::start_prepared(options, |_| {})
    }

    /// As [`Cluster::start_with`]; before a node is started, `prepare` sees it.
    ///
    /// # Panics
    /// If they do not come to serve.
    pub fn start_prepared(options: &ClusterOptions, mut prepare: impl FnMut(&mut Node)) -> Cluster {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let host = |id: u16| options.hosts.get(usize::from(id) - 1).cloned().unwrap_or_else(Host::local);
        let node = |id: u16| Node {
            program: options.program.clone(),
            ..Node::on(host(id), id, folder.path(), &options.flags)
        };
        let mut nodes: Vec<Node> = (1..=options.nodes).map(node).collect();
        if options.nodes > 1 {
            let peers = nodes.iter().map(Node::peer).collect::<Vec<_>>().join(",");
            for node in &mut nodes {
                node.flags.extend(["--peers".to_owned(), peers.clone()]);
            }
        }
        let mut cluster = Cluster { nodes, folder, flags: options.flags.clone(), program: options.program.clone() };
        for node in &mut cluster.nodes {
            prepare(node);
            node.start().expect("a process can be started");
        }
        cluster.wait_until_serving();
        cluster
    }

    /// The folder that holds the nodes' data and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A node that is no member yet: give it `--join` and start it.
    ///
    /// # Panics
    /// If there are no free ports.
    pub fn new_node(&self, id: u16, flags: &[String]) -> Node {
        let node = Node::new(id, self.folder.path(), &[&self.flags[..], flags].concat());
        Node { program: self.program.clone(), ..node }
    }

    /// Waits until every node that was started serves, and exactly one of them leads.
    ///
    /// # Panics
    /// If that takes longer than a minute, or a node has ended.
    pub fn wait_until_serving(&mut self) {
        let mut roles = Vec::new();
        let in_time = wait_until(START_TIMEOUT, || {
            for node in &mut self.nodes {
                let id = node.id;
                if let Some(process) = &mut node.process {
                    assert!(process.is_running(), "node {id} ended by itself: {}", process.last_lines());
                }
            }
            roles = self.nodes.iter().filter(|node| node.process.is_some()).map(Node::role).collect();
            roles.iter().all(Option::is_some) && leaders(&roles) == 1
        });
        assert!(in_time, "the nodes do not come to serve: {roles:?}");
    }

    /// The place in `nodes` of the node that leads, as soon as one does.
    ///
    /// # Panics
    /// If nobody comes to lead within a minute.
    pub fn leader(&self) -> usize {
        let mut leader = None;
        wait_until(START_TIMEOUT, || {
            let is_leader = |node: &Node| node.process.is_some() && node.role().as_deref() == Some("master");
            leader = self.nodes.iter().position(is_leader);
            leader.is_some()
        });
        leader.expect("somebody leads")
    }

    /// A new connection to the leader.
    ///
    /// # Panics
    /// If nobody comes to lead.
    pub fn connect_to_leader(&self) -> Client {
        self.nodes[self.leader()].connect().expect("the leader serves")
    }
}

fn leaders(roles: &[Option<String>]) -> usize {
    roles.iter().filter(|role| role.as_deref() == Some("master")).count()
}

//! `talon dev`: a real cluster on this machine, to try things out. Each node is a server process of this same binary, a
//! direct child; this process only starts, watches and ends them.

mod child;
mod folder;
mod nodes;
mod screen;

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use crate::operator::{Operator, address};
use crate::settings::{Ports, Resolved, Settings};
use crate::signals::EndWish;
use child::Launch;
use folder::{Folder, Shape};
use nodes::Nodes;
use screen::Screen;

/// How often the nodes are asked how they are.
const ASK_INTERVAL: Duration = Duration::from_millis(200);
/// After how long of waiting a word about it is due.
const WAIT_NOTE_INTERVAL: Duration = Duration::from_secs(15);
/// How long the handover to the first node may take at a fresh start.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(10);
const NODES_MAX: u16 = 9;
const DEFAULT_SHAPE: Shape = Shape { nodes: 3, port: 6380 };

/// `talon dev`: a cluster on this machine, to try things out.
#[derive(Clone, Debug, Args)]
pub struct DevCommand {
    /// How many nodes (1 to 9) [default: 3, or as many as the folder has].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(NODES_MAX)))]
    nodes: Option<u16>,

    /// The folder for the nodes' data. What is in it is resumed.
    #[arg(long, default_value = "talon-dev", value_name = "FOLDER")]
    data: PathBuf,

    /// The first node's port for Redis clients; the others follow. gRPC, raft and HTTP lie 1000, 2000 and 3000 above
    /// [default: 6380, or as the folder has it].
    #[arg(long)]
    port: Option<u16>,

    /// Forget what is in the folder and begin with an empty cluster.
    #[arg(long)]
    fresh: bool,

    /// Start a node again when it dies. Otherwise it stays dead, so that one can see what happens.
    #[arg(long)]
    restart: bool,

    /// Further flags for every `talon server`, such as `-- --requirepass secret --log-level debug`.
    #[arg(last = true, value_name = "SERVER FLAGS")]
    server: Vec<OsString>,
}

/// Why there is no playground; in words for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DevError(pub String);

/// What is known of a node before it runs.
#[derive(Debug)]
struct Planned {
    launch: Launch,
    settings: Resolved,
}

impl DevCommand {
    /// Runs until a signal comes or no node is left.
    ///
    /// # Errors
    /// If the nodes cannot be started.
    pub async fn run(self) -> Result<ExitCode, DevError> {
        // Before the first child: a signal from here on must end them too.
        let mut end_wish = EndWish::listen().map_err(|error| DevError(format!("signals: {error}")))?;
        let default = DEFAULT_SHAPE;
        if self.port.is_some_and(|port| port == 0) {
            return Err(DevError("--port: port 0 is none".into()));
        }
        let folder = Folder::open(&self.data, self.fresh, (self.nodes, self.port), default)?;
        let plan = plan(&folder, &self.server)?;
        plan.iter().try_for_each(|planned| check_free(planned.settings.ports))?;
        folder.claim()?;
        let (screen, writer) = Screen::start();
        let operator = Operator::new(plan[0].settings.requirepass.as_ref());
        let mut nodes = Nodes::new(plan, screen.clone(), operator, self.restart);
        let code = drive(&mut nodes, &mut end_wish, &folder, &screen).await;
        nodes.end().await;
        drop((nodes, screen));
        // The last lines; the thread ends when the last sender, held by a child's pipe, is gone.
        let _ = tokio::time::timeout(Duration::from_secs(2), tokio::task::spawn_blocking(|| writer.join())).await;
        code
    }
}

async fn drive(
    nodes: &mut Nodes,
    end_wish: &mut EndWish,
    folder: &Folder,
    screen: &Screen,
) -> Result<ExitCode, DevError> {
    screen.say(
        if folder.is_new { "forming a new cluster" } else { "resuming the cluster" }.to_owned()
            + &format!(" of {} in {}", count(nodes.len(), "node"), folder.path().display()),
    );
    nodes.start_all()?;
    tokio::select! {
        signal = end_wish.next() => {
            screen.say(format!("{signal}: ending the nodes"));
            return Ok(ExitCode::SUCCESS);
        }
        serving = until_they_serve(nodes, folder.is_new, screen) => serving?,
    }
    screen.say(nodes.banner(folder.path()).await);
    tokio::select! {
        signal = end_wish.next() => {
            screen.say(format!("{signal}: ending the nodes; their data stays in {}", folder.path().display()));
            Ok(ExitCode::SUCCESS)
        }
        () = nodes.watch() => {
            Err(DevError("no node is left".into()))
        }
    }
}

/// Waits until every node serves and knows the leader; at a fresh start, until the first node leads.
async fn until_they_serve(nodes: &mut Nodes, is_new: bool, screen: &Screen) -> Result<(), DevError> {
    let start = Instant::now();
    let mut note = start + WAIT_NOTE_INTERVAL;
    while let Err(waiting) = nodes.ask_whether_ready().await {
        if let Some(death) = nodes.death() {
            return Err(DevError(format!("{death}, before it served; its log lines above say why")));
        }
        if Instant::now() >= note {
            screen.say(format!("still waiting after {} s: {waiting}", start.elapsed().as_secs()));
            note += WAIT_NOTE_INTERVAL;
        }
        tokio::time::sleep(ASK_INTERVAL).await;
    }
    if is_new && !nodes.hand_over_to_first(HANDOVER_TIMEOUT).await {
        screen.say("the first node does not lead; the others go on all the same");
    }
    Ok(())
}

fn plan(folder: &Folder, server: &[OsString]) -> Result<Vec<Planned>, DevError> {
    let Shape { nodes, port } = folder.shape;
    let last = port.checked_add(nodes - 1).and_then(|last| last.checked_add(3000));
    if last.is_none() {
        return Err(DevError(format!("--port: {port} is too high for {nodes} nodes and their further ports")));
    }
    let host = Ipv4Addr::LOCALHOST;
    let peers: Vec<String> = (0..nodes).map(|index| format!("{}={host}:{}", index + 1, port + index)).collect();
    let program = std::env::current_exe().map_err(|error| DevError(format!("this program's own file: {error}")))?;
    // The nodes share the machine with each other and with whoever tries them. A second thread lets the one that leads answer reads
    // while it replicates, and costs the others nothing.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (cores / usize::from(nodes)).max(2).min(cores);
    (1..=nodes)
        .map(|node| {
            let resp = port + node - 1;
            let mut flags: Vec<OsString> = Vec::new();
            let mut flag = |name: &str, value: OsString| flags.extend([OsString::from(name), value]);
            flag("--node-id", node.to_string().into());
            flag("--data-dir", folder.of_node(node).into());
            flag("--listen", host.to_string().into());
            flag("--advertise-host", host.to_string().into());
            flag("--peers", peers.join(",").into());
            // All ports by name: one in the environment would hold for all nodes.
            for (name, offset) in
                [("--resp-port", 0), ("--grpc-port", 1000), ("--raft-port", 2000), ("--http-port", 3000)]
            {
                flag(name, (resp + offset).to_string().into());
            }
            flag("--worker-threads", threads.to_string().into());
            flags.extend(server.iter().cloned());
            let settings = Settings::of_arguments(&flags)
                .and_then(Settings::resolve)
                .map_err(|error| DevError(format!("node {node}: {error}")))?;
            let arguments = std::iter::once(OsString::from("server")).chain(flags).collect();
            Ok(Planned { launch: Launch { node, program: program.clone(), arguments }, settings })
        })
        .collect()
}

/// Says so before any node starts if one of its ports is taken.
fn check_free(ports: Ports) -> Result<(), DevError> {
    for (name, port) in [("RESP", ports.resp), ("gRPC", ports.grpc), ("raft", ports.raft), ("HTTP", ports.http)] {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
            DevError(format!(
                "port {port} ({name}) cannot be used: {error}. Is another `talon dev` running? Choose other ports with \
                 --port, and another folder with --data"
            ))
        })?;
    }
    Ok(())
}

fn count(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The address of a node's gRPC door.
fn grpc_address(settings: &Resolved) -> String {
    address(&settings.advertise_host, settings.ports.grpc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_planned_by_the_rule_of_ports() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path(), false, (None, None), DEFAULT_SHAPE).unwrap();
        let plan = plan(&folder, &["--requirepass".into(), "secret".into()]).unwrap();
        let ports: Vec<Ports> = plan.iter().map(|planned| planned.settings.ports).collect();
        assert_eq!(ports[2], Ports { resp: 6382, grpc: 7382, raft: 8382, http: 9382 });
        assert_eq!(plan.len(), 3);
        assert_eq!(grpc_address(&plan[1].settings), "127.0.0.1:7381");
        assert!(plan[0].settings.requirepass.is_some(), "further flags reach the nodes");
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let raft = taken.local_addr().unwrap().port();
        let complaint = check_free(Ports { resp: 0, grpc: 0, raft, http: 0 }).unwrap_err().to_string();
        assert!(complaint.contains(&raft.to_string()) && complaint.contains("raft"), "{complaint}");
    }
}

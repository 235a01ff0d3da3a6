//! The running nodes of `talon dev`: started, asked how they are, reported when they die.

use std::fmt::Write as _;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use talon_proto::v1::ClusterStatusResponse;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::child::{END_TIMEOUT, Ended};
use super::screen::Screen;
use super::{ASK_INTERVAL, DevError, Planned, count, grpc_address};
use crate::operator::Operator;

/// The first pause before a dead node is started again; doubled while it dies young.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);
/// A node that lived for less died young.
const YOUNG: Duration = Duration::from_secs(10);
/// How often it is looked who leads.
const LEADER_INTERVAL: Duration = Duration::from_secs(1);

/// One node and its process, if it lives.
struct Node {
    planned: Planned,
    pid: Option<u32>,
    started: Instant,
    restart_at: Option<Instant>,
    pause: Duration,
}

/// All nodes.
pub(super) struct Nodes {
    nodes: Vec<Node>,
    screen: Screen,
    operator: Operator,
    restart: bool,
    end: CancellationToken,
    ended: mpsc::Sender<Ended>,
    ends: mpsc::Receiver<Ended>,
    leader: Option<u64>,
}

impl Nodes {
    pub(super) fn new(plan: Vec<Planned>, screen: Screen, operator: Operator, restart: bool) -> Nodes {
        let (ended, ends) = mpsc::channel(plan.len().max(1));
        let node =
            |planned| Node { planned, pid: None, started: Instant::now(), restart_at: None, pause: RESTART_PAUSE };
        let nodes = plan.into_iter().map(node).collect();
        Nodes { nodes, screen, operator, restart, end: CancellationToken::new(), ended, ends, leader: None }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn start_all(&mut self) -> Result<(), DevError> {
        (0..self.nodes.len()).try_for_each(|index| {
            let node = self.nodes[index].planned.launch.node;
            self.start(index).map_err(|error| DevError(format!("node {node} cannot be started: {error}")))
        })
    }

    fn start(&mut self, index: usize) -> io::Result<()> {
        let node = &mut self.nodes[index];
        let pid = node.planned.launch.start(&self.screen, self.ended.clone(), self.end.clone())?;
        (node.pid, node.started, node.restart_at) = (Some(pid), Instant::now(), None);
        Ok(())
    }

    /// The living nodes' numbers and gRPC addresses.
    fn living(&self) -> Vec<(u64, String)> {
        let living = self.nodes.iter().filter(|node| node.pid.is_some());
        living.map(|node| (node.planned.launch.node.into(), grpc_address(&node.planned.settings))).collect()
    }

    /// Whether all nodes serve and agree on a leader; if not, what is missing.
    pub(super) async fn ask_whether_ready(&mut self) -> Result<(), String> {
        let mut leader = None;
        for (id, at) in self.living() {
            let status = self.operator.status(&at).await.map_err(|error| format!("node {id}: {error}"))?;
            if !status.serving {
                return Err(format!("node {id} does not serve yet"));
            }
            let Some(known) = status.leader_id else { return Err(format!("node {id} knows no leader")) };
            if *leader.get_or_insert(known) != known {
                return Err("the nodes do not agree on a leader".into());
            }
        }
        self.leader = leader;
        Ok(())
    }

    /// A death since the last look, in words.
    pub(super) fn death(&mut self) -> Option<String> {
        let ended = self.ends.try_recv().ok()?;
        let pid = self.forget_process(ended.node);
        Some(death(&ended, pid))
    }

    /// At a fresh start the first node shall lead: it is where the person will connect to.
    pub(super) async fn hand_over_to_first(&mut self, timeout: Duration) -> bool {
        const FIRST: u64 = 1;
        let deadline = Instant::now() + timeout;
        while self.leader != Some(FIRST) {
            if Instant::now() >= deadline {
                return false;
            }
            let Some((_, at)) = self.living().into_iter().next() else { return false };
            // A refusal (an election under way) is no reason to give up before the time is over.
            let _ = self.operator.transfer(&at, Some(FIRST), timeout).await;
            sleep(ASK_INTERVAL).await;
            let _ = self.ask_whether_ready().await;
        }
        true
    }

    /// Who leads and how to connect.
    pub(super) async fn banner(&self, folder: &Path) -> String {
        let leader =
            self.leader.and_then(|leader| self.nodes.iter().find(|node| u64::from(node.planned.launch.node) == leader));
        let mut text = format!("{} serve, ", count(self.nodes.len(), "node"));
        if self.nodes.len() == 1 {
            text = "1 node serves, ".into();
        }
        let _ = writeln!(text, "node {} leads", self.leader.unwrap_or_default());
        for node in &self.nodes {
            let ports = node.planned.settings.ports;
            let part = if self.leader == Some(node.planned.launch.node.into()) { "leader" } else { "follower" };
            let _ = writeln!(
                text,
                "    node {}  {part:<8}  redis 127.0.0.1:{}  grpc :{}  metrics http://127.0.0.1:{}/metrics  pid {}",
                node.planned.launch.node,
                ports.resp,
                ports.grpc,
                ports.http,
                node.pid.unwrap_or_default(),
            );
        }
        if let Some(leader) = leader {
            let ports = leader.planned.settings.ports;
            let password = if leader.planned.settings.requirepass.is_some() { " -a PASSWORD" } else { "" };
            let _ = writeln!(text, "  connect:          redis-cli -p {}{password}", ports.resp);
            let _ = writeln!(text, "  kill the leader:  kill -9 {}", leader.pid.unwrap_or_default());
            let _ = writeln!(text, "  see the cluster:  talon cluster status --at 127.0.0.1:{}", ports.grpc);
        }
        let _ = write!(text, "  data in {}; Ctrl-C ends the nodes", folder.display());
        text
    }

    /// Reports deaths and new leaders until no node is left.
    pub(super) async fn watch(&mut self) {
        let mut look = interval(LEADER_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.nodes.iter().any(|node| node.pid.is_some() || node.restart_at.is_some()) {
            let restart_at = self.nodes.iter().filter_map(|node| node.restart_at).min();
            tokio::select! {
                Some(ended) = self.ends.recv() => self.report(&ended),
                () = at(restart_at) => self.restart_due(),
                _ = look.tick() => self.look_who_leads().await,
            }
        }
    }

    fn report(&mut self, ended: &Ended) {
        let pid = self.forget_process(ended.node);
        let mut text = death(ended, pid);
        if let Some(node) = self.nodes.iter_mut().find(|node| node.planned.launch.node == ended.node) {
            if self.restart {
                let young = node.started.elapsed() < YOUNG;
                let pause = if young { node.pause } else { RESTART_PAUSE };
                node.restart_at = Some(Instant::now() + pause);
                node.pause = if young { (pause * 2).min(RESTART_PAUSE_MAX) } else { RESTART_PAUSE };
                let _ = write!(text, "; it is started again in {} s", pause.as_secs());
            } else {
                let by_hand = node.planned.launch.by_hand();
                let _ =
                    write!(text, ". It stays dead (talon dev --restart would start it again); by hand:\n  {by_hand}");
            }
        }
        self.screen.say(text);
    }

    fn restart_due(&mut self) {
        let now = Instant::now();
        for index in 0..self.nodes.len() {
            if self.nodes[index].restart_at.is_some_and(|due| due <= now) {
                let node = self.nodes[index].planned.launch.node;
                self.screen.say(format!("starting node {node} again"));
                if let Err(error) = self.start(index) {
                    self.screen.say(format!("node {node} cannot be started: {error}"));
                    self.nodes[index].restart_at = Some(now + RESTART_PAUSE_MAX);
                }
            }
        }
    }

    /// Takes note of a dead process; returns the id it had.
    fn forget_process(&mut self, number: u16) -> Option<u32> {
        self.nodes.iter_mut().find(|node| node.planned.launch.node == number)?.pid.take()
    }

    async fn look_who_leads(&mut self) {
        let mut newest: Option<ClusterStatusResponse> = None;
        for (_, at) in self.living() {
            if let Ok(status) = self.operator.status(&at).await
                && status.leader_id.is_some()
                && newest.as_ref().is_none_or(|newest| newest.term < status.term)
            {
                newest = Some(status);
            }
        }
        let leader = newest.and_then(|status| status.leader_id);
        if leader != self.leader
            && let Some(id) = leader
            && let Some(node) =
                self.nodes.iter().find(|node| u64::from(node.planned.launch.node) == id && node.pid.is_some())
        {
            let port = node.planned.settings.ports.resp;
            let pid = node.pid.unwrap_or_default();
            self.screen.say(format!("node {id} leads now: redis-cli -p {port} (pid {pid})"));
            self.leader = leader;
        }
    }

    /// Ends all nodes, and returns when they have ended.
    pub(super) async fn end(&mut self) {
        self.end.cancel();
        let deadline = Instant::now() + END_TIMEOUT * 2;
        while self.nodes.iter().any(|node| node.pid.is_some()) {
            let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.ends.recv()).await else { return };
            self.forget_process(ended.node);
            if ended.killed {
                let seconds = END_TIMEOUT.as_secs();
                self.screen.say(format!("node {} did not end within {seconds} s and was killed", ended.node));
            }
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn death(ended: &Ended, pid: Option<u32>) -> String {
    let pid = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
    format!("node {}{pid} {}", ended.node, how(&ended.status))
}

fn how(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (_, Some(signal)) => format!("was killed by signal {signal}"),
            (Some(0), None) => "ended".into(),
            (code, None) => format!("ended with exit code {}", code.unwrap_or_default()),
        },
        Err(error) => format!("is lost: {error}"),
    }
}

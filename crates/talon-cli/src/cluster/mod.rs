//! `talon cluster …`: what operators see and change while the cluster runs.

mod report;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use talon_proto::v1::{ClusterMember, ClusterMemberRole, ClusterStatusResponse};
use tokio::task::JoinSet;

use crate::operator::{Operator, OperatorError, address};
use crate::settings::{Peer, Secret};
use report::{NodeRow, StatusReport, VerifyReport, VerifyRow};

/// How long a newly elected leader may take until it leads.
const NEW_LEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is asked.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// `talon cluster`: see and change a running cluster.
#[derive(Clone, Debug, Args)]
pub struct ClusterCommand {
    /// Members to ask (`host:grpc_port`), separated by commas: the first that answers is taken, and it knows the others.
    #[arg(long, global = true, env = "TALON_AT", default_value = "127.0.0.1:7380", value_delimiter = ',')]
    at: Vec<String>,

    /// The cluster's password, if it has one.
    #[arg(long, global = true, env = "TALON_REQUIREPASS", hide_env_values = true)]
    requirepass: Option<Secret>,

    /// After how many seconds a change is given up waiting for; it may still happen.
    #[arg(long, global = true, default_value_t = 600)]
    timeout_s: u64,

    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Show every node: its part, its position in the log, whether it serves.
    Status,
    /// Add a running node (started with `join`, or empty) as a learner: `id=host:resp_port`, or with
    /// `:grpc_port:raft_port`. Returns when it has caught up.
    Add {
        /// The new node.
        node: Peer,
    },
    /// Let a learner vote.
    Promote {
        /// The node's number.
        id: u64,
    },
    /// Take a node out of the cluster.
    Remove {
        /// The node's number.
        id: u64,
    },
    /// Hand leadership over.
    Transfer {
        /// Who shall lead; without it, the voter that holds most of the log.
        id: Option<u64>,
    },
    /// Compare all nodes: a hash over everything replicated, at one log position. Ends with 1 if they differ, or if a
    /// node could not be asked.
    Verify,
}

impl ClusterCommand {
    /// Does what was asked and prints what came of it.
    ///
    /// # Errors
    /// If nobody answers, or the leader refuses.
    pub async fn run(self) -> Result<ExitCode, OperatorError> {
        let operator = Operator::new(self.requirepass.as_ref());
        let (at, seen) = first_answer(&operator, &self.at).await?;
        let timeout = Duration::from_secs(self.timeout_s);
        let done = match &self.action {
            Action::Status => {
                let report = status(&operator, seen).await;
                self.print(&report, report.table());
                return Ok(ExitCode::SUCCESS);
            }
            Action::Verify => {
                let report = verify(&operator, &at, seen).await?;
                self.print(&report, report.table());
                return Ok(if report.equal { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            Action::Add { node } => {
                let added = operator.add(&at, &member(node), timeout).await;
                if let Err(error) = added {
                    return Err(told_of_a_silent_member(&operator, &at, node, error).await);
                }
                format!(
                    "node {} is a learner and has caught up; `talon cluster promote {}` lets it vote",
                    node.id, node.id
                )
            }
            Action::Promote { id } => {
                operator.promote(&at, *id, timeout).await?;
                format!("node {id} votes")
            }
            Action::Remove { id } => {
                stop_leading(&operator, &at, *id, timeout).await?;
                operator.remove(&at, *id, timeout).await?;
                format!("node {id} is no longer a member; never use its number for another node")
            }
            Action::Transfer { id } => {
                operator.transfer(&at, *id, timeout).await?;
                let leader = settled_leader(&operator, &at, None).await?;
                leader.map_or("leadership was handed over".to_owned(), |leader| format!("node {leader} leads"))
            }
        };
        self.print(&serde_json::json!({ "done": done }), done.clone());
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, report: &impl serde::Serialize, table: String) {
        let text = match self.json.then(|| serde_json::to_string_pretty(report)) {
            Some(Ok(json)) => json,
            Some(Err(error)) => return eprintln!("talon: the report is no JSON: {error}"),
            None => table,
        };
        // Whoever closes the pipe early (`| head`) has seen enough.
        let _ = writeln!(io::stdout(), "{text}");
    }
}

/// Why adding a node has failed; and if it is a member all the same, that it is, and the way back.
async fn told_of_a_silent_member(operator: &Operator, at: &str, node: &Peer, error: OperatorError) -> OperatorError {
    let OperatorError::Refused { at: refused_at, why } = error else { return error };
    let is_member = match operator.status(at).await {
        Ok(status) => status.members.iter().any(|member| member.id == node.id),
        Err(_) => false,
    };
    let own = address(&node.host, node.grpc_port);
    // One that answers is merely slow to catch up.
    let (true, Err(silence)) = (is_member, operator.status(&own).await) else {
        return OperatorError::Refused { at: refused_at, why };
    };
    let id = node.id;
    let why = format!(
        "{why}: node {id} is a member now, but does not answer ({silence}). Start it, and it catches up by itself; or take it back with \
         `talon cluster remove {id}`, and never use its number for another node"
    );
    OperatorError::Refused { at: refused_at, why }
}

/// The cluster's member that a peer describes.
pub fn member(peer: &Peer) -> ClusterMember {
    ClusterMember {
        id: peer.id,
        host: peer.host.clone(),
        resp_port: peer.resp_port.into(),
        grpc_port: peer.grpc_port.into(),
        raft_port: peer.raft_port.into(),
        ..ClusterMember::default()
    }
}

async fn first_answer(operator: &Operator, seeds: &[String]) -> Result<(String, ClusterStatusResponse), OperatorError> {
    let mut last = OperatorError::Unreachable { at: "at".into(), why: "no member was named".into() };
    for seed in seeds {
        match operator.status(seed).await {
            Ok(status) => return Ok((seed.clone(), status)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A leader that is to be removed hands over first: removed while it leads, it would leave its clients waiting for a node
/// that no longer hears who leads.
async fn stop_leading(operator: &Operator, at: &str, id: u64, timeout: Duration) -> Result<(), OperatorError> {
    let seen = operator.status(at).await?;
    let others = seen.members.iter().any(|member| member.id != id && member.role() == ClusterMemberRole::Voter);
    if seen.leader_id != Some(id) || !others {
        return Ok(());
    }
    operator.transfer(at, None, timeout).await?;
    settled_leader(operator, at, Some(id)).await.map(drop)
}

/// Who leads, other than `not`, and says so itself: a newly elected leader needs a moment until it takes wishes. None if
/// nobody has come to it in time.
async fn settled_leader(operator: &Operator, at: &str, not: Option<u64>) -> Result<Option<u64>, OperatorError> {
    let deadline = Instant::now() + NEW_LEADER_TIMEOUT;
    loop {
        let seen = operator.status(at).await?;
        let leader = seen.members.iter().find(|member| seen.leader_id == Some(member.id) && not != Some(member.id));
        if let Some(leader) = leader
            && let Ok(own) = operator.status(&address(&leader.host, leader.grpc_port)).await
            && own.leader_id == Some(leader.id)
        {
            return Ok(own.leader_id);
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Asks all members at once.
async fn ask_all<T: Send + 'static, F>(
    members: &[ClusterMember],
    ask: impl Fn(String) -> F,
) -> Vec<(ClusterMember, Result<T, OperatorError>)>
where
    F: Future<Output = Result<T, OperatorError>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for member in members {
        let answer = ask(address(&member.host, member.grpc_port));
        let member = member.clone();
        tasks.spawn(async move { (member, answer.await) });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_by_key(|(member, _)| member.id);
    answers
}

async fn status(operator: &Operator, seen: ClusterStatusResponse) -> StatusReport {
    let answers = ask_all(&seen.members, |at| {
        let operator = operator.clone();
        async move { operator.status(&at).await }
    })
    .await;
    // Of what the nodes say about leadership, the newest term counts; only the leader knows how far each member is.
    let newest = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).max_by_key(|status| status.term);
    let newest = newest.unwrap_or(&seen);
    let leader = answers
        .iter()
        .find(|(member, _)| newest.leader_id == Some(member.id))
        .and_then(|(_, answer)| answer.as_ref().ok());
    StatusReport {
        cluster_id: seen.cluster_id.clone(),
        leader_id: newest.leader_id,
        term: newest.term,
        nodes: answers.iter().map(|(member, answer)| NodeRow::new(member, answer, leader)).collect(),
    }
}

async fn verify(operator: &Operator, at: &str, seen: ClusterStatusResponse) -> Result<VerifyReport, OperatorError> {
    let index = operator.mark_state(at).await?;
    let answers = ask_all(&seen.members, |at| {
        let operator = operator.clone();
        async move { operator.state_hash(&at, index).await }
    })
    .await;
    let nodes: Vec<VerifyRow> = answers.into_iter().map(|(member, answer)| VerifyRow::new(&member, answer)).collect();
    Ok(VerifyReport::new(index, nodes))
}

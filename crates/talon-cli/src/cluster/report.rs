//! What `talon cluster` shows: the same rows as a table for people and as JSON for programs.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Serialize;
use talon_proto::v1::{ClusterMember, ClusterMemberRole, ClusterStatusResponse, NodeRole, StateHashResponse};

use crate::operator::{OperatorError, address};

/// The whole cluster.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    /// The cluster's name.
    pub cluster_id: String,
    /// Who leads, if known.
    pub leader_id: Option<u64>,
    /// The newest term any node knows.
    pub term: u64,
    /// One row a node.
    pub nodes: Vec<NodeRow>,
}

/// One node.
#[derive(Debug, Serialize)]
pub struct NodeRow {
    /// Its number.
    pub id: u64,
    /// Where Redis clients reach it.
    pub address: String,
    /// Voter or learner, as the membership has it.
    pub member: &'static str,
    /// Leader, follower or learner, as it says of itself; none if it did not answer.
    pub role: Option<&'static str>,
    /// Whether it answers reads and writes.
    pub serving: bool,
    /// Its last applied log index.
    pub applied_index: Option<u64>,
    /// How many log entries of the leader it does not hold yet, if the leader knows.
    pub lag_entries: Option<u64>,
    /// Milliseconds since it heard from a leader.
    pub heard_from_leader_ms: Option<u64>,
    /// Milliseconds since the leader heard it, if the leader is known to know.
    pub silent_ms: Option<u64>,
    /// Why it did not answer.
    pub error: Option<String>,
}

impl NodeRow {
    pub(super) fn new(
        member: &ClusterMember,
        answer: &Result<ClusterStatusResponse, OperatorError>,
        leader: Option<&ClusterStatusResponse>,
    ) -> NodeRow {
        let status = answer.as_ref().ok();
        let known = leader.and_then(|leader| leader.members.iter().find(|other| other.id == member.id));
        let matched = known.and_then(|known| known.matched_index);
        NodeRow {
            id: member.id,
            address: address(&member.host, member.resp_port),
            member: match member.role() {
                ClusterMemberRole::Voter => "voter",
                ClusterMemberRole::Learner => "learner",
                ClusterMemberRole::Unspecified => "unknown",
            },
            role: status.map(|status| match status.role() {
                NodeRole::Leader => "leader",
                NodeRole::Follower => "follower",
                NodeRole::Learner => "learner",
                NodeRole::Unspecified => "unknown",
            }),
            serving: status.is_some_and(|status| status.serving),
            applied_index: status.map(|status| status.applied_index),
            lag_entries: leader.zip(matched).map(|(leader, matched)| leader.last_log_index.saturating_sub(matched)),
            heard_from_leader_ms: status.map(|status| status.heard_from_leader_ms),
            silent_ms: known.and_then(|known| known.silent_ms),
            error: answer.as_ref().err().map(ToString::to_string),
        }
    }
}

fn number(value: Option<u64>) -> String {
    value.map_or("–".to_owned(), |value| value.to_string())
}

fn empty_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(header.to_vec());
    table
}

impl StatusReport {
    pub(super) fn table(&self) -> String {
        let mut table = empty_table(&[
            "node",
            "redis address",
            "member",
            "role",
            "state",
            "applied",
            "lag",
            "heard leader, ms ago",
            "leader heard it, ms ago",
        ]);
        for node in &self.nodes {
            let state = match (&node.error, node.serving) {
                (Some(_), _) => "no answer",
                (None, true) => "serving",
                (None, false) => "not serving",
            };
            table.add_row(vec![
                node.id.to_string(),
                node.address.clone(),
                node.member.to_owned(),
                node.role.unwrap_or("–").to_owned(),
                state.to_owned(),
                number(node.applied_index),
                number(node.lag_entries),
                number(node.heard_from_leader_ms),
                number(node.silent_ms),
            ]);
        }
        let leader = self.leader_id.map_or("nobody leads".to_owned(), |id| format!("node {id} leads"));
        let errors: String = self
            .nodes
            .iter()
            .filter_map(|node| Some(format!("node {}: {}\n", node.id, node.error.as_ref()?)))
            .collect();
        format!("{table}\n{errors}cluster {}: {leader}, term {}", self.cluster_id, self.term)
    }
}

/// The comparison of all nodes.
#[derive(Debug, Serialize)]
pub struct VerifyReport {
    /// The log index at which they were compared.
    pub index: u64,
    /// Whether all nodes answered, and with the same hash.
    pub equal: bool,
    /// One row a node.
    pub nodes: Vec<VerifyRow>,
}

/// One node's hash.
#[derive(Debug, Serialize)]
pub struct VerifyRow {
    /// Its number.
    pub id: u64,
    /// The replicated clock there, Unix ms.
    pub clock_ms: Option<u64>,
    /// How many data rows it has.
    pub rows: Option<u64>,
    /// The digest.
    pub digest: Option<String>,
    /// Why it did not answer.
    pub error: Option<String>,
}

impl VerifyRow {
    pub(super) fn new(member: &ClusterMember, answer: Result<StateHashResponse, OperatorError>) -> VerifyRow {
        match answer {
            Ok(hash) => VerifyRow {
                id: member.id,
                clock_ms: Some(hash.clock_ms),
                rows: Some(hash.rows),
                digest: Some(hash.digest),
                error: None,
            },
            Err(error) => {
                VerifyRow { id: member.id, clock_ms: None, rows: None, digest: None, error: Some(error.to_string()) }
            }
        }
    }
}

impl VerifyReport {
    pub(super) fn new(index: u64, nodes: Vec<VerifyRow>) -> VerifyReport {
        let state = |row: &VerifyRow| (row.clock_ms, row.rows, row.digest.clone());
        let equal = nodes.iter().all(|row| row.digest.is_some())
            && nodes.windows(2).all(|two| state(&two[0]) == state(&two[1]));
        VerifyReport { index, equal: equal && !nodes.is_empty(), nodes }
    }

    pub(super) fn table(&self) -> String {
        let mut table = empty_table(&["node", "clock T, ms", "rows", "digest"]);
        for node in &self.nodes {
            let digest = node.digest.clone().or_else(|| node.error.clone()).unwrap_or_default();
            table.add_row(vec![node.id.to_string(), number(node.clock_ms), number(node.rows), digest]);
        }
        let verdict = if self.equal {
            "all nodes are equal"
        } else if self.nodes.iter().any(|node| node.digest.is_none()) {
            "NOT VERIFIED: a node did not answer"
        } else {
            "THE NODES DIFFER"
        };
        format!("{table}\nlog index {}: {verdict}", self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64) -> ClusterMember {
        ClusterMember {
            id,
            host: "talon".into(),
            resp_port: 6380,
            matched_index: Some(90),
            silent_ms: Some(7_000),
            role: ClusterMemberRole::Voter.into(),
            ..ClusterMember::default()
        }
    }

    fn hash(digest: &str) -> Result<StateHashResponse, OperatorError> {
        Ok(StateHashResponse { index: 9, clock_ms: 1, rows: 2, digest: digest.into() })
    }

    fn gone() -> OperatorError {
        OperatorError::Unreachable { at: "talon:7380".into(), why: "connection refused".into() }
    }

    #[test]
    fn equal_means_that_everybody_answered_the_same() {
        let report = |answers: Vec<Result<StateHashResponse, OperatorError>>| {
            let rows = answers.into_iter().zip(1..).map(|(answer, id)| VerifyRow::new(&member(id), answer));
            VerifyReport::new(9, rows.collect())
        };
        assert!(report(vec![hash("a"), hash("a"), hash("a")]).equal);
        let different = report(vec![hash("a"), hash("b")]);
        assert!(!different.equal && different.table().contains("DIFFER"));
        let missing = report(vec![hash("a"), Err(gone())]);
        assert!(!missing.equal && missing.table().contains("NOT VERIFIED") && missing.table().contains("refused"));
        assert!(!report(Vec::new()).equal);
    }

    #[test]
    fn a_row_shows_lag_and_absence() {
        let leader = ClusterStatusResponse {
            role: NodeRole::Leader.into(),
            last_log_index: 100,
            members: vec![member(2)],
            ..ClusterStatusResponse::default()
        };
        let row = NodeRow::new(&member(2), &Err(gone()), Some(&leader));
        assert_eq!((row.lag_entries, row.role, row.serving), (Some(10), None, false));
        assert_eq!(row.silent_ms, Some(7_000), "the leader knows it");
        let report = StatusReport { cluster_id: "c".into(), leader_id: Some(1), term: 3, nodes: vec![row] };
        let table = report.table();
        assert!(table.contains("talon:6380") && table.contains("connection refused") && table.contains("node 1 leads"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["nodes"][0]["lag_entries"], 10);
    }
}

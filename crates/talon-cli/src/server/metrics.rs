//! The figures on `/metrics`. They are read when they are asked for: nothing is counted here.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use talon_core::{Database, Role, Status};

/// All figures of a node whose database this is.
pub fn registry<D: Database>(database: &Arc<D>) -> Registry {
    let mut registry = Registry::with_prefix("talon");
    registry.register_collector(Box::new(NodeFigures(Arc::clone(database))));
    registry
}

/// What a node knows of itself and its cluster.
struct NodeFigures<D>(Arc<D>);

impl<D> fmt::Debug for NodeFigures<D> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("NodeFigures")
    }
}

/// The labels of the figures about another member.
type MemberLabels = [(&'static str, String); 1];

/// Writes gauges, one call each.
pub(super) struct Gauges<'a>(pub(super) DescriptorEncoder<'a>);

impl Gauges<'_> {
    /// One figure. A gauge is an `f64` on the wire, exact up to 2⁵³.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// The same figure for several labels.
    fn gauges<L: EncodeLabelSet>(&mut self, name: &str, help: &str, values: &[(L, u64)]) -> fmt::Result {
        if values.is_empty() {
            return Ok(());
        }
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        values.iter().try_for_each(|(labels, value)| encoder.encode_family(labels)?.encode_gauge(value))
    }
}

impl<D: Database> Collector for NodeFigures<D> {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        node_figures(&self.0.status(), &mut Gauges(encoder))
    }
}

fn node_figures(status: &Status, out: &mut Gauges<'_>) -> fmt::Result {
    let role = |wanted| u64::from(status.role == wanted);
    out.gauges(
        "node_role",
        "1 for the part this node plays",
        &[
            ([("role", "leader")], role(Role::Leader)),
            ([("role", "follower")], role(Role::Follower)),
            ([("role", "learner")], role(Role::Learner)),
        ],
    )?;
    out.gauge("node_serving", "1 while this node answers reads and writes", u64::from(status.serving))?;
    out.gauge("raft_leader_known", "1 while this node knows who leads", u64::from(status.leader_id.is_some()))?;
    out.gauge("raft_leader_id", "The leader's number; 0: unknown", status.leader_id.unwrap_or(0))?;
    out.gauge("raft_term", "The raft term", status.term)?;
    out.gauge("raft_applied_index", "The last log index applied here", status.applied_index)?;
    out.gauge("raft_committed_index", "The last log index known to be committed", status.committed_index)?;
    out.gauge("raft_log_first_index", "The first log index still in the log", status.first_log_index)?;
    out.gauge("raft_log_last_index", "The last log index in the log", status.last_log_index)?;
    out.gauge("raft_members", "Voters and learners", status.members.len() as u64)?;
    out.gauge(
        "raft_heard_from_leader_ms",
        "Milliseconds since a leader was heard; 0 on the leader",
        status.heard_from_leader_ms,
    )?;
    out.gauge("clock_ms", "The replicated clock T, Unix milliseconds", status.clock_ms)?;
    let lags: Vec<(MemberLabels, u64)> = status
        .members
        .iter()
        .filter_map(|member| {
            let lag = status.last_log_index.saturating_sub(member.matched_index?);
            Some(([("member", member.id.to_string())], lag))
        })
        .collect();
    out.gauges("raft_member_lag_entries", "On the leader: log entries a member does not hold yet", &lags)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use prometheus_client::encoding::text;
    use talon_core::{Call, Consistency, Denied, Member, MemberRole, Outcome, PointInTime};

    /// A database that only has a status.
    pub(in crate::server) struct Still;

    pub(in crate::server) fn status() -> Status {
        let member = |id, matched_index| Member {
            id,
            host: "talon".into(),
            resp_port: 6380,
            grpc_port: 7380,
            raft_port: 8380,
            role: MemberRole::Voter,
            matched_index,
        };
        Status {
            version: 1,
            node_id: 1,
            cluster_id: "0".repeat(32),
            role: Role::Leader,
            clustered: true,
            leader_id: Some(1),
            term: 7,
            members: vec![member(1, Some(100)), member(2, Some(90)), member(3, None)],
            applied_index: 99,
            committed_index: 99,
            last_log_index: 100,
            first_log_index: 5,
            clock_ms: 1_700_000_000_123,
            serving: true,
            heard_from_leader_ms: 0,
        }
    }

    impl Database for Still {
        async fn execute(&self, calls: Vec<Call>, _: Consistency) -> Vec<Outcome> {
            calls.into_iter().map(|_| Err(Denied::Loading)).collect()
        }
        async fn point_in_time(&self, _: Consistency) -> Result<Arc<dyn PointInTime>, Denied> {
            Err(Denied::Loading)
        }
        fn status(&self) -> Arc<Status> {
            Arc::new(status())
        }
        async fn status_changed(&self, _: u64) {
            std::future::pending().await
        }
    }

    #[test]
    fn figures_of_a_leader() {
        let mut page = String::new();
        text::encode(&mut page, &registry(&Arc::new(Still))).unwrap();
        for line in [
            "# TYPE talon_raft_term gauge",
            "talon_node_role{role=\"leader\"} 1",
            "talon_node_role{role=\"follower\"} 0",
            "talon_raft_applied_index 99",
            "talon_raft_member_lag_entries{member=\"1\"} 0",
            "talon_raft_member_lag_entries{member=\"2\"} 10",
            "talon_clock_ms 1700000000123",
            "# EOF",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
        }
        assert!(!page.contains("member=\"3\""), "a member of unknown position has no lag");
    }
}

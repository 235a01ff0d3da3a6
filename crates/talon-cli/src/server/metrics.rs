//! The figures on `/metrics`. They are read when they are asked for: nothing is counted here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use talon_core::{Database, Role, Status};
use talon_server::resp::{CommandCounters, Metrics};

/// All figures of a node whose database this is.
pub fn registry<D: Database>(database: &Arc<D>) -> Registry {
    let mut registry = Registry::with_prefix("talon");
    registry.register_collector(Box::new(ClusterFigures(Arc::clone(database))));
    registry
}

/// What a raft node says of itself: name, help and value.
pub(super) struct RaftFigures<F>(pub(super) F);

impl<F> fmt::Debug for RaftFigures<F> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("RaftFigures")
    }
}

impl<F: Fn() -> Vec<(&'static str, &'static str, f64)> + Send + Sync + 'static> Collector for RaftFigures<F> {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        (self.0)().into_iter().try_for_each(|(name, help, value)| {
            encoder.encode_descriptor(name, help.trim_end_matches('.'), None, MetricType::Gauge)?.encode_gauge(&value)
        })
    }
}

/// What the RESP front door counts.
#[derive(Debug)]
pub(super) struct RespFigures(pub(super) Arc<Metrics>);

impl Collector for RespFigures {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let (mut out, figures) = (Figures(encoder), &*self.0);
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        out.gauge("resp_connections", "Connections open now", now(&figures.connections))?;
        for (name, help, counter) in [
            ("resp_connections_received", "Connections accepted", &figures.connections_received),
            ("resp_connections_rejected", "Connections refused", &figures.connections_rejected),
            ("resp_connections_demoted", "Connections closed when leadership was lost", &figures.connections_demoted),
            ("resp_connections_cut", "Slow readers and endless requests cut off", &figures.connections_cut),
            ("resp_protocol_errors", "Connections that sent what is not RESP", &figures.protocol_errors),
            ("resp_commands", "Commands carried out", &figures.commands_processed),
            ("resp_batches", "Batches handed to the database", &figures.batches),
            ("resp_bytes_in", "Bytes read", &figures.bytes_in),
            ("resp_bytes_out", "Bytes written", &figures.bytes_out),
        ] {
            out.counter(name, help, now(counter))?;
        }
        // Only commands that were used: there are many.
        let commands = || figures.commands().filter(|(_, counters)| now(&counters.calls) + now(&counters.rejected) > 0);
        let of_command = |counter: fn(&CommandCounters) -> &AtomicU64| -> Vec<(Labels, u64)> {
            commands().map(|(name, counters)| ([("command", name.to_lowercase())], now(counter(counters)))).collect()
        };
        out.counters("resp_command_calls", "Times a command was carried out", &of_command(|of| &of.calls))?;
        out.counters("resp_command_usec", "Microseconds a command took", &of_command(|of| &of.usec))?;
        out.counters(
            "resp_command_failed",
            "Times a command was answered with an error",
            &of_command(|of| &of.failed),
        )?;
        out.counters("resp_command_rejected", "Times a command was refused", &of_command(|of| &of.rejected))?;
        let errors: Vec<(Labels, u64)> =
            figures.errors().into_iter().map(|(prefix, count)| ([("prefix", prefix)], count)).collect();
        out.counters("resp_errors", "Errors answered, by their first word", &errors)
    }
}

/// What a node knows of itself and its cluster.
struct ClusterFigures<D>(Arc<D>);

impl<D> fmt::Debug for ClusterFigures<D> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ClusterFigures")
    }
}

/// One label.
type Labels = [(&'static str, String); 1];

/// Writes figures, one call each.
struct Figures<'a>(DescriptorEncoder<'a>);

impl Figures<'_> {
    /// One figure.
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// One figure that only grows.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        encoder.encode_counter::<Labels, _, f64>(&value, None)
    }

    /// The same growing figure for several labels.
    fn counters(&mut self, name: &str, help: &str, values: &[(Labels, u64)]) -> fmt::Result {
        if values.is_empty() {
            return Ok(());
        }
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        values.iter().try_for_each(|(labels, value)| {
            encoder.encode_family(labels)?.encode_counter::<Labels, _, f64>(value, None)
        })
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

impl<D: Database> Collector for ClusterFigures<D> {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        cluster_figures(&self.0.status(), &mut Figures(encoder))
    }
}

fn cluster_figures(status: &Status, out: &mut Figures<'_>) -> fmt::Result {
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
    out.gauge("raft_leader_known", "1 while this node knows who leads", u64::from(status.leader_id.is_some()))?;
    out.gauge("raft_leader_id", "The leader's number; 0: unknown", status.leader_id.unwrap_or(0))?;
    out.gauge("raft_members", "Voters and learners", status.members.len() as u64)?;
    let lags: Vec<(Labels, u64)> = status
        .members
        .iter()
        .filter_map(|member| {
            let matched_index = member.matched_index.filter(|_| status.role == Role::Leader)?;
            let lag = status.last_log_index.saturating_sub(matched_index);
            Some(([("member", member.id.to_string())], lag))
        })
        .collect();
    out.gauges("raft_member_lag_entries", "On the leader: log entries a member does not hold yet", &lags)?;
    let silences: Vec<(Labels, u64)> = status
        .members
        .iter()
        .filter_map(|member| Some(([("member", member.id.to_string())], member.silent_ms?)))
        .collect();
    out.gauges("raft_member_silent_ms", "Milliseconds since the leader heard a member", &silences)
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
            silent_ms: matched_index.map(|index| 100 - index),
        };
        Status {
            version: 1,
            node_id: 1,
            cluster_id: "0".repeat(32),
            role: Role::Leader,
            clustered: true,
            leader_id: Some(1),
            last_leader_id: Some(1),
            led_ms_ago: Some(0),
            term: 7,
            members: vec![member(1, Some(100)), member(2, Some(90)), member(3, None)],
            applied_index: 99,
            committed_index: 99,
            last_log_index: 100,
            first_log_index: 5,
            clock_ms: 1_700_000_000_123,
            serving: true,
            heard_from_leader_ms: 0,
            expired_keys: 0,
        }
    }

    impl Database for Still {
        async fn execute(&self, calls: Vec<Call>, _: Consistency) -> Vec<Outcome> {
            calls.into_iter().map(|_| Err(Denied::Loading)).collect()
        }
        async fn watch(&self, _: Vec<bytes::Bytes>) -> Result<talon_core::Watch, Denied> {
            Err(Denied::Loading)
        }
        async fn execute_if(&self, _: Vec<talon_core::Request>, _: Vec<talon_core::Watch>) -> Outcome {
            Err(Denied::Loading)
        }
        async fn point_in_time(&self, _: Consistency) -> Result<Arc<dyn PointInTime>, Denied> {
            Err(Denied::Loading)
        }
        async fn read_at(&self, view: Arc<dyn PointInTime>, calls: Vec<Call>) -> Vec<Outcome> {
            view.read_all(&calls)
        }

        fn listen(&self, _: std::sync::Weak<dyn talon_core::Listener>) {}

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
            "# TYPE talon_raft_leader_id gauge",
            "talon_node_role{role=\"leader\"} 1",
            "talon_node_role{role=\"follower\"} 0",
            "talon_raft_leader_id 1",
            "talon_raft_member_lag_entries{member=\"1\"} 0",
            "talon_raft_member_lag_entries{member=\"2\"} 10",
            "talon_raft_member_silent_ms{member=\"2\"} 10",
            "# EOF",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
        }
        assert!(!page.contains("member=\"3\""), "a member of unknown position has no lag");
    }

    #[test]
    fn figures_of_clients_and_raft() {
        let metrics = Arc::new(Metrics::default());
        metrics.connections.store(3, Ordering::Relaxed);
        let (name, counters) = metrics.commands().next().unwrap();
        counters.calls.store(5, Ordering::Relaxed);
        let command = format!("talon_resp_command_calls_total{{command=\"{}\"}} 5", name.to_lowercase());
        let mut registry = Registry::with_prefix("talon");
        registry.register_collector(Box::new(RespFigures(Arc::clone(&metrics))));
        registry.register_collector(Box::new(RaftFigures(|| vec![("raft_term", "The term.", 7.0)])));
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        for line in ["talon_resp_connections 3", "talon_resp_commands_total 0", "talon_raft_term 7.0", &command] {
            assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
        }
    }
}

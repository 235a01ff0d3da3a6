//! A new node asks a running cluster to add it.

use std::sync::Arc;
use std::time::Duration;

use talon_core::Database;
use talon_proto::v1::ClusterMember;
use tokio::time::sleep;

use crate::operator::Operator;

/// How long one wish may take: the node may have a whole data set to receive.
const ADD_TIMEOUT: Duration = Duration::from_secs(3600);
/// The pause after every seed has refused.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Asks the seeds in turn until this node is a member. One that is a member already (a restart) asks nothing.
pub async fn join<D: Database>(database: Arc<D>, operator: Operator, seeds: Vec<String>, member: ClusterMember) {
    while !is_member(&*database, member.id) {
        for seed in &seeds {
            tracing::info!(seed, "asking to be added to the cluster");
            match operator.add(seed, &member, ADD_TIMEOUT).await {
                Ok(()) => {
                    tracing::info!(node = member.id, "added as a learner; `talon cluster promote` lets it vote");
                    return;
                }
                Err(error) => tracing::warn!(seed, %error, "not added"),
            }
        }
        sleep(RETRY_PAUSE).await;
    }
}

fn is_member<D: Database>(database: &D, id: u64) -> bool {
    database.status().members.iter().any(|member| member.id == id)
}

//! The service `Cluster`: what operators ask, handed to the node.

use std::sync::Arc;

use talon_core::{AdminError, Administer, Database, Member, MemberRole, Role};
use talon_proto::v1;
use talon_proto::v1::cluster_server::Cluster;
use tonic::{Code, Request, Response, Status};

use super::status::{self, Fate};

/// Serves [`Cluster`] for a node.
pub(super) struct ClusterDoor<N> {
    node: Arc<N>,
}

impl<N> ClusterDoor<N> {
    pub(super) fn new(node: Arc<N>) -> ClusterDoor<N> {
        ClusterDoor { node }
    }
}

type Answer<T> = Result<Response<T>, Status>;

// No deadlines of its own: the node bounds each of these, and a learner may need long to catch up.
#[tonic::async_trait]
impl<N: Database + Administer> Cluster for ClusterDoor<N> {
    async fn status(&self, _: Request<v1::ClusterStatusRequest>) -> Answer<v1::ClusterStatusResponse> {
        let status = Database::status(&*self.node);
        let role = match status.role {
            Role::Leader => v1::NodeRole::Leader,
            Role::Follower => v1::NodeRole::Follower,
            Role::Learner => v1::NodeRole::Learner,
        };
        Ok(Response::new(v1::ClusterStatusResponse {
            node_id: status.node_id,
            cluster_id: status.cluster_id.clone(),
            role: role.into(),
            clustered: status.clustered,
            leader_id: status.leader_id,
            term: status.term,
            members: status.members.iter().map(member_message).collect(),
            applied_index: status.applied_index,
            committed_index: status.committed_index,
            last_log_index: status.last_log_index,
            first_log_index: status.first_log_index,
            clock_ms: status.clock_ms,
            serving: status.serving,
            heard_from_leader_ms: status.heard_from_leader_ms,
        }))
    }

    async fn add_learner(&self, request: Request<v1::AddLearnerRequest>) -> Answer<v1::AddLearnerResponse> {
        let member = request.into_inner().member.ok_or_else(|| status::invalid("ERR which node is to be added?"))?;
        self.node.add_learner(member_of(member)?).await.map_err(admin_status)?;
        Ok(Response::new(v1::AddLearnerResponse {}))
    }

    async fn promote(&self, request: Request<v1::PromoteRequest>) -> Answer<v1::PromoteResponse> {
        self.node.promote(request.into_inner().id).await.map_err(admin_status)?;
        Ok(Response::new(v1::PromoteResponse {}))
    }

    async fn remove(&self, request: Request<v1::RemoveRequest>) -> Answer<v1::RemoveResponse> {
        self.node.remove(request.into_inner().id).await.map_err(admin_status)?;
        Ok(Response::new(v1::RemoveResponse {}))
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Answer<v1::TransferLeadershipResponse> {
        self.node.transfer_leadership(request.into_inner().to).await.map_err(admin_status)?;
        Ok(Response::new(v1::TransferLeadershipResponse {}))
    }

    async fn mark_state(&self, _: Request<v1::MarkStateRequest>) -> Answer<v1::MarkStateResponse> {
        let index = self.node.mark_state().await.map_err(admin_status)?;
        Ok(Response::new(v1::MarkStateResponse { index }))
    }

    async fn state_hash(&self, request: Request<v1::StateHashRequest>) -> Answer<v1::StateHashResponse> {
        let hash = self.node.state_hash(request.into_inner().index).await.map_err(admin_status)?;
        Ok(Response::new(v1::StateHashResponse {
            index: hash.index,
            clock_ms: hash.clock_ms,
            rows: hash.rows,
            digest: hash.digest,
        }))
    }
}

fn member_message(member: &Member) -> v1::ClusterMember {
    let role = match member.role {
        MemberRole::Voter => v1::ClusterMemberRole::Voter,
        MemberRole::Learner => v1::ClusterMemberRole::Learner,
    };
    v1::ClusterMember {
        id: member.id,
        host: member.host.clone(),
        resp_port: member.resp_port.into(),
        grpc_port: member.grpc_port.into(),
        raft_port: member.raft_port.into(),
        role: role.into(),
        matched_index: member.matched_index,
        silent_ms: member.silent_ms,
    }
}

/// A node to add: it begins as a learner, whatever the message says.
fn member_of(message: v1::ClusterMember) -> Result<Member, Status> {
    let port = |name: &str, number: u32| {
        let port = u16::try_from(number).ok().filter(|port| *port != 0);
        port.ok_or_else(|| status::invalid(format!("ERR {name} {number} is no port")))
    };
    if message.host.is_empty() {
        return Err(status::invalid("ERR a node needs a host that others reach it by"));
    }
    Ok(Member {
        id: message.id,
        resp_port: port("resp_port", message.resp_port)?,
        grpc_port: port("grpc_port", message.grpc_port)?,
        raft_port: port("raft_port", message.raft_port)?,
        host: message.host,
        role: MemberRole::Learner,
        matched_index: None,
        silent_ms: None,
    })
}

fn admin_status(error: AdminError) -> Status {
    match error {
        AdminError::NotLeader { leader } => status::not_leader(leader.as_ref()),
        AdminError::Refused(text) => status::status(Code::FailedPrecondition, Fate::Refused, text),
        // It may still happen: the caller has to look at the status, not to repeat it blindly.
        AdminError::TimedOut(text) => {
            status::status(Code::DeadlineExceeded, Fate::InDoubt, format!("timed out: {text}"))
        }
    }
}

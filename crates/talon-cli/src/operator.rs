//! What an operator asks of nodes, over gRPC: the `Cluster` service with deadlines, a password and the way to the
//! leader.

use std::future::Future;
use std::time::Duration;

use talon_proto::v1::cluster_client::ClusterClient;
use talon_proto::v1::{
    AddLearnerRequest, ClusterMember, ClusterStatusRequest, ClusterStatusResponse, MarkStateRequest, PromoteRequest,
    RemoveRequest, StateHashRequest, StateHashResponse, TransferLeadershipRequest,
};
use tonic::metadata::{Binary, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::settings::Secret;

/// For how long a connection is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For how long a question that needs no other node may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// For how long a state hash may take: a node computes it over all its data.
const HASH_TIMEOUT: Duration = Duration::from_secs(300);
/// How often a request follows the word of who leads.
const LEADER_HOPS_MAX: usize = 4;

/// Why an operator's wish was not fulfilled, in words for people.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// No connection.
    #[error("{at} cannot be reached: {why}")]
    Unreachable {
        /// Where it was tried.
        at: String,
        /// What the network said.
        why: String,
    },
    /// The node answered with an error.
    #[error("{at}: {why}")]
    Refused {
        /// Who answered.
        at: String,
        /// Its words.
        why: String,
    },
}

/// Somebody who may ask nodes.
#[derive(Clone)]
pub struct Operator {
    password: Option<MetadataValue<Binary>>,
}

/// The text by which an address (`host:port`) is dialled, with the brackets that IPv6 wants.
pub fn address(host: &str, port: impl Into<u32>) -> String {
    let port = port.into();
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl Operator {
    /// With the cluster's password, if it has one.
    pub fn new(password: Option<&Secret>) -> Operator {
        Operator { password: password.map(|password| MetadataValue::from_bytes(password.expose().as_bytes())) }
    }

    /// What the node at `at` knows of itself and the cluster.
    ///
    /// # Errors
    /// If it cannot be reached or refuses.
    pub async fn status(&self, at: &str) -> Result<ClusterStatusResponse, OperatorError> {
        let request = self.request(ClusterStatusRequest {}, ASK_TIMEOUT);
        answer(at, connect(at).await?.status(request).await)
    }

    /// Adds a learner; returns when it has caught up.
    ///
    /// # Errors
    /// If no leader is reached, it refuses, or `timeout` is over.
    pub async fn add(&self, at: &str, member: &ClusterMember, timeout: Duration) -> Result<(), OperatorError> {
        self.at_leader(at, |leader, mut client| {
            let request = self.request(AddLearnerRequest { member: Some(member.clone()) }, timeout);
            async move { answered(&leader, client.add_learner(request).await.map(drop)) }
        })
        .await
    }

    /// Lets a learner vote.
    ///
    /// # Errors
    /// As [`Operator::add`].
    pub async fn promote(&self, at: &str, id: u64, timeout: Duration) -> Result<(), OperatorError> {
        self.at_leader(at, |leader, mut client| {
            let request = self.request(PromoteRequest { id }, timeout);
            async move { answered(&leader, client.promote(request).await.map(drop)) }
        })
        .await
    }

    /// Takes a node out of the cluster.
    ///
    /// # Errors
    /// As [`Operator::add`].
    pub async fn remove(&self, at: &str, id: u64, timeout: Duration) -> Result<(), OperatorError> {
        self.at_leader(at, |leader, mut client| {
            let request = self.request(RemoveRequest { id }, timeout);
            async move { answered(&leader, client.remove(request).await.map(drop)) }
        })
        .await
    }

    /// Hands leadership over; returns when another node leads.
    ///
    /// # Errors
    /// As [`Operator::add`].
    pub async fn transfer(&self, at: &str, to: Option<u64>, timeout: Duration) -> Result<(), OperatorError> {
        self.at_leader(at, |leader, mut client| {
            let request = self.request(TransferLeadershipRequest { to }, timeout);
            async move { answered(&leader, client.transfer_leadership(request).await.map(drop)) }
        })
        .await
    }

    /// Puts a mark into the log and returns its index.
    ///
    /// # Errors
    /// As [`Operator::add`].
    pub async fn mark_state(&self, at: &str) -> Result<u64, OperatorError> {
        self.at_leader(at, |leader, mut client| {
            let request = self.request(MarkStateRequest {}, ASK_TIMEOUT * 2);
            async move { answered(&leader, client.mark_state(request).await.map(|response| response.into_inner().index)) }
        })
        .await
    }

    /// The state hash of the node at `at` at a mark.
    ///
    /// # Errors
    /// If it cannot be reached, or does not have the hash in time.
    pub async fn state_hash(&self, at: &str, index: u64) -> Result<StateHashResponse, OperatorError> {
        let request = self.request(StateHashRequest { index }, HASH_TIMEOUT);
        answer(at, connect(at).await?.state_hash(request).await)
    }

    fn request<T>(&self, message: T, timeout: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(timeout);
        if let Some(password) = &self.password {
            request.metadata_mut().insert_bin("password-bin", password.clone());
        }
        request
    }

    /// Asks the node at `at`, and whomever it names as the leader.
    async fn at_leader<T, F>(
        &self,
        at: &str,
        ask: impl Fn(String, ClusterClient<Channel>) -> F,
    ) -> Result<T, OperatorError>
    where
        F: Future<Output = Result<T, Elsewhere>>,
    {
        let mut at = at.to_owned();
        for _ in 0..LEADER_HOPS_MAX {
            match ask(at.clone(), connect(&at).await?).await {
                Ok(answer) => return Ok(answer),
                Err(Elsewhere::Leader(leader)) if leader != at => at = leader,
                Err(Elsewhere::Leader(_)) => break,
                Err(Elsewhere::Nowhere(error)) => return Err(error),
            }
        }
        Err(OperatorError::Refused { at, why: "the leader changes; try again".into() })
    }
}

/// Where a request has to go instead, or that it ends here.
enum Elsewhere {
    Leader(String),
    Nowhere(OperatorError),
}

async fn connect(at: &str) -> Result<ClusterClient<Channel>, OperatorError> {
    let unreachable = |why: String| OperatorError::Unreachable { at: at.to_owned(), why };
    let endpoint = Endpoint::from_shared(format!("http://{at}"))
        .map_err(|_| unreachable("it is no `host:grpc_port`".into()))?
        .connect_timeout(CONNECT_TIMEOUT);
    // The outermost text is only "transport error"; the cause says what happened.
    let channel = endpoint.connect().await.map_err(|error| unreachable(innermost(&error)))?;
    Ok(ClusterClient::new(channel))
}

fn innermost(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error).to_string()
}

fn answer<T>(at: &str, response: Result<Response<T>, Status>) -> Result<T, OperatorError> {
    response.map(Response::into_inner).map_err(|status| refused(at, &status))
}

fn answered<T>(at: &str, response: Result<T, Status>) -> Result<T, Elsewhere> {
    response.map_err(|status| {
        let leader = status.metadata().get("talon-leader").and_then(|leader| leader.to_str().ok());
        match leader {
            Some(leader) if status.code() == Code::FailedPrecondition => Elsewhere::Leader(leader.to_owned()),
            _ => Elsewhere::Nowhere(refused(at, &status)),
        }
    })
}

fn refused(at: &str, status: &Status) -> OperatorError {
    let why = match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    };
    OperatorError::Refused { at: at.to_owned(), why }
}

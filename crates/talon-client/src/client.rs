//! Sending a call to the right node, and again where that is safe.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use talon_proto::v1;
use talon_proto::v1::kv_client::KvClient;
use tokio::time::Instant;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::error::{Error, Verdict, judge};
use crate::nodes::Nodes;
use crate::options::{Consistency, Options, ReadPreference};

/// The largest answer that is taken. More than any node sends.
const ANSWER_BYTES_MAX: usize = 512 << 20;
/// How much longer than the node's own deadline the client waits for it to say what became of the call.
const GRACE: Duration = Duration::from_millis(250);

/// A connection to a cluster, or to a single node. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) nodes: Nodes,
    pub(crate) options: Options,
}

/// Whether a call may change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to one of the nodes at `endpoints` (`http://host:port`, or `host:port`). It need not be the leader, and
    /// the others need not be there.
    ///
    /// # Errors
    /// If an endpoint is no address, or none can be connected to before the deadline.
    pub async fn connect(
        endpoints: impl IntoIterator<Item = impl AsRef<str>>,
        options: Options,
    ) -> Result<Client, Error> {
        let nodes = Nodes::new(endpoints, options.connect_time)?;
        let client = Client { inner: Arc::new(Inner { nodes, options }) };
        let deadline = Instant::now() + client.inner.options.deadline;
        let mut asked = 0;
        loop {
            let failure = match client.inner.nodes.channel(&client.inner.nodes.next()).await {
                Ok(_) => return Ok(client),
                Err(failure) => failure,
            };
            asked += 1;
            client.inner.wait_before(asked, deadline, failure).await?;
        }
    }

    /// A client of the same nodes, over the connections that there are, with other wishes about which node answers reads.
    pub fn with_read_preference(&self, read_preference: ReadPreference) -> Client {
        self.with_options(Options { read_preference, ..self.inner.options.clone() })
    }

    /// A client of the same nodes, over the connections that there are, with other wishes about how fresh reads are.
    pub fn with_consistency(&self, consistency: Consistency) -> Client {
        self.with_options(Options { consistency: Some(consistency), ..self.inner.options.clone() })
    }

    fn with_options(&self, options: Options) -> Client {
        Client { inner: Arc::new(Inner { nodes: self.inner.nodes.same(), options }) }
    }
}

impl Inner {
    /// How a read is to be answered by the node that the preference chooses, and the bound on its staleness, ms.
    pub(crate) fn consistency(&self) -> (i32, u64) {
        let consistency = self.options.consistency.unwrap_or(match self.options.read_preference {
            ReadPreference::Leader => Consistency::Lease,
            ReadPreference::Follower | ReadPreference::Any => Consistency::Snapshot,
        });
        match consistency {
            Consistency::Linearizable => (v1::Consistency::Linearizable.into(), 0),
            Consistency::Lease => (v1::Consistency::Lease.into(), 0),
            Consistency::Bounded { ms } => (v1::Consistency::Bounded.into(), ms),
            Consistency::Snapshot => (v1::Consistency::Snapshot.into(), 0),
        }
    }

    /// The node to ask after `asked` others could not help.
    fn choose(&self, kind: Kind, asked: usize) -> String {
        match (kind, self.options.read_preference) {
            (Kind::Write, _) | (Kind::Read, ReadPreference::Leader) => self.nodes.leader_or_next(),
            // The leader's answer is better than none.
            (Kind::Read, ReadPreference::Follower) if asked + 1 < self.nodes.count() => self.nodes.next_follower(),
            (Kind::Read, ReadPreference::Follower | ReadPreference::Any) => self.nodes.next(),
        }
    }

    /// A request with the password and the time the node has for it.
    pub(crate) fn request<M>(&self, message: M, time: Duration) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(time);
        if let Some(password) = &self.options.password {
            add_password(request.metadata_mut(), password);
        }
        request
    }

    /// The services of the node behind a connection.
    pub(crate) fn kv(channel: Channel) -> KvClient<Channel> {
        KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Pauses after a whole round of nodes could not help; the end if the deadline would pass meanwhile.
    async fn wait_before(&self, asked: usize, deadline: Instant, failure: String) -> Result<(), Error> {
        let round = asked.is_multiple_of(self.nodes.count());
        let pause = if round { self.options.pause } else { Duration::ZERO };
        if Instant::now() + pause >= deadline {
            return Err(Error::Unavailable(failure));
        }
        if round {
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Sends a call to the right node, and again as long as that is safe and the deadline has not passed.
    /// Returns the answer and the node that gave it.
    pub(crate) async fn call<M, R, F>(
        &self,
        kind: Kind,
        message: M,
        send: impl Fn(KvClient<Channel>, Request<M>) -> F + Send,
    ) -> Result<(R, String), Error>
    where
        M: Clone + Send,
        F: Future<Output = Result<Response<R>, Status>> + Send,
    {
        let deadline = Instant::now() + self.options.deadline;
        let mut node = self.choose(kind, 0);
        let mut asked = 0;
        loop {
            // Redirects count too: nodes that disagree about the leader send a client round and round.
            asked += 1;
            let failure = match self.attempt(kind, &node, deadline, message.clone(), &send).await {
                Ok(answer) => {
                    if kind == Kind::Write || self.options.read_preference == ReadPreference::Leader {
                        self.nodes.set_leader(&node);
                    }
                    return Ok((answer, node));
                }
                Err(Verdict::Tell(error)) => return Err(error),
                Err(Verdict::Unknown(message)) if kind == Kind::Write => return Err(Error::InDoubt(message)),
                Err(Verdict::Unknown(message) | Verdict::TryElsewhere(message)) => {
                    self.nodes.forget_leader(&node);
                    node = self.choose(kind, asked);
                    message
                }
                Err(Verdict::Redirect(leader)) => {
                    self.nodes.forget_leader(&node);
                    node = self.nodes.follow(&leader).unwrap_or_else(|| self.choose(kind, asked));
                    format!("the leader is said to be {leader}")
                }
            };
            self.wait_before(asked, deadline, failure).await?;
        }
    }

    async fn attempt<M, R, F>(
        &self,
        kind: Kind,
        node: &str,
        deadline: Instant,
        message: M,
        send: &(impl Fn(KvClient<Channel>, Request<M>) -> F + Send),
    ) -> Result<R, Verdict>
    where
        F: Future<Output = Result<Response<R>, Status>> + Send,
    {
        // Nothing has been sent before there is a connection.
        let channel = self.nodes.channel(node).await.map_err(Verdict::TryElsewhere)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let time = match kind {
            // A write has to wait for its answer: asking elsewhere is not safe.
            Kind::Write => left,
            Kind::Read => left.min(self.options.read_attempt_time),
        };
        if time.is_zero() {
            return Err(Verdict::TryElsewhere(format!("no time was left to ask {node}")));
        }
        let sent = send(Inner::kv(channel), self.request(message, time));
        match tokio::time::timeout(time + GRACE, sent).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => {
                let verdict = judge(&status);
                if status.metadata().get("talon-outcome").is_none() {
                    // Not the node's own words, so something is wrong with the connection.
                    self.nodes.drop_channel(node);
                }
                Err(verdict)
            }
            Err(_) => {
                self.nodes.drop_channel(node);
                Err(Verdict::Unknown(format!("{node} did not answer in time")))
            }
        }
    }
}

fn add_password(metadata: &mut MetadataMap, password: &str) {
    match MetadataValue::try_from(format!("Bearer {password}")) {
        Ok(mut value) if password.is_ascii() => {
            value.set_sensitive(true);
            metadata.insert("authorization", value);
        }
        _ => {
            let mut value = MetadataValue::from_bytes(password.as_bytes());
            value.set_sensitive(true);
            metadata.insert_bin("password-bin", value);
        }
    }
}

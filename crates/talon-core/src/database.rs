//! The one trait at which the front doors and whatever keeps the data meet. The embedded database and the raft node
//! both implement it.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;

use crate::consistency::Consistency;
use crate::error::Refusal;
use crate::listeners::Listener;
use crate::reply::Reply;
use crate::request::Request;
use crate::watch::Watch;

/// A unit of work that is never split.
#[derive(Clone, Debug)]
pub enum Call {
    /// One command.
    One(Request),
    /// Commands that are carried out together, atomically and isolated (MULTI … EXEC, a batch). Answered with one
    /// [`Reply::Array`] of their replies.
    Transaction(Vec<Request>),
}

impl Call {
    /// Whether it has to travel through the log.
    pub fn is_write(&self) -> bool {
        match self {
            Call::One(request) => request.command.is_write(),
            Call::Transaction(requests) => requests.iter().any(|request| request.command.is_write()),
        }
    }

    /// Whether it is no larger than one request may be.
    ///
    /// # Errors
    /// [`Denied::TooLarge`].
    pub fn check_size(&self, bytes_max: usize) -> Result<(), Denied> {
        let size_bytes = self.size_bytes();
        if size_bytes > bytes_max { Err(Denied::TooLarge { size_bytes, bytes_max }) } else { Ok(()) }
    }

    /// About how many bytes it takes in the log.
    pub fn size_bytes(&self) -> usize {
        match self {
            Call::One(request) => 1 + request.size_bytes(),
            Call::Transaction(requests) => 5 + requests.iter().map(Request::size_bytes).sum::<usize>(),
        }
    }
}

/// Why a call was not carried out by this node; none of these is part of the replicated state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Not carried out: another node leads.
    NotLeader {
        /// Who leads.
        leader: Member,
    },
    /// Not carried out: nobody was found to lead within the time it could be held.
    NoLeader,
    /// Appended to the log when leadership was lost: it may or may not be carried out. Never to be resent blindly.
    InDoubt,
    /// Not carried out: this replica is too far behind, or may be.
    Stale {
        /// From how long ago on it may lack something, ms.
        behind_ms: u64,
        /// The bound, ms.
        bound_ms: u64,
    },
    /// Not carried out: the node does not serve yet.
    Loading,
    /// Not carried out: larger than one request may be.
    TooLarge {
        /// Its size in bytes.
        size_bytes: usize,
        /// The bound in bytes (`request_bytes_max`).
        bytes_max: usize,
    },
    /// Not carried out: too much is waiting already.
    Busy,
    /// Not carried out: there is too little room on the disk. Reads go on, and writes do when there is room again.
    DiskFull {
        /// How much is free, bytes.
        free_bytes: u64,
        /// How much has to be (`disk_reserve_bytes`).
        reserve_bytes: u64,
    },
    /// Not watched: so much is watched for the clients of this node already that the node that would watch takes no more.
    TooMuchWatched,
    /// The node is going down.
    ShuttingDown,
    /// The node met a storage fault and stops.
    Fault(String),
}

/// A reply, or why there is none.
pub type Outcome = Result<Reply, Denied>;

/// What the front doors ask of the data.
pub trait Database: Send + Sync + 'static {
    /// Carries out `calls` in order, as one pipeline: a read sees the writes before it. Returns exactly one outcome a call,
    /// in the same order. Calls of different pipelines may interleave, the inside of one call never.
    fn execute(&self, calls: Vec<Call>, consistency: Consistency) -> impl Future<Output = Vec<Outcome>> + Send;

    /// Begins to watch keys, for [`Database::execute_if`]: from a moment on that lies within the call, as the leader. Reads that
    /// are asked for behind it see that moment's state, or a later one.
    fn watch(&self, keys: Vec<Bytes>) -> impl Future<Output = Result<Watch, Denied>> + Send;

    /// Carries out a transaction if nothing has happened to the keys of these watches, and nothing does up to the moment of the
    /// transaction itself; else nothing is carried out, and the answer is [`Reply::NullArray`]. A key counts as touched when a value is stored
    /// under it (be it the same), when it is removed, and when it ends.
    fn execute_if(&self, requests: Vec<Request>, watches: Vec<Watch>) -> impl Future<Output = Outcome> + Send;

    /// A point in time to read from, at the database's newest consistent view (with the checks of `consistency`).
    fn point_in_time(
        &self,
        consistency: Consistency,
    ) -> impl Future<Output = Result<Arc<dyn PointInTime>, Denied>> + Send;

    /// Carries out reads on a point in time, one outcome a call, where that may take long.
    fn read_at(&self, view: Arc<dyn PointInTime>, calls: Vec<Call>) -> impl Future<Output = Vec<Outcome>> + Send;

    /// Tells `listener` of every message that is published, as this node applies it, for as long as the listener lives. What was published
    /// while the node was down, or in entries that it was given as a checkpoint, nobody hears.
    fn listen(&self, listener: Weak<dyn Listener>);

    /// What this node knows of itself and the cluster. Cheap: a shared copy, whose log positions may be a moment old.
    fn status(&self) -> Arc<Status>;

    /// The same with all log positions as they are now, at least up to what this database has answered; dearer.
    fn status_now(&self) -> Arc<Status> {
        self.status()
    }

    /// What [`Database::status`] says, once another node that leads was asked whether it is there: one that is gone is not named any
    /// more. Waits no longer than `time_max`.
    fn confirmed_status(&self, time_max: Duration) -> impl Future<Output = Arc<Status>> + Send {
        let _ = time_max;
        std::future::ready(self.status())
    }

    /// The last log index applied here, at least up to what this database has answered. Cheap.
    fn applied_index(&self) -> u64 {
        self.status_now().applied_index
    }

    /// Waits until this node's state has come to this log index, but no longer than `time_max`; gives the last index applied
    /// here by then. A database without other nodes has nobody to wait for, and answers at once.
    fn reached(&self, index: u64, time_max: Duration) -> impl Future<Output = u64> + Send {
        let _ = (index, time_max);
        std::future::ready(self.applied_index())
    }

    /// Returns when [`Status::version`] is no longer `seen`.
    fn status_changed(&self, seen: u64) -> impl Future<Output = ()> + Send;
}

/// A fixed state of the whole database, as of one log position.
pub trait PointInTime: Send + Sync + 'static {
    /// Carries out one read ([`crate::Kind::Read`] or [`crate::Kind::InternalRead`]) on it. Blocking: it may touch the disk.
    fn read(&self, request: &Request) -> Outcome;
    /// The log index it stands at.
    fn index(&self) -> u64;
    /// The replicated clock `T` it is judged by, Unix ms.
    fn clock_ms(&self) -> u64;

    /// Carries out calls that read, one by one; what would write is refused.
    fn read_all(&self, calls: &[Call]) -> Vec<Outcome> {
        let read = |request: &Request| {
            if request.command.is_write() {
                return Ok(Reply::Error(Refusal::new("ERR a write cannot be carried out on a point in time")));
            }
            self.read(request)
        };
        let read_call = |call: &Call| match call {
            Call::One(request) => read(request),
            Call::Transaction(requests) => requests.iter().map(read).collect::<Result<_, _>>().map(Reply::Array),
        };
        calls.iter().map(read_call).collect()
    }
}

/// A node's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The only node (the embedded database), or the elected leader.
    Leader,
    /// Follows a leader, or looks for one.
    Follower,
    /// Receives the log and does not vote.
    Learner,
}

/// A member's part in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberRole {
    /// Votes.
    Voter,
    /// Receives the log and does not vote.
    Learner,
}

/// A node as the cluster's membership has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number in the cluster.
    pub id: u64,
    /// The advertised host name or address.
    pub host: String,
    /// Where it speaks RESP.
    pub resp_port: u16,
    /// Where it speaks gRPC.
    pub grpc_port: u16,
    /// Where it speaks raft.
    pub raft_port: u16,
    /// Its part.
    pub role: MemberRole,
    /// The last log index the leader knows it holds, as far as the leader has told this node.
    pub matched_index: Option<u64>,
    /// Milliseconds since the leader sent what it last acknowledged (of the leader itself: since it was heard); `None` = nobody has told
    /// this node.
    pub silent_ms: Option<u64>,
}

/// After so many milliseconds without a word, a member counts as down: some elections' time, so that one that is merely slow does not.
pub const DOWN_AFTER_MS: u64 = 5_000;

impl Member {
    /// Whether it has been silent for so long that clients should not be sent to it.
    pub fn is_down(&self) -> bool {
        self.silent_ms.is_some_and(|silent_ms| silent_ms >= DOWN_AFTER_MS)
    }
}

/// What a node knows of itself and the cluster.
#[derive(Clone, Debug)]
pub struct Status {
    /// Raised at every change of leader, role, term or membership.
    pub version: u64,
    /// This node's number.
    pub node_id: u64,
    /// 32 lower-case hex digits naming the cluster (the embedded database: its folder's).
    pub cluster_id: String,
    /// This node's part.
    pub role: Role,
    /// Whether a cluster stands behind it (false for the embedded database).
    pub clustered: bool,
    /// The leader's number, if one is known.
    pub leader_id: Option<u64>,
    /// Who was the last leader that this node has known since its start; while one is known, it is that one.
    pub last_leader_id: Option<u64>,
    /// Milliseconds since this node led, 0 while it does; `None` = it has not since its start.
    pub led_ms_ago: Option<u64>,
    /// The raft term.
    pub term: u64,
    /// Everyone, this node included, by number.
    pub members: Vec<Member>,
    /// The last log index applied here.
    pub applied_index: u64,
    /// The last log index known to be committed.
    pub committed_index: u64,
    /// The last log index in this node's log.
    pub last_log_index: u64,
    /// The first log index still in this node's log.
    pub first_log_index: u64,
    /// The replicated clock, Unix ms.
    pub clock_ms: u64,
    /// Whether it answers reads and writes.
    pub serving: bool,
    /// Milliseconds since it last heard from a leader; 0 on the leader.
    pub heard_from_leader_ms: u64,
    /// How many keys that had ended this node has removed since it was started.
    pub expired_keys: u64,
}

impl Status {
    /// The leader, if one is known and a member.
    pub fn leader(&self) -> Option<&Member> {
        self.member(self.leader_id?)
    }

    /// The leader, or while none is known, who was the last one.
    pub fn last_leader(&self) -> Option<&Member> {
        self.leader().or_else(|| self.member(self.last_leader_id?))
    }

    fn member(&self, id: u64) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }
}

/// What operators ask of a cluster member. Only the leader carries out changes.
pub trait Administer: Send + Sync + 'static {
    /// Adds a node that receives the log and does not vote; returns when it has caught up or the time is over.
    fn add_learner(&self, member: Member) -> impl Future<Output = Result<(), AdminError>> + Send;
    /// Lets a learner vote.
    fn promote(&self, id: u64) -> impl Future<Output = Result<(), AdminError>> + Send;
    /// Takes a node out of the cluster.
    fn remove(&self, id: u64) -> impl Future<Output = Result<(), AdminError>> + Send;
    /// Hands leadership to `to`, or to the voter that holds most of the log; returns when another node leads.
    fn transfer_leadership(&self, to: Option<u64>) -> impl Future<Output = Result<(), AdminError>> + Send;
    /// On the leader: puts a mark into the log, at which every node computes its state hash; returns the mark's log index.
    fn mark_state(&self) -> impl Future<Output = Result<u64, AdminError>> + Send;
    /// The state hash of this node at the mark with this log index; waits a few seconds for it to be applied and computed.
    fn state_hash(&self, index: u64) -> impl Future<Output = Result<StateHash, AdminError>> + Send;
}

/// Why an operator's wish was not fulfilled.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AdminError {
    /// Ask the leader.
    #[error("this node does not lead; the leader is {leader:?}")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<Member>,
    },
    /// It makes no sense as things are (an unknown node, the last voter, …).
    #[error("{0}")]
    Refused(String),
    /// It did not happen within its time; it may still happen.
    #[error("timed out: {0}")]
    TimedOut(String),
}

/// A digest of everything that is replicated, at one log position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateHash {
    /// The log index.
    pub index: u64,
    /// The replicated clock there, Unix ms.
    pub clock_ms: u64,
    /// How many data rows there are, expired ones included.
    pub rows: u64,
    /// The digest over data, expiry index, position, clock and membership, in hex.
    pub digest: String,
}

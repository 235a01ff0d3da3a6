//! How a client behaves.

use std::fmt;
use std::time::Duration;

/// Which node answers reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadPreference {
    /// The leader, linearizably: a read sees every write that was acknowledged before it began.
    #[default]
    Leader,
    /// A node that does not lead, from its newest consistent view (unless [`Options::consistency`] says otherwise), which may be
    /// behind; any other if there is none.
    Follower,
    /// Any node, in turn, from its newest consistent view (unless [`Options::consistency`] says otherwise), which may be behind.
    Any,
}

/// How fresh a read's answer has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// By any node: everything that was acknowledged before the read is in the answer. Costs a round to a quorum, which all
    /// reads that wait share.
    Linearizable,
    /// Linearizable by the leader alone, under its lease; other nodes send the client on to it.
    Lease,
    /// By any node: everything that was acknowledged so long before the read is in the answer. A node that cannot say so is
    /// passed over.
    Bounded {
        /// So long, ms; at most a day.
        ms: u64,
    },
    /// From the node's newest consistent view, which may be behind.
    Snapshot,
}

/// How a client behaves. Every field has a default.
#[derive(Clone)]
pub struct Options {
    /// The password, where one is asked for.
    pub password: Option<String>,
    /// Which node answers reads.
    pub read_preference: ReadPreference,
    /// How fresh their answers have to be; `None`: from the leader [`Consistency::Lease`], from others [`Consistency::Snapshot`].
    pub consistency: Option<Consistency>,
    /// How long a call may take, with everything that is done for it.
    pub deadline: Duration,
    /// How long one node may take to accept a connection.
    pub connect_time: Duration,
    /// How long one node may take to answer a read before another one is asked.
    pub read_attempt_time: Duration,
    /// How long to wait before asking again when no node could help.
    pub pause: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            password: None,
            read_preference: ReadPreference::Leader,
            consistency: None,
            deadline: Duration::from_secs(10),
            connect_time: Duration::from_secs(1),
            read_attempt_time: Duration::from_secs(3),
            pause: Duration::from_millis(50),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("read_preference", &self.read_preference)
            .field("consistency", &self.consistency)
            .field("deadline", &self.deadline)
            .field("connect_time", &self.connect_time)
            .field("read_attempt_time", &self.read_attempt_time)
            .field("pause", &self.pause)
            .finish()
    }
}

//! How a client behaves.

use std::fmt;
use std::time::Duration;

/// Which node answers reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadPreference {
    /// The leader, linearizably: a read sees every write that was acknowledged before it began.
    #[default]
    Leader,
    /// A node that does not lead, from its newest consistent view, which may be behind; any other if there is none.
    Follower,
    /// Any node, in turn, from its newest consistent view, which may be behind.
    Any,
}

/// How a client behaves. Every field has a default.
#[derive(Clone)]
pub struct Options {
    /// The password, where one is asked for.
    pub password: Option<String>,
    /// Which node answers reads.
    pub read_preference: ReadPreference,
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
            .field("deadline", &self.deadline)
            .field("connect_time", &self.connect_time)
            .field("read_attempt_time", &self.read_attempt_time)
            .field("pause", &self.pause)
            .finish()
    }
}

//! `CLIENT LASTINDEX` and `WAITINDEX`: to read one's own writes from another node.

use std::time::Duration;

use bytes::Bytes;
use talon_core::error::NOT_AN_INTEGER;
use talon_core::numbers::parse_integer;
use talon_core::{Database, Flag, Group, Refusal, Reply};
use tokio::time::{Instant, sleep_until};

use crate::resp::clients::Client;
use crate::resp::deferred::Deferred;
use crate::resp::table::{Action, ServerCommand, facts};
use crate::resp::wait::parse_timeout;

/// How often a wait looks whether its connection has to end.
const STEP: Duration = Duration::from_millis(50);

/// The rows of this family.
pub(super) static ROWS: &[ServerCommand] = &[ServerCommand {
    facts: facts(
        "waitindex",
        3,
        &[Flag::NoMulti, Flag::Noscript],
        Group::Generic,
        "0.1.0",
        "Waits until this node has applied this log index, at most so many milliseconds.",
    ),
    action: Action::Deferred(|_, args| WaitIndex::parse(args).map(Deferred::WaitIndex)),
}];

/// A subcommand of CLIENT.
pub(super) const LAST_INDEX: ServerCommand = ServerCommand {
    facts: facts(
        "client|lastindex",
        2,
        &[Flag::NoMulti, Flag::Noscript],
        Group::Connection,
        "0.1.0",
        "Answers a log index that holds this connection's last write; 0 if it wrote nothing.",
    ),
    action: Action::Deferred(|_, _| Ok(Deferred::LastIndex)),
};

/// `WAITINDEX index timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitIndex {
    index: u64,
    timeout: Duration,
}

impl WaitIndex {
    fn parse(args: &[Bytes]) -> Result<WaitIndex, Refusal> {
        let [index, timeout, ..] = args else { return Err(talon_core::error::SYNTAX) };
        let index = parse_integer(index).and_then(|index| u64::try_from(index).ok()).ok_or(NOT_AN_INTEGER)?;
        Ok(WaitIndex { index, timeout: parse_timeout(timeout)? })
    }

    pub async fn carry_out<D: Database>(self, database: &D, client: &Client) -> Reply {
        let WaitIndex { index, timeout } = self;
        let deadline = Instant::now() + timeout;
        loop {
            let step_ends = (Instant::now() + STEP).min(deadline);
            let applied = database.reached(index, step_ends.duration_since(Instant::now())).await;
            if applied >= index {
                return Reply::Ok;
            }
            if Instant::now() >= deadline || client.may_stop_waiting() {
                let line = format!("STALE replica is at index {applied}, not yet at {index}");
                return Reply::Error(Refusal::from_string(line));
            }
            // Not every database waits by itself.
            sleep_until(step_ends).await;
        }
    }
}

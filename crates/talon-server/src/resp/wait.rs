//! `WAIT` and `WAITAOF`: until followers hold what was written. An acknowledged write is on the disks of a majority already; these tell of more.

use std::time::Duration;

use bytes::Bytes;
use talon_core::error::NOT_AN_INTEGER;
use talon_core::numbers::parse_integer;
use talon_core::{Database, Refusal, Reply, Status};
use tokio::time::{Instant, sleep_until};

use super::clients::Client;
use super::topology;

/// How often it looks whether the followers have come closer.
const STEP: Duration = Duration::from_millis(5);
/// A timeout of 0 is for ever in Redis; here, so long.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// WAITAOF: whether this node's own disk has to have it, too. WAIT asks for followers only, and answers with their number alone.
    local: Option<bool>,
    followers: usize,
    timeout: Duration,
}

impl Wait {
    /// `WAIT followers timeout`
    pub fn parse(args: &[Bytes]) -> Result<Wait, Refusal> {
        let [followers, timeout, ..] = args else { return Err(talon_core::error::SYNTAX) };
        let followers = parse_integer(followers).ok_or(NOT_AN_INTEGER)?;
        let timeout = parse_timeout(timeout)?;
        Ok(Wait { local: None, followers: usize::try_from(followers).unwrap_or(0), timeout })
    }

    /// `WAITAOF local followers timeout`; the words of errors are those of Redis 7.2.
    pub fn parse_aof(args: &[Bytes]) -> Result<Wait, Refusal> {
        let [local, followers, timeout, ..] = args else { return Err(talon_core::error::SYNTAX) };
        let local = match parse_integer(local) {
            Some(local @ (0 | 1)) => local == 1,
            Some(_) => return Err(Refusal::new("ERR value is out of range, must be between 0 and 1")),
            None => return Err(NOT_AN_INTEGER),
        };
        let followers = parse_integer(followers).ok_or(NOT_AN_INTEGER)?;
        let followers =
            usize::try_from(followers).map_err(|_| Refusal::new("ERR value is out of range, must be positive"))?;
        Ok(Wait { local: Some(local), followers, timeout: parse_timeout(timeout)? })
    }

    /// Who holds what was applied here, without waiting.
    pub fn count_now(self, status: &Status) -> Reply {
        self.reply(status, status.applied_index)
    }

    fn reply(self, status: &Status, target: u64) -> Reply {
        let followers = Reply::Integer(topology::followers_holding(status, target) as i64);
        match self.local {
            None => followers,
            Some(_) => Reply::Array(vec![Reply::flag(topology::leader_holds(status, target)), followers]),
        }
    }

    pub async fn carry_out<D: Database>(self, database: &D, client: &Client) -> Reply {
        let deadline = Instant::now() + self.timeout;
        // Whatever this connection wrote has been applied here.
        let target = database.status_now().applied_index;
        loop {
            let status = database.status_now();
            if !topology::leads(&status) {
                let name = if self.local.is_some() { "WAITAOF" } else { "WAIT" };
                let line = format!("ERR {name} cannot be used with replica instances.");
                return Reply::Error(Refusal::from_string(line));
            }
            let reached = topology::followers_holding(&status, target) >= self.followers
                && (self.local != Some(true) || topology::leader_holds(&status, target));
            if reached || Instant::now() >= deadline || client.may_stop_waiting() {
                return self.reply(&status, target);
            }
            sleep_until((Instant::now() + STEP).min(deadline)).await;
        }
    }
}

/// For how long a command waits; 0 = as long as any may.
pub(crate) fn parse_timeout(timeout: &Bytes) -> Result<Duration, Refusal> {
    let timeout = parse_integer(timeout).ok_or(Refusal::new("ERR timeout is not an integer or out of range"))?;
    let timeout_ms = u64::try_from(timeout).map_err(|_| Refusal::new("ERR timeout is negative"))?;
    Ok(match timeout_ms {
        0 => TIMEOUT_MAX,
        timeout_ms => Duration::from_millis(timeout_ms).min(TIMEOUT_MAX),
    })
}

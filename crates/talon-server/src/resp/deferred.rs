//! Commands that are carried out behind everything that came before them, alone, and answered when that is done: what waits for
//! something, and what must see the effects of the calls before it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use talon_core::error::NOT_AN_INTEGER;
use talon_core::numbers::parse_integer;
use talon_core::{Administer, Database, Outcome, Refusal, Reply, Request, Status, Watch};
use tokio::time::{Instant, sleep_until};

use super::clients::Client;
use super::pause::Held;
use super::pipeline::first_key;
use super::session::Context;
use super::topology;

/// How often WAIT looks whether the followers have come closer.
const WAIT_STEP: Duration = Duration::from_millis(5);

/// Reads the words of such a command.
pub(crate) type Parse = fn(&mut Context<'_>, &[Bytes]) -> Result<Deferred, Refusal>;

/// One such command.
#[derive(Debug)]
pub(crate) enum Deferred {
    /// `WAIT`
    Wait(Wait),
    /// `WATCH`
    Watch(Vec<Bytes>),
    /// `CLIENT PAUSE`
    Pause(Held, Duration),
    /// `EXEC` behind `WATCH`
    Exec { requests: Vec<Request>, watches: Vec<Watch> },
}

/// What came of carrying it out.
#[derive(Debug)]
pub(crate) enum Settled {
    Outcome(Outcome),
    /// Answered with OK, and the session has this from now on.
    Watching(Watch),
}

impl From<Outcome> for Settled {
    fn from(outcome: Outcome) -> Settled {
        Settled::Outcome(outcome)
    }
}

impl Deferred {
    /// The key that MOVED names the slot of.
    pub fn first_key(&self) -> Option<Bytes> {
        match self {
            Deferred::Wait(_) | Deferred::Pause(..) => None,
            Deferred::Watch(keys) => keys.first().cloned(),
            Deferred::Exec { requests, .. } => requests.iter().find_map(first_key),
        }
    }

    /// Whether it ends when its client hangs up: it has no effect, and nobody would hear the answer.
    pub fn is_mere_wait(&self) -> bool {
        matches!(self, Deferred::Wait(_))
    }

    /// Whether it may change the data.
    pub fn writes(&self) -> bool {
        match self {
            Deferred::Exec { requests, .. } => requests.iter().any(|request| request.command.is_write()),
            _ => false,
        }
    }

    /// Carries it out.
    pub async fn carry_out<D: Database + Administer>(self, database: Arc<D>, client: Arc<Client>) -> Settled {
        match self {
            Deferred::Wait(wait) => Ok(wait.carry_out(&*database, &client).await).into(),
            // The connection does it, for it knows the others.
            Deferred::Pause(..) => Ok(Reply::Ok).into(),
            Deferred::Watch(keys) => match database.watch(keys).await {
                Ok(watch) => Settled::Watching(watch),
                Err(denied) => Err(denied).into(),
            },
            Deferred::Exec { requests, watches } => database.execute_if(requests, watches).await.into(),
        }
    }
}

/// `WAIT followers timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub followers: usize,
    pub timeout: Duration,
}

impl Wait {
    /// `WAIT n 0` waits for ever in Redis; here, so long.
    const TIMEOUT_MAX: Duration = Duration::from_secs(600);

    pub fn parse(args: &[Bytes]) -> Result<Wait, Refusal> {
        let [followers, timeout, ..] = args else { return Err(talon_core::error::SYNTAX) };
        let followers = parse_integer(followers).ok_or(NOT_AN_INTEGER)?;
        let timeout = parse_integer(timeout).ok_or(Refusal::new("ERR timeout is not an integer or out of range"))?;
        let timeout_ms = u64::try_from(timeout).map_err(|_| Refusal::new("ERR timeout is negative"))?;
        let timeout = match timeout_ms {
            0 => Wait::TIMEOUT_MAX,
            timeout_ms => Duration::from_millis(timeout_ms).min(Wait::TIMEOUT_MAX),
        };
        Ok(Wait { followers: usize::try_from(followers).unwrap_or(0), timeout })
    }

    /// How many followers hold everything that was applied here.
    pub fn count_now(status: &Status) -> Reply {
        Reply::Integer(topology::followers_holding(status, status.applied_index) as i64)
    }

    async fn carry_out<D: Database>(self, database: &D, client: &Client) -> Reply {
        let deadline = Instant::now() + self.timeout;
        // Whatever this connection wrote has been applied here.
        let target = database.status_now().applied_index;
        loop {
            let status = database.status_now();
            if !topology::leads(&status) {
                return Reply::Error(Refusal::new("ERR WAIT cannot be used with replica instances."));
            }
            let holding = topology::followers_holding(&status, target);
            if holding >= self.followers || Instant::now() >= deadline || client.may_stop_waiting() {
                return Reply::Integer(holding as i64);
            }
            sleep_until((Instant::now() + WAIT_STEP).min(deadline)).await;
        }
    }
}

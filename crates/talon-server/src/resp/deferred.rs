//! Commands that are carried out behind everything that came before them, alone, and answered when that is done: what waits for
//! something, and what must see the effects of the calls before it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use talon_core::error::NOT_AN_INTEGER;
use talon_core::numbers::parse_integer;
use talon_core::request::Args;
use talon_core::{Administer, Database, Outcome, Refusal, Reply, Request, Status, Watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::clients::Client;
use super::pipeline::first_key;
use super::session::Context;
use super::table::Answer;
use super::topology;

/// How often WAIT looks whether the followers have come closer.
const WAIT_STEP: Duration = Duration::from_millis(5);
/// How long a question for the leader waits until there is one: longer than an election, and no longer than that.
const LEADER_WAIT_MAX: Duration = Duration::from_secs(3);
/// How often it looks whether the server ends meanwhile.
const LEADER_WAIT_STEP: Duration = Duration::from_millis(50);

/// Reads the words of such a command.
pub(crate) type Parse = fn(&mut Context<'_>, &[Bytes]) -> Result<Deferred, Refusal>;

/// One such command.
#[derive(Debug)]
pub(crate) enum Deferred {
    /// `WAIT`
    Wait(Wait),
    /// `WATCH`
    Watch(Vec<Bytes>),
    /// `EXEC` behind `WATCH`
    Exec { requests: Vec<Request>, watches: Vec<Watch> },
    /// A question for the leader while there is none: whoever asks in the middle of an election would only ask again.
    Led(Answer, Args),
}

/// What came of carrying it out.
#[derive(Debug)]
pub(crate) enum Settled {
    Outcome(Outcome),
    /// Answered with OK, and the session has this from now on.
    Watching(Watch),
    /// The session answers it now.
    Now(Answer, Args),
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
            Deferred::Wait(_) | Deferred::Led(..) => None,
            Deferred::Watch(keys) => keys.first().cloned(),
            Deferred::Exec { requests, .. } => requests.iter().find_map(first_key),
        }
    }

    /// Whether it ends when its client hangs up: it has no effect, and nobody would hear the answer.
    pub fn is_mere_wait(&self) -> bool {
        matches!(self, Deferred::Wait(_) | Deferred::Led(..))
    }

    /// Carries it out.
    pub async fn carry_out<D: Database + Administer>(self, database: Arc<D>, client: Arc<Client>) -> Settled {
        match self {
            Deferred::Wait(wait) => Ok(wait.carry_out(&*database, &client).await).into(),
            Deferred::Watch(keys) => match database.watch(keys).await {
                Ok(watch) => Settled::Watching(watch),
                Err(denied) => Err(denied).into(),
            },
            Deferred::Exec { requests, watches } => database.execute_if(requests, watches).await.into(),
            Deferred::Led(answer, args) => {
                wait_for_leader(&*database, &client).await;
                Settled::Now(answer, args)
            }
        }
    }
}

async fn wait_for_leader<D: Database>(database: &D, client: &Client) {
    let deadline = Instant::now() + LEADER_WAIT_MAX;
    let mut status = database.status();
    while status.leader().is_none() && Instant::now() < deadline && !client.notices.is_ending() {
        let step_end = (Instant::now() + LEADER_WAIT_STEP).min(deadline);
        // Whether it has changed is seen below.
        let _ = timeout_at(step_end, database.status_changed(status.version)).await;
        status = database.status();
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
            if holding >= self.followers || Instant::now() >= deadline || client.notices.is_ending() {
                return Reply::Integer(holding as i64);
            }
            sleep_until((Instant::now() + WAIT_STEP).min(deadline)).await;
        }
    }
}

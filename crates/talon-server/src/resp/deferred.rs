//! Commands that are carried out behind everything that came before them, alone, and answered when that is done: what waits for
//! something, and what must see the effects of the calls before it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use talon_core::request::Args;
use talon_core::{Administer, Consistency, Database, Outcome, Refusal, Reply, Request, Watch};
use tokio::time::{Instant, timeout_at};

use super::clients::Client;
use super::commands::config;
use super::commands::positions::WaitIndex;
use super::failover::Failover;
use super::pause::Held;
use super::pipeline::first_key;
use super::session::{Context, Shared};
use super::slot_keys::SlotKeys;
use super::snapshot::SnapshotCommand;
use super::table::Answer;
use super::wait::Wait;

/// How long the leader may take to say that it is there. One that is merely slow is named all the same.
const LEADER_ASKED_MAX: Duration = Duration::from_millis(150);
/// How long a question for the leader waits until there is one: longer than an election, and shorter than the three seconds after which
/// clients give up.
const LEADER_WAIT_MAX: Duration = Duration::from_millis(2_500);
/// How often it looks whether the server ends meanwhile.
const LEADER_WAIT_STEP: Duration = Duration::from_millis(50);

/// Reads the words of such a command.
pub(crate) type Parse = fn(&mut Context<'_>, &[Bytes]) -> Result<Deferred, Refusal>;

/// One such command.
#[derive(Debug)]
pub(crate) enum Deferred {
    /// `WAIT`, `WAITAOF`
    Wait(Wait),
    /// `FAILOVER`
    Failover(Failover),
    /// `SNAPSHOT …`
    Snapshot(SnapshotCommand),
    /// `CLUSTER COUNTKEYSINSLOT`, `CLUSTER GETKEYSINSLOT`
    SlotKeys(SlotKeys),
    /// `WAITINDEX`
    WaitIndex(WaitIndex),
    /// `CLIENT LASTINDEX`
    LastIndex,
    /// `WATCH`
    Watch(Vec<Bytes>),
    /// `CONFIG REWRITE`
    Rewrite,
    /// `CLIENT PAUSE`
    Pause(Held, Duration),
    /// `EXEC` behind `WATCH`
    Exec { requests: Vec<Request>, watches: Vec<Watch> },
    /// A question about who serves what: a client that has just lost its leader may ask before this node has noticed.
    Confirmed(Answer, Args),
    /// The same, held while nobody leads: whoever asks in the middle of an election would only ask again.
    Led(Answer, Args),
}

/// What came of carrying it out.
#[derive(Debug)]
pub(crate) enum Settled {
    Outcome(Outcome),
    /// Answered with OK, and the session has this from now on.
    Watching(Watch),
    /// Answered with OK, and plain reads of the session are answered from this snapshot from now on.
    Using(Option<u64>),
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
            Deferred::Wait(_)
            | Deferred::WaitIndex(_)
            | Deferred::LastIndex
            | Deferred::Confirmed(..)
            | Deferred::Led(..)
            | Deferred::Pause(..)
            | Deferred::Rewrite
            | Deferred::Failover(_)
            | Deferred::Snapshot(_)
            | Deferred::SlotKeys(_) => None,
            Deferred::Watch(keys) => keys.first().cloned(),
            Deferred::Exec { requests, .. } => requests.iter().find_map(first_key),
        }
    }

    /// Whether it ends when its client hangs up: it has no effect, and nobody would hear the answer.
    pub fn is_mere_wait(&self) -> bool {
        matches!(self, Deferred::Wait(_) | Deferred::WaitIndex(_))
    }

    /// Whether it waits for the leader's word, or for an election.
    pub fn is_about_the_leader(&self) -> bool {
        matches!(self, Deferred::Confirmed(..) | Deferred::Led(..))
    }

    /// Whether it keeps its place among the calls around it: refused behind one that was, and those behind it with it.
    pub fn is_ordered(&self) -> bool {
        matches!(self, Deferred::Watch(_) | Deferred::Exec { .. })
    }

    /// Whether it may write.
    pub fn is_write(&self) -> bool {
        match self {
            Deferred::Exec { requests, .. } => requests.iter().any(|request| request.command.is_write()),
            _ => false,
        }
    }

    /// Carries it out.
    pub async fn carry_out<D: Database + Administer>(
        self,
        database: Arc<D>,
        shared: Arc<Shared>,
        client: Arc<Client>,
        consistency: Consistency,
    ) -> Settled {
        match self {
            Deferred::Wait(wait) => Ok(wait.carry_out(&*database, &client).await).into(),
            Deferred::Pause(held, time) => {
                shared.pause.begin(held, time);
                Ok(Reply::Ok).into()
            }
            Deferred::Rewrite => Ok(config::rewrite(&shared).await).into(),
            Deferred::Failover(failover) => Ok(failover.carry_out(&*database, &shared).await).into(),
            Deferred::Snapshot(command) => command.carry_out(&*database, &shared.settings.snapshots, consistency).await,
            Deferred::SlotKeys(wanted) => wanted.carry_out(&*database, consistency).await.into(),
            Deferred::WaitIndex(wait) => Ok(wait.carry_out(&*database, &client).await).into(),
            Deferred::LastIndex => {
                Ok(Reply::Integer(i64::try_from(client.last_index.load(Ordering::Relaxed)).unwrap_or(i64::MAX))).into()
            }
            // They are all watched already.
            Deferred::Watch(keys) if keys.is_empty() => Ok(Reply::Ok).into(),
            Deferred::Watch(keys) => match database.watch(keys).await {
                Ok(watch) => Settled::Watching(watch),
                Err(denied) => Err(denied).into(),
            },
            Deferred::Exec { requests, watches } => database.execute_if(requests, watches).await.into(),
            Deferred::Confirmed(answer, args) => {
                database.confirmed_status(LEADER_ASKED_MAX).await;
                Settled::Now(answer, args)
            }
            Deferred::Led(answer, args) => {
                database.confirmed_status(LEADER_ASKED_MAX).await;
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

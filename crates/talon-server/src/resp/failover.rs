//! `FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT ms]`: leadership is handed over. Redis answers at once, and goes on in the background; Talon
//! answers when another node leads, or why none does. `FORCE` changes nothing: a node that does not hold the whole log cannot lead.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use talon_core::error::{NOT_AN_INTEGER, SYNTAX};
use talon_core::numbers::parse_integer;
use talon_core::{AdminError, Administer, MemberRole, Refusal, Reply, Status};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::session::{Context, Shared};
use super::topology;

const NO_SUCH_TARGET: Refusal = Refusal::new("ERR FAILOVER target HOST and PORT is not a replica.");

/// Whether one is under way on this node, and the way to end it.
#[derive(Debug, Default)]
pub(crate) struct Underway {
    is_on: AtomicBool,
    abort: Notify,
}

impl Underway {
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }
}

/// While it lives, one is under way.
struct On<'a>(&'a Underway);

impl Drop for On<'_> {
    fn drop(&mut self) {
        self.0.is_on.store(false, Ordering::Release);
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failover {
    Abort,
    /// To this voter, or to the one that holds most of the log; for so long at most.
    Begin {
        to: Option<u64>,
        timeout: Option<Duration>,
    },
}

impl Failover {
    pub fn parse(context: &Context<'_>, args: &[Bytes]) -> Result<Failover, Refusal> {
        let (mut target, mut timeout, mut force, mut abort) = (None, None, false, false);
        let mut rest = args;
        while let [option, after @ ..] = rest {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            rest = match after {
                [ms, after @ ..] if is("timeout") && timeout.is_none() => {
                    let ms = parse_integer(ms).ok_or(NOT_AN_INTEGER)?;
                    let ms = u64::try_from(ms).ok().filter(|ms| *ms > 0);
                    let ms = ms.ok_or(Refusal::new("ERR FAILOVER timeout must be greater than 0"))?;
                    timeout = Some(Duration::from_millis(ms));
                    after
                }
                [host, port, after @ ..] if is("to") && target.is_none() => {
                    target = Some((host, parse_integer(port).ok_or(NOT_AN_INTEGER)?));
                    after
                }
                after if is("abort") && !abort => {
                    abort = true;
                    after
                }
                after if is("force") && !force => {
                    force = true;
                    after
                }
                _ => return Err(SYNTAX),
            };
        }
        if abort && (target.is_some() || timeout.is_some() || force) {
            return Err(SYNTAX);
        }
        if abort {
            return Ok(Failover::Abort);
        }
        if force && (target.is_none() || timeout.is_none()) {
            return Err(Refusal::new("ERR FAILOVER with force option requires both a timeout and target HOST and IP."));
        }
        let status = &context.status;
        if !topology::leads(status) {
            return Err(Refusal::new("ERR FAILOVER is not valid when server is a replica."));
        }
        let to = target.map(|(host, port)| voter_at(status, host, port).ok_or(NO_SUCH_TARGET)).transpose()?;
        if voters(status).next().is_none() {
            return Err(Refusal::new("ERR FAILOVER requires connected replicas."));
        }
        Ok(Failover::Begin { to, timeout })
    }

    pub async fn carry_out<A: Administer>(self, node: &A, shared: &Shared) -> Reply {
        let underway = &shared.failover;
        let Failover::Begin { to, timeout } = self else {
            if !underway.is_on() {
                return Reply::Error(Refusal::new("ERR No failover in progress."));
            }
            underway.abort.notify_waiters();
            return Reply::Ok;
        };
        if underway.is_on.swap(true, Ordering::AcqRel) {
            return Reply::Error(Refusal::new("ERR FAILOVER already in progress."));
        }
        let _on = On(underway);
        let over = async {
            match timeout {
                Some(timeout) => sleep(timeout).await,
                None => pending().await,
            }
        };
        tokio::select! {
            handed = node.transfer_leadership(to) => match handed {
                Ok(()) => Reply::Ok,
                Err(AdminError::NotLeader { .. }) => {
                    Reply::Error(Refusal::new("ERR FAILOVER is not valid when server is a replica."))
                }
                Err(error) => Reply::Error(Refusal::from_string(format!("ERR FAILOVER: {error}"))),
            },
            () = over => Reply::Error(Refusal::new("ERR FAILOVER timed out; it may still happen")),
            () = underway.abort.notified() => Reply::Error(Refusal::new("ERR FAILOVER was aborted; it may still happen")),
        }
    }
}

/// The other voters.
fn voters(status: &Status) -> impl Iterator<Item = &talon_core::Member> {
    topology::followers(status).filter(|member| member.role == MemberRole::Voter)
}

fn voter_at(status: &Status, host: &[u8], port: i64) -> Option<u64> {
    let same = |member: &&talon_core::Member| {
        member.host.as_bytes().eq_ignore_ascii_case(host) && i64::from(member.resp_port) == port
    };
    voters(status).find(same).map(|member| member.id)
}

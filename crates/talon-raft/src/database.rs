//! The node as a database: which way each call takes.

use std::cell::LazyCell;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use talon_core::planted::{Bug, is_planted};
use talon_core::{Call, Consistency, Database, Denied, Listener, Outcome, PointInTime, Reply, Request, Status, Watch};

use crate::clock::Reading;
use crate::forward;
use crate::leadership::Leadership;
use crate::node::{Inner, Node};
use crate::reads::{self, Wanted};
use crate::settings::WritesOnFollower;
use crate::{forward_watch, watched};

/// How many bytes of calls go into one entry, unless one call alone is larger.
const RUN_BYTES_MAX: usize = 8 << 20;

/// A read that has no keys, or takes longer than a look-up, may look at many rows: it must hold up neither the apply thread nor a runtime thread.
fn is_wide_read(call: &Call) -> bool {
    let wide = |request: &talon_core::Request| {
        let facts = &request.command.facts;
        let narrow = facts.keys != talon_core::KeySpec::NONE && facts.flags.contains(&talon_core::Flag::Fast);
        !request.command.is_write() && !narrow
    };
    match call {
        Call::One(request) => wide(request),
        Call::Transaction(requests) => !call.is_write() && requests.iter().any(wide),
    }
}

/// How the next calls of a pipeline are carried out.
enum Step {
    /// So many take the same way together.
    Run { count: usize, writes: bool, wide: bool },
    /// One is not carried out.
    Deny(Denied),
    /// Planted: one transaction, call by call.
    TakeApart,
}

/// The step that `calls` (at least one) begins with. `disk_denial`: why writes are not taken, if they are not.
fn next_step(
    calls: &[Call],
    leading: bool,
    bytes_max: usize,
    disk_denial: &LazyCell<Option<Denied>, impl FnOnce() -> Option<Denied>>,
) -> Step {
    let (mut run_bytes, mut writes, mut wide) = (0, false, false);
    for (count, call) in calls.iter().enumerate() {
        let size_bytes = call.size_bytes();
        let (call_writes, call_wide) = (call.is_write(), is_wide_read(call));
        let alone = if is_planted(Bug::HalfTransaction) && matches!(call, Call::Transaction(_)) {
            Some(Step::TakeApart)
        } else if size_bytes > bytes_max {
            Some(Step::Deny(Denied::TooLarge { size_bytes, bytes_max }))
        } else if call_writes && leading {
            (**disk_denial).clone().map(Step::Deny)
        } else {
            None
        };
        // On the leader, reads between writes ride along with them; elsewhere reads are answered and writes are not.
        let split = (call_writes && (wide || run_bytes + size_bytes > RUN_BYTES_MAX))
            || (call_wide && writes)
            || (!leading && call_writes != writes);
        match alone {
            Some(step) if count == 0 => return step,
            None if count == 0 || !split => {}
            _ => return Step::Run { count, writes, wide },
        }
        run_bytes += size_bytes;
        writes |= call_writes;
        wide |= call_wide;
    }
    Step::Run { count: calls.len(), writes, wide }
}

/// Carries out a pipeline on this node. With `apart`, reads keep off the caller's thread.
pub(crate) async fn carry_out(
    inner: &Arc<Inner>,
    calls: Vec<Call>,
    consistency: Consistency,
    deadline_ms: u64,
    apart: bool,
) -> Vec<Outcome> {
    let bytes_max = inner.settings.request_bytes_max;
    let leading = matches!(*inner.leadership.borrow(), Leadership::Leading { .. });
    let mut pipeline = Pipeline {
        inner,
        consistency,
        deadline_ms,
        now: Some(inner.time.read()),
        outcomes: Vec::with_capacity(calls.len()),
        refused: None,
    };
    let mut calls = calls.into_iter();
    while !calls.as_slice().is_empty() {
        // Asked once a step: a pipeline may take its time, and the disk fill up meanwhile.
        let disk_denial = LazyCell::new(|| inner.disk.denial());
        match next_step(calls.as_slice(), leading, bytes_max, &disk_denial) {
            // Most pipelines are one run, which keeps its memory.
            Step::Run { count, writes, wide } if count == calls.len() => {
                let calls = std::mem::take(&mut calls).collect();
                pipeline.carry_out(Run { calls, writes, wide: wide || apart }).await;
            }
            Step::Run { count, writes, wide } => {
                let calls = calls.by_ref().take(count).collect();
                pipeline.carry_out(Run { calls, writes, wide: wide || apart }).await;
            }
            Step::Deny(denied) => {
                calls.next();
                pipeline.outcomes.push(Err(denied));
            }
            Step::TakeApart => {
                if let Some(Call::Transaction(requests)) = calls.next() {
                    pipeline.one_by_one(requests).await;
                }
            }
        }
    }
    pipeline.outcomes
}

/// As the leader: carries out a transaction if these watches, its own, hold.
pub(crate) async fn execute_if(
    inner: &Inner,
    requests: Vec<Request>,
    watches: Vec<Watch>,
    deadline_ms: u64,
) -> Outcome {
    let call = Call::Transaction(requests);
    call.check_size(inner.settings.request_bytes_max)?;
    if let Some(denied) = inner.disk.denial().filter(|_| call.is_write()) {
        return Err(denied);
    }
    let outcomes = inner.proposer.submit_watched(vec![call], watches, deadline_ms).await;
    outcomes.into_iter().next().unwrap_or(Err(Denied::InDoubt))
}

impl Database for Node {
    async fn execute(&self, calls: Vec<Call>, consistency: Consistency) -> Vec<Outcome> {
        let inner = &self.inner;
        let bytes_max = inner.settings.request_bytes_max;
        if calls.iter().all(|call| !call.is_write() && !is_wide_read(call) && call.size_bytes() <= bytes_max)
            && let Some(replies) = reads::read_at_once(inner, &calls, consistency)
        {
            return replies.into_iter().map(Ok).collect();
        }
        // On the heap, so that those who waited for nothing do not carry the room for it around.
        match inner.settings.writes_on_follower {
            // A pipeline is held once, not each of its runs.
            WritesOnFollower::Redirect => {
                Box::pin(carry_out(inner, calls, consistency, inner.hold_deadline_ms(), false)).await
            }
            WritesOnFollower::Forward => Box::pin(forward::execute(inner, calls, consistency)).await,
        }
    }

    async fn watch(&self, keys: Vec<Bytes>) -> Result<Watch, Denied> {
        let inner = &self.inner;
        match inner.settings.writes_on_follower {
            WritesOnFollower::Redirect => {
                watched::watch(inner, &keys, inner.hold_deadline_ms()).await.map(|begun| begun.watch.into())
            }
            WritesOnFollower::Forward => forward_watch::watch(inner, keys).await,
        }
    }

    async fn execute_if(&self, requests: Vec<Request>, watches: Vec<Watch>) -> Outcome {
        let inner = &self.inner;
        match inner.settings.writes_on_follower {
            WritesOnFollower::Redirect => execute_if(inner, requests, watches, inner.hold_deadline_ms()).await,
            WritesOnFollower::Forward => forward_watch::execute_if(inner, requests, watches).await,
        }
    }

    async fn point_in_time(&self, consistency: Consistency) -> Result<Arc<dyn PointInTime>, Denied> {
        let (inner, now) = (&self.inner, self.inner.time.read());
        let deadline_ms = now.monotonic_ms + inner.settings.hold_ms_max;
        let leads = matches!(*inner.leadership.borrow(), Leadership::Leading { .. });
        let consistency = match (consistency, inner.settings.writes_on_follower) {
            // As fresh, and nobody has to go elsewhere.
            (Consistency::Lease, WritesOnFollower::Forward) if !leads => Consistency::Linearizable,
            _ => consistency,
        };
        let wanted = Wanted::new(consistency, now.monotonic_ms, deadline_ms);
        Ok(reads::point_in_time(inner, wanted, now).await?)
    }

    async fn read_at(&self, view: Arc<dyn PointInTime>, calls: Vec<Call>) -> Vec<Outcome> {
        if !calls.iter().any(is_wide_read) {
            // A place among those that take long is not for look-ups.
            return view.read_all(&calls);
        }
        let inner = &self.inner;
        let count = calls.len();
        let deny = |denied: Denied| (0..count).map(|_| Err(denied.clone())).collect();
        let Ok(permit) = inner.wide_reads.clone().acquire_owned().await else { return deny(Denied::ShuttingDown) };
        let reading = inner.environment.workers.run(move || {
            // To the end, also when nobody waits for it any more.
            let _permit = permit;
            view.read_all(&calls)
        });
        let outcomes = reading.await;
        outcomes.unwrap_or_else(|error| deny(Denied::Fault(error.to_string())))
    }

    fn listen(&self, listener: Weak<dyn Listener>) {
        self.inner.stores.live().machine.listeners().add(listener);
    }

    fn status(&self) -> Arc<Status> {
        self.inner.status.borrow().clone()
    }

    fn status_now(&self) -> Arc<Status> {
        Arc::new(crate::watcher::with_positions(&self.inner, &self.status()))
    }

    async fn confirmed_status(&self, time_max: Duration) -> Arc<Status> {
        reads::confirmed_status(&self.inner, time_max).await
    }

    fn applied_index(&self) -> u64 {
        self.inner.stores.applied_index()
    }

    async fn reached(&self, index: u64, time_max: Duration) -> u64 {
        self.inner.stores.reached(index, time_max).await
    }

    async fn status_changed(&self, seen: u64) {
        let mut status = self.inner.status.clone();
        // The sender lives as long as the node's tasks; without it nothing will change any more.
        if status.wait_for(|status| status.version != seen).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Calls that take the same way together.
struct Run {
    calls: Vec<Call>,
    writes: bool,
    wide: bool,
}

/// The calls of one [`Database::execute`], on their way.
struct Pipeline<'a> {
    inner: &'a Arc<Inner>,
    consistency: Consistency,
    deadline_ms: u64,
    /// The clocks just now, until the first run has begun.
    now: Option<Reading>,
    outcomes: Vec<Outcome>,
    /// Why a call was refused that its client sends again, there or here.
    refused: Option<Denied>,
}

impl Pipeline<'_> {
    /// Carries out the next calls. Once a call was refused that its client sends again, all behind it are refused the same way,
    /// whoever leads by then: they were to be carried out after it. Else a follower would redirect a write, and answer the read
    /// behind it from a state without the write; and a new leader would carry out the second of two writes before the first.
    /// Only who asked for snapshots gets them still.
    async fn carry_out(&mut self, run: Run) {
        let count = run.calls.len();
        let now = self.now.take();
        if let Some(denied) = &self.refused
            && (run.writes || self.consistency != Consistency::Snapshot)
        {
            self.outcomes.extend((0..count).map(|_| Err(denied.clone())));
            return;
        }
        let before = self.outcomes.len();
        if run.writes {
            self.outcomes.append(&mut self.inner.proposer.submit(run.calls, self.deadline_ms).await);
        } else {
            let now = now.unwrap_or_else(|| self.inner.time.read());
            let wanted = Wanted::new(self.consistency, now.monotonic_ms, self.deadline_ms);
            match reads::read(self.inner, run.calls, run.wide, wanted, now).await {
                Ok(replies) => self.outcomes.extend(replies.into_iter().map(Ok)),
                Err(denied) => self.outcomes.extend((0..count).map(|_| Err(denied.clone()))),
            }
        }
        self.refused = self.refused.take().or_else(|| self.outcomes[before..].iter().find_map(is_resent));
    }
}

impl Pipeline<'_> {
    /// Planted: what belongs together is carried out call by call.
    async fn one_by_one(&mut self, requests: Vec<talon_core::Request>) {
        let before = self.outcomes.len();
        for request in requests {
            let writes = request.command.is_write();
            self.carry_out(Run { calls: vec![Call::One(request)], writes, wide: false }).await;
        }
        let replies: Result<Vec<Reply>, Denied> = self.outcomes.drain(before..).collect();
        self.outcomes.push(replies.map(Reply::Array));
    }
}

/// Why a call was not carried out, if the client is told to send it again: to the leader, or later.
pub(crate) fn is_resent(outcome: &Outcome) -> Option<Denied> {
    outcome
        .as_ref()
        .err()
        .filter(|denied| {
            matches!(denied, Denied::NotLeader { .. } | Denied::NoLeader | Denied::ShuttingDown | Denied::Busy)
        })
        .cloned()
}

//! The node as a database: which way each call takes.

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use talon::{ReadOutcome, ReadView};
use talon_core::planted::{Bug, is_planted};
use talon_core::{Call, Consistency, Database, Denied, Outcome, PointInTime, Reply, Request, Status, Watch};

use crate::clock::Reading;
use crate::leadership::Leadership;
use crate::node::{Inner, Node};

/// How many bytes of calls go into one entry, unless one call alone is larger.
const RUN_BYTES_MAX: usize = 8 << 20;
/// How long a read waits before it looks again whether this node leads.
const RETRY: Duration = Duration::from_millis(10);
/// How often it looks whether a quorum has acknowledged what was sent.
const ACKNOWLEDGEMENT_STEP: Duration = Duration::from_millis(1);

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

impl Database for Node {
    async fn execute(&self, calls: Vec<Call>, consistency: Consistency) -> Vec<Outcome> {
        let inner = &self.inner;
        let bytes_max = inner.settings.request_bytes_max;
        let leading = matches!(*inner.leadership.borrow(), Leadership::Leading { .. });
        let now = inner.time.read();
        let mut pipeline = Pipeline {
            inner,
            consistency,
            // A pipeline is held once, not each of its runs.
            deadline_ms: now.monotonic_ms + inner.settings.hold_ms_max,
            now: Some(now),
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
                    pipeline.carry_out(Run { calls, writes, wide }).await;
                }
                Step::Run { count, writes, wide } => {
                    let calls = calls.by_ref().take(count).collect();
                    pipeline.carry_out(Run { calls, writes, wide }).await;
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

    async fn watch(&self, keys: Vec<Bytes>) -> Result<Watch, Denied> {
        crate::watched::watch(&self.inner, keys).await
    }

    async fn execute_if(&self, requests: Vec<Request>, watches: Vec<Watch>) -> Outcome {
        let inner = &self.inner;
        let call = Call::Transaction(requests);
        let (size_bytes, bytes_max) = (call.size_bytes(), inner.settings.request_bytes_max);
        if size_bytes > bytes_max {
            return Err(Denied::TooLarge { size_bytes, bytes_max });
        }
        if let Some(denied) = inner.disk.denial().filter(|_| call.is_write()) {
            return Err(denied);
        }
        let outcomes = inner.proposer.submit_watched(vec![call], watches, inner.hold_deadline_ms()).await;
        outcomes.into_iter().next().unwrap_or(Err(Denied::InDoubt))
    }

    async fn point_in_time(&self, consistency: Consistency) -> Result<Arc<dyn PointInTime>, Denied> {
        let inner = &self.inner;
        let deadline_ms = inner.hold_deadline_ms();
        if let Way::Snapshot = way(inner, consistency, deadline_ms, &mut inner.time.read()).await? {
            return Ok(snapshot_view(inner, deadline_ms).await?);
        }
        let mut first_clock_ms = None;
        loop {
            let now = inner.time.read();
            let (term, relied_on_lease) = confirm(inner, deadline_ms, now.monotonic_ms).await?;
            let Some((_, now_ms)) = inner.time.stamp_at(now).filter(|(stamped, _)| *stamped == term) else {
                wait_or_deny(inner, deadline_ms, Denied::NoLeader).await?;
                continue;
            };
            let clock_ms = *first_clock_ms.get_or_insert(now_ms);
            let view = inner.stores.view().map_err(|fault| Denied::Fault(fault.0))?;
            if !still_leads(inner, term, relied_on_lease) {
                continue;
            }
            // Keys that had ended when it was asked for must not be in it.
            let next_ms = view.next_expiry_ms().map_err(|fault| Denied::Fault(fault.0))?;
            if next_ms.is_some_and(|next_ms| next_ms <= clock_ms) {
                tick(inner, clock_ms, deadline_ms).await?;
                continue;
            }
            return Ok(view);
        }
    }

    async fn read_at(&self, view: Arc<dyn PointInTime>, calls: Vec<Call>) -> Vec<Outcome> {
        let inner = &self.inner;
        let count = calls.len();
        let deny = |denied: Denied| (0..count).map(|_| Err(denied.clone())).collect();
        let Ok(_permit) = inner.wide_reads.clone().acquire_owned().await else { return deny(Denied::ShuttingDown) };
        let outcomes = inner.environment.workers.run(move || view.read_all(&calls)).await;
        outcomes.unwrap_or_else(|error| deny(Denied::Fault(error.to_string())))
    }

    fn status(&self) -> Arc<Status> {
        self.inner.status.borrow().clone()
    }

    fn status_now(&self) -> Arc<Status> {
        Arc::new(crate::watcher::with_positions(&self.inner, &self.status()))
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
            match read(self.inner, run, self.consistency, self.deadline_ms, now).await {
                Ok(replies) => self.outcomes.extend(replies.into_iter().map(Ok)),
                Err(denied) => self.outcomes.extend((0..count).map(|_| Err(denied.clone()))),
            }
        }
        self.refused = self.refused.take().or_else(|| self.outcomes[before..].iter().find_map(refused_to_be_resent));
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
fn refused_to_be_resent(outcome: &Outcome) -> Option<Denied> {
    outcome
        .as_ref()
        .err()
        .filter(|denied| {
            matches!(denied, Denied::NotLeader { .. } | Denied::NoLeader | Denied::ShuttingDown | Denied::Busy)
        })
        .cloned()
}

/// Which way a read takes.
enum Way {
    Leader,
    Snapshot,
}

/// Decides it, waiting while this node is not sure whether it leads.
/// `now` is read again after each wait.
async fn way(inner: &Inner, consistency: Consistency, deadline_ms: u64, now: &mut Reading) -> Result<Way, Denied> {
    loop {
        let leadership = *inner.leadership.borrow();
        match (consistency, leadership) {
            (Consistency::Snapshot, _) => return Ok(Way::Snapshot),
            (_, Leadership::Leading { .. }) => return Ok(Way::Leader),
            (Consistency::Default, Leadership::Following { .. } | Leadership::Nobody) => return Ok(Way::Snapshot),
            (Consistency::Linearizable, Leadership::Following { .. }) => {
                if let Some(leader) = inner.status.borrow().leader().cloned() {
                    return Err(Denied::NotLeader { leader });
                }
            }
            (_, Leadership::Unsettled) | (Consistency::Linearizable, Leadership::Nobody) => {}
        }
        wait_or_deny(inner, deadline_ms, Denied::NoLeader).await?;
        *now = inner.time.read();
    }
}

pub(crate) async fn wait_or_deny(inner: &Inner, deadline_ms: u64, denied: Denied) -> Result<(), Denied> {
    if inner.time.monotonic_ms() >= deadline_ms {
        return Err(denied);
    }
    tokio::time::sleep(RETRY).await;
    Ok(())
}

/// Makes sure that this node leads now, and has applied all that any leader has acknowledged. Returns the term, and whether that rests on the
/// lease (to be checked again after the read). `now_ms` is the monotonic clock just before the call.
pub(crate) async fn confirm(inner: &Inner, deadline_ms: u64, mut now_ms: u64) -> Result<(u64, bool), Denied> {
    loop {
        let now = *inner.leadership.borrow();
        if let Leadership::Leading { term } = now {
            if lease_holds(inner, term, now_ms) {
                return Ok((term, true));
            }
            // Not during a transfer: it may be triggered after the read index.
            let barred = inner.lease.barred().filter(|_| inner.proposer.is_running());
            let asked = inner.lease.newest();
            if inner.read_index.confirm().await && has_led_since(inner, term, asked).await {
                if let Some(bar) = barred {
                    inner.lease.allow(bar);
                }
                return Ok((term, false));
            }
        }
        if let Leadership::Following { .. } = now
            && let Some(leader) = inner.status.borrow().leader().cloned()
        {
            return Err(Denied::NotLeader { leader });
        }
        wait_or_deny(inner, deadline_ms, Denied::NoLeader).await?;
        now_ms = inner.time.monotonic_ms();
    }
}

/// Whether a quorum has acknowledged what this node has sent as leader of `term` after the request with this number. openraft
/// has just been told so, and mistakes older replies for newer ones (see [`crate::lease`]); then the right ones are still
/// under way, or will not come.
async fn has_led_since(inner: &Inner, term: u64, number: u64) -> bool {
    let end_ms = inner.time.monotonic_ms() + inner.settings.election_timeout_ms_max;
    let mut waited = false;
    loop {
        if inner.lease.acknowledged_since(term, &inner.voter_sets(), inner.settings.node_id, number) {
            return true;
        }
        if !std::mem::replace(&mut waited, true) {
            tracing::debug!(term, "openraft confirmed a read before a quorum had answered since");
        }
        if *inner.leadership.borrow() != (Leadership::Leading { term }) || inner.time.monotonic_ms() >= end_ms {
            return false;
        }
        tokio::time::sleep(ACKNOWLEDGEMENT_STEP).await;
    }
}

fn lease_holds(inner: &Inner, term: u64, now_ms: u64) -> bool {
    if is_planted(Bug::ReadWithoutLease) {
        return true;
    }
    inner.lease.holds(term, &inner.voter_sets(), inner.settings.node_id, now_ms)
}

pub(crate) fn still_leads(inner: &Inner, term: u64, relied_on_lease: bool) -> bool {
    !relied_on_lease || lease_holds(inner, term, inner.time.monotonic_ms())
}

async fn read(
    inner: &Arc<Inner>,
    run: Run,
    consistency: Consistency,
    deadline_ms: u64,
    mut now: Reading,
) -> Result<Vec<Reply>, Denied> {
    let calls = Arc::new(run.calls);
    if let Way::Snapshot = way(inner, consistency, deadline_ms, &mut now).await? {
        let view = snapshot_view(inner, deadline_ms).await?;
        return match read_view(inner, view, &calls, 0, run.wide).await? {
            ReadOutcome::Replies(replies) => Ok(replies),
            // Judged by the view's own clock, nothing can be due.
            ReadOutcome::NeedsTick(_) => Err(Denied::Fault("a snapshot read asked for a tick".to_owned())),
        };
    }
    let mut first_clock_ms = None;
    loop {
        let (term, relied_on_lease) = confirm(inner, deadline_ms, now.monotonic_ms).await?;
        let view = inner.stores.view().map_err(|fault| Denied::Fault(fault.0))?;
        let Some((_, now_ms)) = inner.time.stamp_at(now).filter(|(stamped, _)| *stamped == term) else {
            wait_or_deny(inner, deadline_ms, Denied::NoLeader).await?;
            now = inner.time.read();
            continue;
        };
        // Judged by the clock at its beginning: after one tick nothing is due by that, however many keys end meanwhile.
        let clock_ms = *first_clock_ms.get_or_insert(now_ms);
        let outcome = read_view(inner, view, &calls, clock_ms, run.wide).await?;
        if !still_leads(inner, term, relied_on_lease) {
            now = inner.time.read();
            continue;
        }
        match outcome {
            ReadOutcome::Replies(replies) => return Ok(replies),
            // The key has ended by this clock: an entry with it makes that so for everyone, for ever.
            ReadOutcome::NeedsTick(tick_ms) => {
                tick(inner, tick_ms, deadline_ms).await?;
                now = inner.time.read();
            }
        }
    }
}

/// Brings `T` to this clock value through the log. If that is refused (the node is ending, say), waits a moment: who asks again at once
/// would ask for ever.
async fn tick(inner: &Inner, tick_ms: u64, deadline_ms: u64) -> Result<(), Denied> {
    inner.proposer.submit(Vec::new(), deadline_ms).await;
    let view = inner.stores.view().map_err(|fault| Denied::Fault(fault.0))?;
    if view.clock_ms() < tick_ms || inner.time.monotonic_ms() >= deadline_ms {
        wait_or_deny(inner, deadline_ms, Denied::NoLeader).await?;
    }
    Ok(())
}

/// The newest view, if this node may answer from it without being the leader.
async fn snapshot_view(inner: &Inner, deadline_ms: u64) -> Result<Arc<ReadView>, Denied> {
    loop {
        let status = inner.status.borrow().clone();
        let leads = matches!(*inner.leadership.borrow(), Leadership::Leading { .. });
        if leads || status.serving {
            break;
        }
        wait_or_deny(inner, deadline_ms, Denied::Loading).await?;
    }
    let leads = matches!(*inner.leadership.borrow(), Leadership::Leading { .. });
    let now_ms = inner.time.monotonic_ms();
    // A leader whose entries this node has no room for is heard, and still leaves it behind.
    let behind_ms = inner.watch_over.heard.age_ms(now_ms).max(inner.disk.behind_ms(now_ms));
    let bound_ms = inner.settings.replica_staleness_ms_max;
    if !leads && bound_ms > 0 && behind_ms > bound_ms {
        return Err(Denied::Stale { behind_ms, bound_ms });
    }
    inner.stores.view().map_err(|fault| Denied::Fault(fault.0))
}

async fn read_view(
    inner: &Arc<Inner>,
    view: Arc<ReadView>,
    calls: &Arc<Vec<Call>>,
    clock_ms: u64,
    wide: bool,
) -> Result<ReadOutcome, Denied> {
    let seed = rand::random();
    let clock_ms = if is_planted(Bug::ExpireByLocalClock) { inner.time.wall_ms() } else { clock_ms };
    let result = if wide {
        let calls = calls.clone();
        let permit = inner.wide_reads.clone().acquire_owned().await;
        let _permit = permit.map_err(|_| Denied::ShuttingDown)?;
        let reading = inner.environment.workers.run(move || view.read(&calls, clock_ms, seed));
        reading.await.map_err(|error| Denied::Fault(error.to_string()))?
    } else {
        view.read(calls, clock_ms, seed)
    };
    result.map_err(|fault| {
        inner.stores.fail(&fault);
        Denied::Fault(fault.0)
    })
}

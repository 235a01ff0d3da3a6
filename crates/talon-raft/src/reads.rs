//! How a read is answered: as the leader, or from this node's own state once that is known to be fresh enough.
//!
//! The leader proves that it leads, by its lease ([`crate::lease`]) or by a round to a quorum ([`crate::read_index`]). Another node
//! asks the leader where a read has to stand ([`crate::probe`]), and waits until its own state has come there.

use std::sync::Arc;
use std::time::Duration;

use talon::{ReadOutcome, ReadView};
use talon_core::planted::{Bug, is_planted};
use talon_core::{Call, Consistency, Denied, Fault, Reply, Status};
use talon_proto::v1;

use crate::clock::{Reading, Shown};
use crate::leadership::Leadership;
use crate::liveness;
use crate::node::Inner;
use crate::probe::Unanswered;
use crate::state::term_of;

/// How long a read waits before it looks again whether this node leads.
const RETRY: Duration = Duration::from_millis(10);
/// How often it looks whether a quorum has acknowledged what was sent.
const ACKNOWLEDGEMENT_STEP: Duration = Duration::from_millis(1);
/// A bounded read is held for as long as its bound, and at least so long, ms: a probe takes its time, too.
const BOUNDED_HOLD_MS_MIN: u64 = 250;

/// What a read wants.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    consistency: Consistency,
    /// When it was asked for, monotonic ms: no later than the call.
    asked_ms: u64,
    /// Until when it may be held, monotonic ms.
    deadline_ms: u64,
}

impl Wanted {
    /// For a call that came at `asked_ms` and may be held until `deadline_ms`.
    pub fn new(consistency: Consistency, asked_ms: u64, deadline_ms: u64) -> Wanted {
        let deadline_ms = match consistency {
            Consistency::Bounded { ms } => deadline_ms.min(asked_ms + ms.max(BOUNDED_HOLD_MS_MIN)),
            _ => deadline_ms,
        };
        Wanted { consistency, asked_ms, deadline_ms }
    }
}

/// How the leader shows that it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// By its lease, if it has one.
    Lease,
    /// By a round to a quorum.
    Round,
}

/// Which way a read takes.
enum Way {
    /// As the leader.
    Leader(Proof),
    /// From the newest view, if this node has reached what it must have, and was not left alone for too long.
    Snapshot,
    /// From the newest view: it is fresh enough. By the leader's word no key is left in it that had ended by this clock.
    Fresh { clock: Shown },
}

/// Carries out reads. `now`: the clocks just now.
pub(crate) async fn read(
    inner: &Arc<Inner>,
    calls: Vec<Call>,
    wide: bool,
    wanted: Wanted,
    mut now: Reading,
) -> Result<Vec<Reply>, Denied> {
    let calls = Arc::new(calls);
    loop {
        // What was shown is looked up before the view is taken: a later term's, which may take its place in between, says nothing of this view.
        let (view, shown) = match way(inner, wanted, &mut now).await? {
            Way::Leader(proof) => match read_as_leader(inner, &calls, wide, proof, wanted, now).await {
                Err(denied) if wanted.goes_on_after(&denied) => {
                    now = inner.time.read();
                    continue;
                }
                result => return result,
            },
            Way::Snapshot => {
                let shown = inner.time.shown();
                (snapshot_view(inner, &wanted).await?, shown)
            }
            Way::Fresh { clock } => {
                let shown = inner.time.shown().max(clock);
                inner.time.show(clock);
                (inner.stores.view().map_err(fault)?, shown)
            }
        };
        let by = By::Left(shown.in_term(term_of(&view).map_err(fault)?));
        return match read_view(inner, view, &calls, by, wide).await? {
            ReadOutcome::Replies(replies) => Ok(replies),
            // Judged by the view's own clock, nothing can be due.
            ReadOutcome::NeedsTick(_) => Err(Denied::Fault("a snapshot read asked for a tick".to_owned())),
        };
    }
}

/// Carries out look-ups for which nothing has to be waited for, which is nearly all of them; `None`: they have to go the long way
/// ([`read`]), and nothing has come of this.
pub(crate) fn read_at_once(inner: &Inner, calls: &[Call], consistency: Consistency) -> Option<Vec<Reply>> {
    let leadership = *inner.leadership.borrow();
    let outcome = match (consistency, leadership) {
        (Consistency::Default | Consistency::Lease, Leadership::Leading { term }) => {
            let now = inner.time.read();
            if !lease_holds(inner, term, now.monotonic_ms) {
                return None;
            }
            let view = inner.stores.view().ok()?;
            let (_, clock_ms) = inner.time.stamp_at(now).filter(|(stamped, _)| *stamped == term)?;
            let outcome = look_up(inner, &view, calls, By::Leader(clock_ms)).ok()?;
            still_leads(inner, term, true).then_some(outcome)?
        }
        (Consistency::Snapshot, _) | (Consistency::Default, Leadership::Following { .. } | Leadership::Nobody) => {
            // Before the view is taken, as in `read`.
            let shown = inner.time.shown();
            let SnapshotView::Here(view) = snapshot_view_now(inner, consistency).ok()? else { return None };
            let by = By::Left(shown.in_term(term_of(&view).ok()?));
            look_up(inner, &view, calls, by).ok()?
        }
        _ => return None,
    };
    match outcome {
        ReadOutcome::Replies(replies) => Some(replies),
        ReadOutcome::NeedsTick(_) => None,
    }
}

/// A fixed state to read from. `now`: the clocks just now.
pub(crate) async fn point_in_time(inner: &Inner, wanted: Wanted, mut now: Reading) -> Result<Arc<ReadView>, Denied> {
    loop {
        return match way(inner, wanted, &mut now).await? {
            Way::Leader(proof) => match leading_view(inner, proof, wanted.deadline_ms).await {
                Ok((view, _)) => Ok(view),
                Err(denied) if wanted.goes_on_after(&denied) => {
                    now = inner.time.read();
                    continue;
                }
                Err(denied) => Err(denied),
            },
            Way::Snapshot => snapshot_view(inner, &wanted).await,
            Way::Fresh { .. } => inner.stores.view().map_err(fault),
        };
    }
}

/// As the leader: where a read that was asked for before the call has to stand.
pub(crate) async fn read_index(inner: &Inner, request: v1::ReadIndexRequest) -> Result<v1::ReadIndexReply, Denied> {
    if !matches!(*inner.leadership.borrow(), Leadership::Leading { .. }) {
        return Err(Denied::NoLeader);
    }
    let proof = if request.lease_will_do { Proof::Lease } else { Proof::Round };
    let deadline_ms = inner.time.monotonic_ms() + request.wait_ms.min(inner.settings.hold_ms_max);
    let (view, Shown { term, clock_ms }) = leading_view(inner, proof, deadline_ms).await?;
    let members = liveness::to_wire(&inner.status.borrow());
    Ok(v1::ReadIndexReply { index: view.index(), clock_ms, term, members })
}

/// What this node knows, after the leader was asked whether it is there: one that is gone is named no more. After `time_max`, whatever is
/// known by then.
pub(crate) async fn confirmed_status(inner: &Inner, time_max: Duration) -> Arc<Status> {
    let mut status = inner.status.clone();
    let leader_id = status.borrow().leader_id.filter(|leader_id| *leader_id != inner.settings.node_id);
    if let Some(leader_id) = leader_id {
        let time_max_ms = u64::try_from(time_max.as_millis()).unwrap_or(u64::MAX);
        let deadline_ms = inner.time.monotonic_ms().saturating_add(time_max_ms);
        let asking = async {
            if inner.prober.ask(true, deadline_ms).await == Err(Unanswered::Gone(leader_id)) {
                // The sender lives as long as the node.
                let _ = status.wait_for(|status| status.leader_id != Some(leader_id)).await;
            }
        };
        // Who is merely slow may lead all the same.
        let _ = tokio::time::timeout(time_max, asking).await;
    }
    inner.status.borrow().clone()
}

/// Waits until this node has applied this index. Whether it has, by the deadline.
pub(crate) async fn reached(inner: &Inner, index: u64, deadline_ms: u64) -> bool {
    if is_planted(Bug::FollowerDoesNotCatchUp) {
        return true;
    }
    let time_max = Duration::from_millis(deadline_ms.saturating_sub(inner.time.monotonic_ms()));
    inner.stores.reached(index, time_max).await >= index
}

impl Wanted {
    /// Whether a read that this node could not answer as the leader may be answered another way, on this node.
    fn goes_on_after(&self, denied: &Denied) -> bool {
        matches!(
            (self.consistency, denied),
            (Consistency::Linearizable | Consistency::Bounded { .. }, Denied::NotLeader { .. })
                | (Consistency::Bounded { .. }, Denied::NoLeader)
        )
    }
}

/// Decides which way it takes, waiting while this node is not sure whether it leads, or is not fresh enough.
/// `now` is read again after each wait.
async fn way(inner: &Inner, wanted: Wanted, now: &mut Reading) -> Result<Way, Denied> {
    loop {
        let leadership = *inner.leadership.borrow();
        match (wanted.consistency, leadership) {
            (Consistency::Snapshot, _) => return Ok(Way::Snapshot),
            (Consistency::Bounded { ms }, leadership) => {
                if let Some(way) = bounded_way(inner, ms, wanted, leadership).await? {
                    return Ok(way);
                }
                *now = inner.time.read();
                continue;
            }
            (Consistency::Linearizable, Leadership::Leading { .. }) => return Ok(Way::Leader(Proof::Round)),
            (_, Leadership::Leading { .. }) => return Ok(Way::Leader(Proof::Lease)),
            (Consistency::Default, Leadership::Following { .. } | Leadership::Nobody) => return Ok(Way::Snapshot),
            (Consistency::Lease, Leadership::Following { .. }) => {
                if let Some(leader) = inner.status.borrow().leader().cloned() {
                    return Err(Denied::NotLeader { leader });
                }
            }
            (Consistency::Linearizable, Leadership::Following { .. }) => {
                if let Ok(point) = inner.prober.ask(false, wanted.deadline_ms).await {
                    if !reached(inner, point.index, wanted.deadline_ms).await {
                        let behind_ms = inner.prober.behind_ms(inner.time.monotonic_ms());
                        return Err(Denied::Stale { behind_ms, bound_ms: 0 });
                    }
                    return Ok(Way::Fresh { clock: point.clock });
                }
            }
            (_, Leadership::Unsettled) | (Consistency::Lease | Consistency::Linearizable, Leadership::Nobody) => {}
        }
        wait_or_deny(inner, wanted.deadline_ms, Denied::NoLeader).await?;
        *now = inner.time.read();
    }
}

/// The way of a read that may lack what was acknowledged less than `ms` before it was asked for; `None`: to be asked again.
async fn bounded_way(inner: &Inner, ms: u64, wanted: Wanted, leadership: Leadership) -> Result<Option<Way>, Denied> {
    let now_ms = inner.time.monotonic_ms();
    if let Leadership::Leading { term } = leadership
        && lease_holds(inner, term, now_ms)
    {
        return Ok(Some(Way::Leader(Proof::Lease)));
    }
    let oldest_ms = wanted.asked_ms.saturating_sub(ms);
    let led_ms = led_until_ms(inner, now_ms);
    if led_ms.is_some_and(|led_ms| led_ms > oldest_ms) {
        return Ok(Some(Way::Fresh { clock: Shown::default() }));
    }
    if let Some(point) = inner.prober.since(oldest_ms, inner.stores.applied_index())
        && reached(inner, point.index, wanted.deadline_ms).await
    {
        return Ok(Some(Way::Fresh { clock: point.clock }));
    }
    if now_ms >= wanted.deadline_ms {
        let behind_ms = led_ms.map_or(u64::MAX, |led_ms| now_ms.saturating_sub(led_ms));
        return Err(Denied::Stale { behind_ms: behind_ms.min(inner.prober.behind_ms(now_ms)), bound_ms: ms });
    }
    match leadership {
        // Without a lease, and yet it may lead.
        Leadership::Leading { .. } => {
            if confirm(inner, Proof::Lease, wanted.deadline_ms, now_ms).await.is_ok() {
                return Ok(Some(Way::Leader(Proof::Lease)));
            }
        }
        Leadership::Following { .. } if inner.prober.ask(true, wanted.deadline_ms).await.is_ok() => {}
        Leadership::Following { .. } | Leadership::Unsettled | Leadership::Nobody => tokio::time::sleep(RETRY).await,
    }
    Ok(None)
}

/// Up to when, monotonic ms, this node is known to have been the leader, if it is one as far as it knows: so its state
/// holds everything that was acknowledged until then.
fn led_until_ms(inner: &Inner, now_ms: u64) -> Option<u64> {
    let term = inner.status.borrow().term;
    let has_begun = term > 0 && inner.stores.applied_term() == term;
    let own_id = inner.settings.node_id;
    has_begun.then(|| inner.lease.acknowledged_until_ms(term, &inner.voter_sets(), own_id, now_ms)).flatten()
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
pub(crate) async fn confirm(
    inner: &Inner,
    proof: Proof,
    deadline_ms: u64,
    mut now_ms: u64,
) -> Result<(u64, bool), Denied> {
    loop {
        let now = *inner.leadership.borrow();
        if let Leadership::Leading { term } = now {
            if proof == Proof::Lease && lease_holds(inner, term, now_ms) {
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

async fn read_as_leader(
    inner: &Arc<Inner>,
    calls: &Arc<Vec<Call>>,
    wide: bool,
    proof: Proof,
    wanted: Wanted,
    mut now: Reading,
) -> Result<Vec<Reply>, Denied> {
    let deadline_ms = wanted.deadline_ms;
    let mut first = None;
    loop {
        let (term, relied_on_lease) = confirm(inner, proof, deadline_ms, now.monotonic_ms).await?;
        let view = inner.stores.view().map_err(fault)?;
        let Some((_, now_ms)) = inner.time.stamp_at(now).filter(|(stamped, _)| *stamped == term) else {
            wait_or_deny(inner, deadline_ms, Denied::NoLeader).await?;
            now = inner.time.read();
            continue;
        };
        // Judged by the clock at its beginning: after one tick nothing is due by that, however many keys end meanwhile.
        let Shown { clock_ms, .. } = *first.insert(first_in(first, Shown { term, clock_ms: now_ms }));
        let outcome = read_view(inner, view, calls, By::Leader(clock_ms), wide).await?;
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

/// The clock that a read began with in this term: another term's says nothing here.
fn first_in(first: Option<Shown>, now: Shown) -> Shown {
    first.filter(|first| first.term == now.term).unwrap_or(now)
}

/// As the leader: a view that holds everything that was acknowledged before the call, and no key that had ended by this
/// clock, the leader's at the call.
async fn leading_view(inner: &Inner, proof: Proof, deadline_ms: u64) -> Result<(Arc<ReadView>, Shown), Denied> {
    let mut first = None;
    loop {
        let now = inner.time.read();
        let (term, relied_on_lease) = confirm(inner, proof, deadline_ms, now.monotonic_ms).await?;
        let Some((_, now_ms)) = inner.time.stamp_at(now).filter(|(stamped, _)| *stamped == term) else {
            wait_or_deny(inner, deadline_ms, Denied::NoLeader).await?;
            continue;
        };
        let shown = *first.insert(first_in(first, Shown { term, clock_ms: now_ms }));
        let view = inner.stores.view().map_err(fault)?;
        if !still_leads(inner, term, relied_on_lease) {
            continue;
        }
        let next_ms = view.next_expiry_ms().map_err(fault)?;
        if next_ms.is_some_and(|next_ms| next_ms <= shown.clock_ms) {
            tick(inner, shown.clock_ms, deadline_ms).await?;
            continue;
        }
        return Ok((view, shown));
    }
}

fn fault(fault: Fault) -> Denied {
    Denied::Fault(fault.0)
}

/// Brings `T` to this clock value through the log. If that is refused (the node is ending, say), waits a moment: who asks again at once
/// would ask for ever.
pub(crate) async fn tick(inner: &Inner, tick_ms: u64, deadline_ms: u64) -> Result<(), Denied> {
    inner.proposer.submit(Vec::new(), deadline_ms).await;
    let view = inner.stores.view().map_err(fault)?;
    if view.clock_ms() < tick_ms || inner.time.monotonic_ms() >= deadline_ms {
        wait_or_deny(inner, deadline_ms, Denied::NoLeader).await?;
    }
    Ok(())
}

/// The newest view, if this node may answer from it without being the leader.
async fn snapshot_view(inner: &Inner, wanted: &Wanted) -> Result<Arc<ReadView>, Denied> {
    let deadline_ms = wanted.deadline_ms;
    loop {
        match snapshot_view_now(inner, wanted.consistency)? {
            SnapshotView::Here(view) => return Ok(view),
            SnapshotView::NotServing => wait_or_deny(inner, deadline_ms, Denied::Loading).await?,
            SnapshotView::Behind { floor } => {
                if !reached(inner, floor, deadline_ms).await {
                    let behind_ms = behind_ms(inner);
                    return Err(Denied::Stale { behind_ms, bound_ms: 0 });
                }
            }
        }
    }
}

/// What a node that does not lead has for a read.
enum SnapshotView {
    Here(Arc<ReadView>),
    /// It does not answer yet.
    NotServing,
    /// What its clients have written by way of the leader is not all here: it is from this log index on.
    Behind {
        floor: u64,
    },
}

fn snapshot_view_now(inner: &Inner, consistency: Consistency) -> Result<SnapshotView, Denied> {
    let leads = matches!(*inner.leadership.borrow(), Leadership::Leading { .. });
    if !leads && !inner.status.borrow().serving {
        return Ok(SnapshotView::NotServing);
    }
    let bound_ms = inner.settings.replica_staleness_ms_max;
    if !leads && bound_ms > 0 {
        let behind_ms = behind_ms(inner);
        if behind_ms > bound_ms {
            return Err(Denied::Stale { behind_ms, bound_ms });
        }
    }
    let floor = inner.forwarder.floor();
    if consistency != Consistency::Snapshot && inner.stores.applied_index() < floor {
        return Ok(SnapshotView::Behind { floor });
    }
    inner.stores.view().map(SnapshotView::Here).map_err(fault)
}

/// From how long ago on this node may lack something, ms.
fn behind_ms(inner: &Inner) -> u64 {
    let now_ms = inner.time.monotonic_ms();
    // A leader whose entries this node has no room for is heard, and still leaves it behind.
    inner.watch_over.heard.age_ms(now_ms).max(inner.disk.behind_ms(now_ms))
}

/// The clock that a read goes by besides `T`, Unix ms.
#[derive(Clone, Copy)]
enum By {
    /// The leader's: what is due by it asks for a tick.
    Leader(u64),
    /// What is left of a key's time is counted from it on, and nothing else.
    Left(u64),
}

impl By {
    fn read(self, view: &ReadView, calls: &[Call], seed: u64) -> Result<ReadOutcome, Fault> {
        match self {
            By::Leader(clock_ms) => view.read(calls, clock_ms, seed),
            By::Left(clock_ms) => view.read_with_left_from(calls, clock_ms, seed),
        }
    }
}

async fn read_view(
    inner: &Arc<Inner>,
    view: Arc<ReadView>,
    calls: &Arc<Vec<Call>>,
    by: By,
    wide: bool,
) -> Result<ReadOutcome, Denied> {
    if !wide {
        return look_up(inner, &view, calls, by);
    }
    let (calls, by) = (calls.clone(), judged_by(inner, by));
    let permit = inner.wide_reads.clone().acquire_owned().await;
    let permit = permit.map_err(|_| Denied::ShuttingDown)?;
    let reading = inner.environment.workers.run(move || {
        // To the end, also when nobody waits for it any more.
        let _permit = permit;
        by.read(&view, &calls, rand::random())
    });
    let result = reading.await.map_err(|error| Denied::Fault(error.to_string()))?;
    result.map_err(|fault| fail(inner, fault))
}

/// Carries out reads on the caller's thread.
fn look_up(inner: &Inner, view: &ReadView, calls: &[Call], by: By) -> Result<ReadOutcome, Denied> {
    judged_by(inner, by).read(view, calls, rand::random()).map_err(|fault| fail(inner, fault))
}

fn judged_by(inner: &Inner, by: By) -> By {
    if is_planted(Bug::ExpireByLocalClock) { By::Leader(inner.time.wall_ms()) } else { by }
}

fn fail(inner: &Inner, fault: Fault) -> Denied {
    inner.stores.fail(&fault);
    Denied::Fault(fault.0)
}

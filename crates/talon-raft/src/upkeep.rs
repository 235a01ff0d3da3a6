//! What a node does by itself: ticks for due expiries, purges, checkpoints, purging the log, giving up on lost calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use talon_core::commands::talon::PURGE;
use talon_core::{Call, Reply, Request};

use crate::leadership::Leadership;
use crate::node::Inner;

/// How late an expiry may become visible on a follower, beyond its replication lag.
const TICK_INTERVAL: Duration = Duration::from_millis(100);
/// How often the leader is asked which members it hears.
const MEMBERS_INTERVAL: Duration = Duration::from_secs(1);
/// How long it may take to answer, ms.
const MEMBERS_MS_MAX: u64 = 1_000;
/// How often expired keys are looked for.
const PURGE_INTERVAL: Duration = Duration::from_millis(250);
/// How many keys one purge removes at most: it must not hold up the pipeline.
const PURGE_KEYS_MAX: i64 = 1000;
/// How often the log's size is looked at.
const LOG_INTERVAL: Duration = Duration::from_millis(500);
/// After how long a checkpoint that was asked for and has not come is asked for again, ms.
const ASK_AGAIN_MS: u64 = 5_000;
/// How often the clock is compared.
const CLOCK_INTERVAL: Duration = Duration::from_secs(2);
/// How long a leader's clock may be wrong before it hands over, ms. Long, so that two wrong clocks do not toss leadership about.
const WRONG_CLOCK_MS_MAX: u64 = 20_000;
/// How often lost calls are looked for.
const GIVE_UP_INTERVAL: Duration = Duration::from_millis(100);
/// How long after the loss of leadership a call may still turn out to be applied, ms.
const LOST_MS_MAX: u64 = 1_000;
/// How long a leader waits for an entry to be committed before it says that it does not know, ms.
const COMMIT_MS_MAX: u64 = 10_000;

/// While a row is due, the leader ticks, so that the key ends on followers too. With nothing due it writes nothing.
pub(crate) async fn keep_time(inner: Arc<Inner>) {
    loop {
        tokio::time::sleep(TICK_INTERVAL).await;
        let Some((_, clock_ms)) = leading_clock(&inner) else { continue };
        let Ok(view) = inner.stores.view() else { return };
        match view.next_expiry_ms() {
            Ok(Some(next_ms)) if next_ms <= clock_ms => {
                inner.proposer.submit(Vec::new(), inner.hold_deadline_ms()).await;
            }
            Ok(_) => {}
            Err(fault) => return inner.stores.fail(&fault),
        }
    }
}

/// Who follows asks the leader from time to time which members it hears: clients may ask this node.
pub(crate) async fn ask_for_members(inner: Arc<Inner>) {
    loop {
        tokio::time::sleep(MEMBERS_INTERVAL).await;
        if matches!(*inner.leadership.borrow(), Leadership::Following { .. }) {
            let deadline_ms = inner.time.monotonic_ms() + MEMBERS_MS_MAX;
            // What it says is learned on the way; without an answer, what is known grows old.
            let _ = inner.prober.ask(true, deadline_ms).await;
        }
    }
}

/// The term and the clock, if this node leads.
fn leading_clock(inner: &Inner) -> Option<(u64, u64)> {
    let leads = matches!(*inner.leadership.borrow(), Leadership::Leading { .. });
    if leads { inner.time.stamp() } else { None }
}

/// Removes what has ended, in the log, a bounded number at a time.
pub(crate) async fn purge_expired(inner: Arc<Inner>) {
    let mut more = false;
    loop {
        if !more {
            tokio::time::sleep(PURGE_INTERVAL).await;
        }
        more = false;
        if leading_clock(&inner).is_none() {
            continue;
        }
        let Ok(view) = inner.stores.view() else { return };
        if view.first_expiry_ms().is_none_or(|first_ms| first_ms > view.clock_ms()) {
            continue;
        }
        let number = |number: String| Bytes::from(number);
        let args = vec![number(view.clock_ms().to_string()), number(PURGE_KEYS_MAX.to_string())];
        let outcomes =
            inner.proposer.submit(vec![Call::One(Request::new(&PURGE, args))], inner.hold_deadline_ms()).await;
        more = matches!(outcomes.as_slice(), [Ok(Reply::Integer(PURGE_KEYS_MAX))]);
    }
}

/// Makes a checkpoint when the log has grown by so many bytes, and then lets the log behind it go, except for what
/// others still need, up to a cap.
pub(crate) async fn bound_the_log(inner: Arc<Inner>) {
    let mut asked_at_ms = None;
    loop {
        tokio::time::sleep(LOG_INTERVAL).await;
        inner.stores.remove_replaced();
        let checkpoint_index = inner.stores.checkpoint_index();
        let grown_bytes = inner.log.entry_bytes_from(checkpoint_index.unwrap_or(0));
        // A follower that is being sent a checkpoint needs the log behind it, not a newer checkpoint; unless that gets too much.
        let sending = inner.stores.transfers.lowest_index().is_some();
        let wanted = grown_bytes > inner.settings.log_bytes_before_checkpoint
            && (!sending || grown_bytes > inner.settings.log_bytes_max);
        let applied_index = inner.status.borrow().applied_index;
        let now_ms = inner.time.monotonic_ms();
        let lately = asked_at_ms.is_some_and(|asked_ms| now_ms.saturating_sub(asked_ms) < ASK_AGAIN_MS);
        if wanted && !lately && checkpoint_index != Some(applied_index) {
            asked_at_ms = Some(now_ms);
            if let Err(error) = inner.raft.trigger().snapshot().await {
                tracing::warn!(%error, "raft makes no checkpoint");
                return;
            }
        }
        if let Some(index) = purgeable(&inner, checkpoint_index)
            && let Err(error) = inner.raft.trigger().purge_log(index).await
        {
            tracing::warn!(%error, "raft purges nothing");
            return;
        }
    }
}

/// Up to where the log may go, if it is worth it.
fn purgeable(inner: &Inner, checkpoint_index: Option<u64>) -> Option<u64> {
    let metrics = inner.raft.metrics().borrow_watched().clone();
    // Only what raft knows to be in a checkpoint.
    let known = metrics.snapshot.map(|position| position.index)?;
    let mut index = checkpoint_index?.min(known);
    let lagging = metrics.replication.iter().flatten().filter_map(|(_, matched)| Some(matched.as_ref()?.index));
    for needed in lagging.chain(inner.stores.transfers.lowest_index()) {
        if needed < index && inner.log.entry_bytes_from(needed) <= inner.settings.log_bytes_max {
            index = needed;
        }
    }
    let purged = metrics.purged.map_or(0, |position| position.index);
    let worth_it = inner.log.entry_bytes_from(purged).saturating_sub(inner.log.entry_bytes_from(index))
        >= inner.settings.log_bytes_before_checkpoint / 4;
    (index > purged && worth_it).then_some(index)
}

/// A leader whose wall clock differs too much from the voters' median says so, and prefers that another node leads. Its stamps follow
/// the median all the same.
pub(crate) async fn mind_the_clock(inner: Arc<Inner>) {
    let mut wrong_since_ms = None;
    loop {
        tokio::time::sleep(CLOCK_INTERVAL).await;
        let max_ms = i64::try_from(inner.settings.clock_skew_ms_max).unwrap_or(i64::MAX);
        let offset_ms = inner.time.offset_ms().filter(|offset_ms| offset_ms.abs() > max_ms);
        let (Some(offset_ms), Some(_)) = (offset_ms, leading_clock(&inner)) else {
            wrong_since_ms = None;
            continue;
        };
        let now_ms = inner.time.monotonic_ms();
        let since_ms = *wrong_since_ms.get_or_insert(now_ms);
        tracing::warn!(offset_ms, max_ms, "this machine's clock differs from the other voters' clocks");
        if now_ms.saturating_sub(since_ms) < WRONG_CLOCK_MS_MAX {
            continue;
        }
        wrong_since_ms = None;
        match inner.transfer_leadership(None).await {
            Ok(()) => tracing::warn!("handed leadership over because of the clock"),
            Err(error) => tracing::warn!(%error, "leadership was not handed over"),
        }
    }
}

/// Answers those whose calls were appended and will perhaps never be known to be applied.
pub(crate) async fn give_up_lost_calls(inner: Arc<Inner>) {
    let mut lost_at_ms = None;
    loop {
        tokio::time::sleep(GIVE_UP_INTERVAL).await;
        let now_ms = inner.time.monotonic_ms();
        if matches!(*inner.leadership.borrow(), Leadership::Leading { .. }) {
            lost_at_ms = None;
            inner.stores.pending.give_up(now_ms.saturating_sub(COMMIT_MS_MAX));
        } else {
            let lost_ms = *lost_at_ms.get_or_insert(now_ms);
            if now_ms.saturating_sub(lost_ms) >= LOST_MS_MAX {
                inner.stores.pending.give_up(u64::MAX);
            }
        }
    }
}

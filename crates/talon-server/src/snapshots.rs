//! The users' point-in-time handles: a bounded number of them, each with a time to live.
//!
//! A handle keeps old data from being dropped by the storage, so one that nobody extends must end by itself.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use talon_core::PointInTime;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until};

/// How many snapshots may be kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotLimits {
    /// How many are kept at once.
    pub snapshots_max: usize,
    /// How long one is kept if its maker does not say.
    pub ttl_default: Duration,
    /// How long one may be kept without being extended.
    pub ttl_max: Duration,
}

impl Default for SnapshotLimits {
    fn default() -> SnapshotLimits {
        SnapshotLimits { snapshots_max: 64, ttl_default: Duration::from_secs(60), ttl_max: Duration::from_secs(3_600) }
    }
}

/// Why a snapshot was not made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// A time to live above [`SnapshotLimits::ttl_max`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// All snapshots of this node, whichever front door they were made at.
pub struct Snapshots {
    kept: Mutex<Kept>,
    limits: SnapshotLimits,
    /// A nearer end than the sweeper waits for may be there.
    nearer_end: Notify,
}

struct Kept {
    next_id: u64,
    by_id: HashMap<u64, Snapshot>,
}

struct Snapshot {
    view: Arc<dyn PointInTime>,
    made: Instant,
    ends: Instant,
}

/// What is told of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// Its number.
    pub id: u64,
    /// The log index it stands at.
    pub index: u64,
    /// The replicated clock it is judged by, Unix ms.
    pub clock_ms: u64,
    /// How long ago it was made.
    pub age: Duration,
    /// How long it will be kept.
    pub rest: Duration,
}

impl std::fmt::Debug for Snapshots {
    /// Settings hold them and are printed.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Snapshots").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Default for Snapshots {
    fn default() -> Snapshots {
        Snapshots::new(SnapshotLimits::default())
    }
}

impl Snapshots {
    /// None yet.
    pub fn new(limits: SnapshotLimits) -> Snapshots {
        // Starts anywhere, so that an id from before a restart does not name a new snapshot; below 2^48, so that numbers stay exact even in
        // clients that read them as floats.
        let next_id = RandomState::new().hash_one(limits.snapshots_max) >> 16;
        Snapshots { kept: Mutex::new(Kept { next_id, by_id: HashMap::new() }), limits, nearer_end: Notify::new() }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // The map is whole at every moment, so a panic elsewhere did not leave it half changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another one may be made; asked before the work of making it.
    pub(crate) fn has_room(&self) -> bool {
        let now = Instant::now();
        self.kept().by_id.values().filter(|snapshot| snapshot.ends > now).count() < self.limits.snapshots_max
    }

    /// How many may be kept.
    pub(crate) fn limits(&self) -> SnapshotLimits {
        self.limits
    }

    /// How long one is kept for which this was asked; `None` = nothing was said.
    pub(crate) fn ttl(&self, asked: Option<Duration>) -> Result<Duration, TooLong> {
        match asked {
            None => Ok(self.limits.ttl_default.min(self.limits.ttl_max)),
            Some(ttl) if ttl > self.limits.ttl_max => Err(TooLong),
            Some(ttl) => Ok(ttl),
        }
    }

    /// All that have not ended, oldest first.
    pub(crate) fn list(&self) -> Vec<Described> {
        let now = Instant::now();
        let kept = self.kept();
        let lasting = kept.by_id.iter().filter(|(_, snapshot)| snapshot.ends > now);
        let describe = |(id, snapshot): (&u64, &Snapshot)| Described {
            id: *id,
            index: snapshot.view.index(),
            clock_ms: snapshot.view.clock_ms(),
            age: now - snapshot.made,
            rest: snapshot.ends - now,
        };
        let mut all: Vec<Described> = lasting.map(describe).collect();
        all.sort_by_key(|snapshot| snapshot.id);
        all
    }

    /// Keeps `view` for `ttl`; returns its id.
    pub(crate) fn keep(&self, view: Arc<dyn PointInTime>, ttl: Duration) -> Result<u64, TooMany> {
        let now = Instant::now();
        let mut kept = self.kept();
        kept.by_id.retain(|_, snapshot| snapshot.ends > now);
        if kept.by_id.len() >= self.limits.snapshots_max {
            return Err(TooMany);
        }
        let id = kept.next_id;
        kept.next_id += 1;
        kept.by_id.insert(id, Snapshot { view, made: now, ends: now + ttl });
        drop(kept);
        self.nearer_end.notify_one();
        Ok(id)
    }

    /// The state a snapshot stands for, if it has not ended.
    pub(crate) fn view(&self, id: u64) -> Option<Arc<dyn PointInTime>> {
        let kept = self.kept();
        let snapshot = kept.by_id.get(&id)?;
        (snapshot.ends > Instant::now()).then(|| Arc::clone(&snapshot.view))
    }

    /// Gives a snapshot that has not ended a new time to live; false if there is none.
    pub(crate) fn extend(&self, id: u64, ttl: Duration) -> bool {
        let now = Instant::now();
        let mut kept = self.kept();
        let Some(snapshot) = kept.by_id.get_mut(&id).filter(|snapshot| snapshot.ends > now) else { return false };
        snapshot.ends = now + ttl;
        drop(kept);
        self.nearer_end.notify_one();
        true
    }

    /// Ends a snapshot; false if there was none. Scans that read from it go on to their end.
    pub(crate) fn release(&self, id: u64) -> bool {
        let removed = self.kept().by_id.remove(&id);
        removed.is_some_and(|snapshot| snapshot.ends > Instant::now())
    }

    /// Lets go of snapshots at their end, for ever.
    pub(crate) async fn sweep(&self) {
        loop {
            let next_end = {
                let now = Instant::now();
                let mut kept = self.kept();
                kept.by_id.retain(|_, snapshot| snapshot.ends > now);
                kept.by_id.values().map(|snapshot| snapshot.ends).min()
            };
            match next_end {
                Some(end) => tokio::select! {
                    () = sleep_until(end) => {}
                    () = self.nearer_end.notified() => {}
                },
                None => self.nearer_end.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use talon_core::{Outcome, Reply, Request};

    use super::*;

    struct Nowhere;

    impl PointInTime for Nowhere {
        fn read(&self, _: &Request) -> Outcome {
            Ok(Reply::Null)
        }

        fn index(&self) -> u64 {
            7
        }

        fn clock_ms(&self) -> u64 {
            0
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_ends_by_itself_unless_it_is_extended() {
        let limits = SnapshotLimits { snapshots_max: 2, ..SnapshotLimits::default() };
        let snapshots = Arc::new(Snapshots::new(limits));
        let sweeper = tokio::spawn({
            let snapshots = Arc::clone(&snapshots);
            async move { snapshots.sweep().await }
        });
        let view: Arc<dyn PointInTime> = Arc::new(Nowhere);
        let short = snapshots.keep(Arc::clone(&view), Duration::from_millis(100)).expect("room");
        let long = snapshots.keep(Arc::clone(&view), Duration::from_millis(100)).expect("room");
        assert!(!snapshots.has_room());
        assert_eq!(snapshots.keep(Arc::clone(&view), Duration::from_millis(100)), Err(TooMany));
        assert!(snapshots.extend(long, Duration::from_millis(500)));

        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(snapshots.view(short).is_none());
        assert!(!snapshots.extend(short, Duration::from_secs(1)), "what has ended cannot be extended");
        assert_eq!(snapshots.view(long).expect("extended").index(), 7);
        // The storage's view is let go without anybody asking for it.
        assert_eq!(Arc::strong_count(&view), 2);

        assert!(snapshots.release(long));
        assert!(!snapshots.release(long));
        assert!(snapshots.has_room());
        assert_eq!(Arc::strong_count(&view), 1);
        sweeper.abort();
    }
}

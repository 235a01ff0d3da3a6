//! The users' point-in-time handles: a bounded number of them, each with a time to live.
//!
//! A handle keeps old data from being dropped by the storage, so one that nobody extends must end by itself.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use talon_core::PointInTime;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until};

/// Why a snapshot was not made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// All snapshots of this node.
pub(super) struct Snapshots {
    kept: Mutex<Kept>,
    snapshots_max: usize,
    /// A nearer end than the sweeper waits for may be there.
    nearer_end: Notify,
}

struct Kept {
    next_id: u64,
    by_id: HashMap<u64, Snapshot>,
}

struct Snapshot {
    view: Arc<dyn PointInTime>,
    ends: Instant,
}

impl Snapshots {
    pub(super) fn new(snapshots_max: usize) -> Snapshots {
        // Starts anywhere, so that an id from before a restart does not name a new snapshot.
        let next_id = RandomState::new().hash_one(snapshots_max) >> 1;
        Snapshots {
            kept: Mutex::new(Kept { next_id, by_id: HashMap::new() }),
            snapshots_max,
            nearer_end: Notify::new(),
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // The map is whole at every moment, so a panic elsewhere did not leave it half changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another one may be made; asked before the work of making it.
    pub(super) fn has_room(&self) -> bool {
        let now = Instant::now();
        self.kept().by_id.values().filter(|snapshot| snapshot.ends > now).count() < self.snapshots_max
    }

    /// Keeps `view` for `ttl`; returns its id.
    pub(super) fn keep(&self, view: Arc<dyn PointInTime>, ttl: Duration) -> Result<u64, TooMany> {
        let now = Instant::now();
        let mut kept = self.kept();
        kept.by_id.retain(|_, snapshot| snapshot.ends > now);
        if kept.by_id.len() >= self.snapshots_max {
            return Err(TooMany);
        }
        let id = kept.next_id;
        kept.next_id += 1;
        kept.by_id.insert(id, Snapshot { view, ends: now + ttl });
        drop(kept);
        self.nearer_end.notify_one();
        Ok(id)
    }

    /// The state a snapshot stands for, if it has not ended.
    pub(super) fn view(&self, id: u64) -> Option<Arc<dyn PointInTime>> {
        let kept = self.kept();
        let snapshot = kept.by_id.get(&id)?;
        (snapshot.ends > Instant::now()).then(|| Arc::clone(&snapshot.view))
    }

    /// Gives a snapshot that has not ended a new time to live; false if there is none.
    pub(super) fn extend(&self, id: u64, ttl: Duration) -> bool {
        let now = Instant::now();
        let mut kept = self.kept();
        let Some(snapshot) = kept.by_id.get_mut(&id).filter(|snapshot| snapshot.ends > now) else { return false };
        snapshot.ends = now + ttl;
        drop(kept);
        self.nearer_end.notify_one();
        true
    }

    /// Ends a snapshot; false if there was none. Scans that read from it go on to their end.
    pub(super) fn release(&self, id: u64) -> bool {
        let removed = self.kept().by_id.remove(&id);
        removed.is_some_and(|snapshot| snapshot.ends > Instant::now())
    }

    /// Lets go of snapshots at their end, for ever.
    pub(super) async fn sweep(&self) {
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
        let snapshots = Arc::new(Snapshots::new(2));
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

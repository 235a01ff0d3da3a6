//! Watched keys (`WATCH`): which transactions were told to depend on which keys, and which of these have been touched since.
//!
//! Only the node that leads knows of them; nothing of this is replicated. Whoever applies tells what an entry touched in the same
//! moment in which its state becomes the newest one, under one lock; and a watch takes its state to look at under that lock, too. So
//! each write is either in that state, or touches the watch.
//!
//! A node that forwards to the leader has only a [`RemoteWatch`]: the name of one that the leader keeps for it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::value::Record;

/// What was touched by one step of the state: keys that a live record was stored under or removed from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touches {
    /// Single keys.
    pub keys: Vec<Bytes>,
    /// Ranges of which every live record was removed; the end is exclusive, `None` = to the last key.
    pub ranges: Vec<(Bytes, Option<Bytes>)>,
}

/// Every key that is watched on this node.
#[derive(Debug, Default)]
pub struct Watches(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    keys: BTreeMap<Bytes, Vec<Arc<Watched>>>,
    /// A step began while nothing was watched, so that nobody knows what it touches.
    untold: bool,
}

/// One key as one watch has it.
#[derive(Debug)]
struct Watched {
    touched: AtomicBool,
    /// There was a live record when the watch began. (Until that is known, it counts as there.)
    live: AtomicBool,
}

/// Keys that one client has asked to watch, from one moment on. Dropped, they are watched no longer.
#[derive(Debug)]
pub enum Watch {
    /// By this node.
    Local(LocalWatch),
    /// By another node.
    Remote(RemoteWatch),
}

impl Watch {
    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        let (local, remote) = match self {
            Watch::Local(watch) => (Some(watch.keys()), None),
            Watch::Remote(watch) => (None, Some(watch.keys.iter())),
        };
        local.into_iter().flatten().chain(remote.into_iter().flatten())
    }

    /// Whether nothing has happened to its keys up to the newest state of this node, nor will by itself at the time `stamp_ms` of `term`. Of
    /// what another node watches, only that one can say so: here, it does not hold.
    pub fn holds(&self, term: u64, stamp_ms: u64) -> bool {
        match self {
            Watch::Local(watch) => watch.holds(term, stamp_ms),
            Watch::Remote(_) => false,
        }
    }
}

impl From<LocalWatch> for Watch {
    fn from(watch: LocalWatch) -> Watch {
        Watch::Local(watch)
    }
}

/// Which watch of which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchId {
    /// Who keeps it.
    pub node_id: u64,
    /// The term in which that node leads: in another one it knows nothing of it.
    pub term: u64,
    /// That node's number for it.
    pub number: u64,
}

/// Hears of remote watches that are not needed any more.
pub trait Releaser: Debug + Send + Sync {
    /// This one was dropped. Must not block.
    fn release(&self, id: WatchId);
}

/// Keys that another node watches for a client of this one.
#[derive(Debug)]
pub struct RemoteWatch {
    id: WatchId,
    keys: Vec<Bytes>,
    /// Nobody, once it is known that the other node has it no more.
    releaser: Option<Arc<dyn Releaser>>,
}

impl RemoteWatch {
    /// Of these keys; whoever has it no more lets `releaser` know.
    pub fn new(id: WatchId, keys: &[Bytes], releaser: Arc<dyn Releaser>) -> RemoteWatch {
        // Copies: a slice would keep the whole block it came from.
        let keys = keys.iter().map(|key| Bytes::copy_from_slice(key)).collect();
        RemoteWatch { id, keys, releaser: Some(releaser) }
    }

    /// Which one it is.
    pub fn id(&self) -> WatchId {
        self.id
    }

    /// Ends it: the other node has it no more.
    pub fn forget(mut self) {
        self.releaser = None;
    }
}

impl Drop for RemoteWatch {
    fn drop(&mut self) {
        if let Some(releaser) = &self.releaser {
            releaser.release(self.id);
        }
    }
}

/// Keys that this node watches, from one moment on.
#[derive(Debug)]
pub struct LocalWatch {
    watches: Arc<Watches>,
    keys: Vec<(Bytes, Arc<Watched>)>,
    /// When the first of the keys ends by itself, Unix ms; 0 = never.
    first_end_ms: u64,
    /// The term it belongs to: whoever leads another one knows nothing of it.
    term: u64,
}

impl Watches {
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step of the state begins; whether somebody watches, so that it has to tell what it touches.
    pub fn begin(&self) -> bool {
        let mut registry = self.lock();
        registry.untold = registry.keys.is_empty();
        !registry.untold
    }

    /// A step of the state ends: `publish` makes the new state the newest one. `touches` is what it touched, if it was told to tell.
    pub fn end(&self, touches: Option<Touches>, publish: impl FnOnce()) {
        let mut registry = self.lock();
        publish();
        registry.untold = false;
        for key in touches.iter().flat_map(|touches| &touches.keys) {
            for watched in registry.keys.get(key).into_iter().flatten() {
                watched.touched.store(true, Ordering::Release);
            }
        }
        for (from, until) in touches.iter().flat_map(|touches| &touches.ranges) {
            let end = until.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            if until.as_ref().is_some_and(|until| until <= from) {
                continue;
            }
            for watched in registry.keys.range::<Bytes, _>((Bound::Included(from), end)).flat_map(|(_, all)| all) {
                if watched.live.load(Ordering::Acquire) {
                    watched.touched.store(true, Ordering::Release);
                }
            }
        }
    }

    /// Has `keys` watched. From when on, [`LocalWatch::begin`] says.
    pub fn watch(self: &Arc<Watches>, keys: &[Bytes]) -> LocalWatch {
        let mut watch =
            LocalWatch { watches: self.clone(), keys: Vec::with_capacity(keys.len()), first_end_ms: 0, term: 0 };
        let mut registry = self.lock();
        for key in keys {
            // A copy: a slice would keep the whole block it came from.
            let key = Bytes::copy_from_slice(key);
            let watched = Arc::new(Watched { touched: AtomicBool::new(false), live: AtomicBool::new(true) });
            registry.keys.entry(key.clone()).or_default().push(watched.clone());
            watch.keys.push((key, watched));
        }
        watch
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.lock().keys.is_empty()
    }
}

impl LocalWatch {
    /// Begins to count what happens to its keys, from the state on that is taken with `state`. `None` while a step is under way that began before
    /// anybody watched, and does not tell what it touches: ask again in a moment, for the next one tells.
    pub fn begin<S>(&self, state: impl FnOnce() -> S) -> Option<S> {
        let registry = self.watches.lock();
        if registry.untold {
            return None;
        }
        self.keys.iter().for_each(|(_, watched)| watched.touched.store(false, Ordering::Release));
        Some(state())
    }

    /// Completes it with what lay under its keys, in their order, when it began; `now_ms` is the clock by which that is judged, and `term`
    /// the term in which it counts.
    pub fn judge(&mut self, records: &[Option<Record>], now_ms: u64, term: u64) {
        self.term = term;
        let mut ends = Vec::new();
        for ((_, watched), record) in self.keys.iter().zip(records) {
            let live = record.as_ref().filter(|record| !record.expired_at(now_ms));
            watched.live.store(live.is_some(), Ordering::Release);
            ends.extend(live.map(|record| record.expire_at_ms).filter(|end_ms| *end_ms != 0));
        }
        self.first_end_ms = ends.into_iter().min().unwrap_or(0);
    }

    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.keys.iter().map(|(key, _)| key)
    }

    /// Whether nothing has happened to its keys up to the newest state, nor will by itself at the time `stamp_ms` of `term`.
    pub fn holds(&self, term: u64, stamp_ms: u64) -> bool {
        let ended = self.first_end_ms != 0 && self.first_end_ms <= stamp_ms;
        term == self.term && !ended && self.keys.iter().all(|(_, watched)| !watched.touched.load(Ordering::Acquire))
    }
}

impl Drop for LocalWatch {
    fn drop(&mut self) {
        let mut registry = self.watches.lock();
        for (key, watched) in &self.keys {
            if let Some(all) = registry.keys.get_mut(key) {
                all.retain(|other| !Arc::ptr_eq(other, watched));
                if all.is_empty() {
                    registry.keys.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &'static str) -> Bytes {
        Bytes::from_static(name.as_bytes())
    }

    fn record(expire_at_ms: u64) -> Option<Record> {
        Some(Record { value: key("v"), expire_at_ms })
    }

    fn watch(watches: &Arc<Watches>, keys: &[Bytes], records: &[Option<Record>]) -> LocalWatch {
        let mut watch = watches.watch(keys);
        watch.begin(|| ()).expect("nothing is under way");
        watch.judge(records, 1_000, 7);
        watch
    }

    fn touch(watches: &Watches, keys: &[Bytes]) {
        assert!(watches.begin());
        watches.end(Some(Touches { keys: keys.to_vec(), ranges: vec![] }), || ());
    }

    #[test]
    fn a_touch_of_its_keys_ends_it_and_no_other() {
        let watches = Arc::new(Watches::default());
        let one = watch(&watches, &[key("a"), key("b")], &[None, record(0)]);
        let other = watch(&watches, &[key("b")], &[record(0)]);
        touch(&watches, &[key("c")]);
        assert!(one.holds(7, 1_000) && other.holds(7, u64::MAX));
        assert!(!one.holds(8, 1_000), "in another term nobody knows");
        touch(&watches, &[key("a")]);
        assert!(!one.holds(7, 1_000) && other.holds(7, 1_000));
        drop((one, other));
        assert!(watches.is_empty());
    }

    #[test]
    fn the_end_of_a_live_key_counts_and_that_of_an_ended_one_does_not() {
        let watches = Arc::new(Watches::default());
        let live = watch(&watches, &[key("a"), key("b")], &[record(2_000), record(3_000)]);
        assert!(live.holds(7, 1_999) && !live.holds(7, 2_000));
        let ended = watch(&watches, &[key("a")], &[record(1_000)]);
        assert!(ended.holds(7, u64::MAX));
    }

    #[test]
    fn a_range_touches_what_was_there() {
        let watches = Arc::new(Watches::default());
        let there = watch(&watches, &[key("b")], &[record(0)]);
        let missing = watch(&watches, &[key("b")], &[None]);
        let outside = watch(&watches, &[key("c")], &[record(0)]);
        let range =
            |from, until: Option<&'static str>| Touches { keys: vec![], ranges: vec![(key(from), until.map(key))] };
        watches.begin();
        watches.end(Some(range("b", Some("c"))), || ());
        assert!(!there.holds(7, 0) && missing.holds(7, 0) && outside.holds(7, 0));
        watches.begin();
        watches.end(Some(range("", None)), || ());
        assert!(!outside.holds(7, 0) && missing.holds(7, 0));
    }

    #[test]
    fn nothing_is_missed_by_a_watch_that_begins_during_a_step() {
        let watches = Arc::new(Watches::default());
        assert!(!watches.begin(), "nobody watches");
        let mut one = watches.watch(&[key("a")]);
        assert!(one.begin(|| ()).is_none(), "this step will not tell");
        watches.end(None, || ());
        assert!(watches.begin(), "the next one will");
        one.begin(|| ()).expect("this one tells");
        one.judge(&[None], 1_000, 7);
        let other = watch(&watches, &[key("a")], &[None]);
        watches.end(Some(Touches { keys: vec![key("a")], ranges: vec![] }), || ());
        assert!(!one.holds(7, 0) && !other.holds(7, 0));
    }

    #[derive(Debug, Default)]
    struct Released(Mutex<Vec<WatchId>>);

    impl Releaser for Released {
        fn release(&self, id: WatchId) {
            self.0.lock().expect("nobody panics with it").push(id);
        }
    }

    #[test]
    fn a_remote_one_never_holds_here_and_is_released_unless_it_is_gone() {
        let released = Arc::new(Released::default());
        let id = |number| WatchId { node_id: 2, term: 7, number };
        let remote = |number| RemoteWatch::new(id(number), &[key("a"), key("b")], released.clone());
        let watch = Watch::Remote(remote(1));
        assert_eq!(watch.keys().collect::<Vec<_>>(), [&key("a"), &key("b")]);
        assert!(!watch.holds(7, 0));
        drop(watch);
        remote(2).forget();
        assert_eq!(*released.0.lock().expect("nobody panics with it"), [id(1)]);
    }
}

//! What this node watches, as the leader, for clients of other members.
//!
//! A member names a watch by its number, which is drawn at random, so that no number means another watch after a restart. It renews what its
//! clients still need; what it does not (it is gone, or its message was lost) ends by itself. A watch that is not there any more ends its
//! transaction, never lets it go ahead.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use talon_core::random::SplitMix64;
use talon_core::{LocalWatch, Watch};

/// How long a watch is kept behind the last time that its member has named it, ms.
pub(crate) const KEPT_MS_MAX: u64 = 60_000;
/// How many bytes of watches are kept for one member, its keys and what they take besides: about 200,000 short keys.
const MEMBER_BYTES_MAX: usize = 64 << 20;
/// What a watched key takes beside its bytes, about.
const KEY_BYTES: usize = 320;

/// All of them.
pub(crate) struct RemoteWatches(Mutex<Table>);

struct Table {
    numbers: SplitMix64,
    kept: BTreeMap<u64, Kept>,
    /// The bytes of what is kept for each member.
    bytes: BTreeMap<u64, usize>,
}

struct Kept {
    watch: LocalWatch,
    term: u64,
    /// The member.
    owner: u64,
    bytes: usize,
    /// Monotonic.
    until_ms: u64,
}

impl RemoteWatches {
    /// None. Their numbers follow from `seed`.
    pub fn new(seed: u64) -> RemoteWatches {
        RemoteWatches(Mutex::new(Table { numbers: SplitMix64(seed), kept: BTreeMap::new(), bytes: BTreeMap::new() }))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a watch of this term for a member; its number. `None`: too much is kept for that member.
    pub fn keep(&self, owner: u64, watch: LocalWatch, term: u64, now_ms: u64) -> Option<u64> {
        let bytes = watch.keys().map(|key| KEY_BYTES + key.len()).sum();
        let mut table = self.table();
        let owned = table.bytes.entry(owner).or_default();
        if *owned + bytes > MEMBER_BYTES_MAX {
            return None;
        }
        *owned += bytes;
        let number = table.numbers.draw();
        let kept = Kept { watch, term, owner, bytes, until_ms: now_ms.saturating_add(KEPT_MS_MAX) };
        let other = table.kept.insert(number, kept);
        debug_assert!(other.is_none(), "no number comes twice");
        Some(number)
    }

    /// Takes watches of a member out, for a transaction that depends on all of them. `None`: one is not there (any more).
    pub fn take(&self, owner: u64, numbers: &[u64], now_ms: u64) -> Option<Vec<Watch>> {
        let mut table = self.table();
        let taken: Vec<Option<Kept>> = numbers.iter().map(|number| table.remove(owner, *number)).collect();
        // Ended watches are dropped without the lock.
        drop(table);
        let alive = |kept: Option<Kept>| kept.filter(|kept| now_ms < kept.until_ms).map(|kept| kept.watch.into());
        taken.into_iter().map(alive).collect()
    }

    /// A member does not need these any more.
    pub fn release(&self, owner: u64, numbers: &[u64]) {
        let mut table = self.table();
        let released: Vec<Option<Kept>> = numbers.iter().map(|number| table.remove(owner, *number)).collect();
        drop(table);
        drop(released);
    }

    /// A member still needs these.
    pub fn renew(&self, owner: u64, numbers: &[u64], now_ms: u64) {
        let mut table = self.table();
        for number in numbers {
            // One that has ended may not have been looked at yet.
            if let Some(kept) = table.kept.get_mut(number)
                && kept.owner == owner
                && now_ms < kept.until_ms
            {
                kept.until_ms = now_ms.saturating_add(KEPT_MS_MAX);
            }
        }
    }

    /// Lets those go that nobody has named for too long, and those of which `may_count` says that their term is over.
    pub fn prune(&self, now_ms: u64, may_count: impl Fn(u64) -> bool) {
        let mut table = self.table();
        let is_over = |kept: &Kept| now_ms >= kept.until_ms || !may_count(kept.term);
        let ended: Vec<Kept> = table.kept.extract_if(.., |_, kept| is_over(kept)).map(|(_, kept)| kept).collect();
        ended.iter().for_each(|kept| table.give_back(kept));
        drop(table);
        drop(ended);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table().kept.len()
    }
}

impl Table {
    fn remove(&mut self, owner: u64, number: u64) -> Option<Kept> {
        let is_owned = self.kept.get(&number).is_some_and(|kept| kept.owner == owner);
        let kept = if is_owned { self.kept.remove(&number) } else { None };
        kept.inspect(|kept| self.give_back(kept))
    }

    fn give_back(&mut self, kept: &Kept) {
        if let Some(owned) = self.bytes.get_mut(&kept.owner) {
            *owned -= kept.bytes;
            if *owned == 0 {
                self.bytes.remove(&kept.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use talon_core::Watches;

    use super::*;

    const TERM: u64 = 3;

    fn watch(watches: &Arc<Watches>, keys: &[Bytes]) -> LocalWatch {
        let mut watch = watches.watch(keys);
        watch.begin(|| ()).unwrap();
        watch.judge(&vec![None; keys.len()], 0, TERM);
        watch
    }

    fn one(watches: &Arc<Watches>) -> LocalWatch {
        watch(watches, &[Bytes::from_static(b"k")])
    }

    #[test]
    fn it_is_there_once_for_its_member_and_only_whole() {
        let (watches, remote) = (Arc::new(Watches::default()), RemoteWatches::new(1));
        let keep = |owner| remote.keep(owner, one(&watches), TERM, 0).unwrap();
        let (first, second, foreign) = (keep(2), keep(2), keep(3));
        assert!(remote.take(3, &[first], 0).is_none(), "it is another member's");
        let taken = remote.take(2, &[first, second], 0).unwrap();
        assert!(taken.len() == 2 && taken.iter().all(|watch| watch.holds(TERM, 0)));
        assert!(remote.take(2, &[first], 0).is_none(), "once");
        let third = keep(2);
        assert!(remote.take(2, &[third, foreign], 0).is_none());
        assert!(remote.take(2, &[third], 0).is_none(), "whoever asks for it ends it");
        remote.release(2, &[foreign]);
        assert_eq!(remote.len(), 1, "only its member releases it");
        remote.release(3, &[foreign]);
        drop(taken);
        assert!(remote.len() == 0 && watches.is_empty());
    }

    #[test]
    fn it_ends_unless_it_is_renewed_in_time_or_when_its_term_does() {
        let (watches, remote) = (Arc::new(Watches::default()), RemoteWatches::new(1));
        let keep = || remote.keep(2, one(&watches), TERM, 1_000).unwrap();
        let (renewed, late, forgotten) = (keep(), keep(), keep());
        remote.renew(2, &[renewed], 900 + KEPT_MS_MAX);
        remote.renew(3, &[late], 900 + KEPT_MS_MAX);
        remote.renew(2, &[late], 1_000 + KEPT_MS_MAX);
        let end_ms = 1_000 + KEPT_MS_MAX;
        assert!(remote.take(2, &[late], end_ms).is_none());
        remote.prune(end_ms - 1, |term| term == TERM);
        assert_eq!(remote.len(), 2);
        remote.prune(end_ms, |term| term == TERM);
        assert!(remote.take(2, &[forgotten], 0).is_none());
        assert_eq!(remote.take(2, &[renewed], end_ms + KEPT_MS_MAX - 101).map(|watches| watches.len()), Some(1));
        keep();
        remote.prune(1_000, |term| term != TERM);
        assert!(remote.len() == 0 && watches.is_empty());
    }

    #[test]
    fn what_is_kept_for_a_member_is_bounded() {
        let (watches, remote) = (Arc::new(Watches::default()), RemoteWatches::new(1));
        let long = Bytes::from(vec![b'k'; (MEMBER_BYTES_MAX / 2) - KEY_BYTES]);
        let half = || watch(&watches, std::slice::from_ref(&long));
        let first = remote.keep(2, half(), TERM, 0).unwrap();
        assert!(remote.keep(2, half(), TERM, 0).is_some());
        assert!(remote.keep(2, one(&watches), TERM, 0).is_none());
        assert!(remote.keep(3, one(&watches), TERM, 0).is_some(), "another member's have their own room");
        remote.release(2, &[first]);
        assert!(remote.keep(2, half(), TERM, 0).is_some());
        assert!(remote.keep(2, one(&watches), TERM, 0).is_none());
    }
}

//! Who leads, as far as this node may rely on it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many nodes are remembered to have hung up: more than any cluster has.
const LEFT_MAX: usize = 64;

/// What calls on this node may count on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// This node leads this term and has applied the term's first entry: it may stamp and read.
    Leading {
        /// The term.
        term: u64,
    },
    /// Another node leads, was heard lately, and has not hung up since.
    Following {
        /// Its number.
        leader_id: u64,
    },
    /// This node was elected and is not ready, or has lost its quorum: whoever asks the leader has to wait.
    Unsettled,
    /// Nobody is known to lead.
    Nobody,
}

/// When a leader was last heard, and what it said first.
#[derive(Debug)]
pub struct Heard {
    at_ms: AtomicU64,
    /// What a leader had committed when it was first heard since this node's start; `u64::MAX` = not heard yet.
    first_committed: AtomicU64,
    /// Whose connections have ended since a leader was last heard. One that led before may hang up behind the one that leads.
    left: Mutex<BTreeSet<u64>>,
}

impl Heard {
    /// Nobody was heard yet; the age counts from `now_ms`.
    pub fn new(now_ms: u64) -> Heard {
        Heard { at_ms: AtomicU64::new(now_ms), first_committed: AtomicU64::new(u64::MAX), left: Mutex::default() }
    }

    fn left(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A leader was heard.
    pub fn hear(&self, now_ms: u64, committed_index: Option<u64>) {
        self.at_ms.fetch_max(now_ms, Ordering::AcqRel);
        self.left().clear();
        if let Some(index) = committed_index {
            let _ = self.first_committed.compare_exchange(u64::MAX, index, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// A connection of this node's has ended: its process may be gone. What it says next takes that back.
    pub fn leave(&self, node_id: u64) {
        let mut left = self.left();
        if left.len() < LEFT_MAX {
            left.insert(node_id);
        }
    }

    /// Whether a connection of this node's has ended, and no leader was heard since.
    pub fn has_left(&self, node_id: u64) -> bool {
        self.left().contains(&node_id)
    }

    /// How long ago a leader was heard, ms.
    pub fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.at_ms.load(Ordering::Acquire))
    }

    /// What a leader had committed when it was first heard.
    pub fn first_committed(&self) -> Option<u64> {
        let index = self.first_committed.load(Ordering::Acquire);
        (index != u64::MAX).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hangs_up_is_gone_until_a_leader_is_heard() {
        let heard = Heard::new(0);
        assert!(!heard.has_left(1));
        heard.leave(1);
        assert!(heard.has_left(1) && !heard.has_left(2));
        heard.leave(3);
        assert!(heard.has_left(1) && heard.has_left(3), "one does not come back because another one goes, too");
        heard.hear(5, None);
        assert!(!heard.has_left(1) && !heard.has_left(3));
        (0..1_000).for_each(|node_id| heard.leave(node_id));
        assert_eq!(heard.left().len(), LEFT_MAX);
    }
}

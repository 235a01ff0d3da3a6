//! Which views there are: what they see has to stay.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The positions of all views.
#[derive(Default)]
pub(super) struct Live(Mutex<BTreeMap<u64, usize>>);

impl Live {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is one more view at this position.
    pub fn enter(&self, at: u64) {
        *self.counts().entry(at).or_default() += 1;
    }

    /// There is one less.
    pub fn leave(&self, at: u64) {
        let mut counts = self.counts();
        if let Some(count) = counts.get_mut(&at) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&at);
            }
        }
    }

    /// Puts the positions into `positions`, ascending.
    pub fn list(&self, positions: &mut Vec<u64>) {
        positions.clear();
        positions.extend(self.counts().keys());
    }
}

/// What a writer knows of those who read while it writes: views at these positions, and new ones at the published position.
pub(super) struct Seen<'a> {
    /// The last operation that views can see.
    pub published: u64,
    /// The positions of the views there are, ascending.
    pub live: &'a [u64],
}

impl Seen<'_> {
    /// Whether a view sees what was written at `sequence` and again at `later`, which is not above the published position.
    pub fn is_needed(&self, sequence: u64, later: u64) -> bool {
        let first = self.live.partition_point(|at| *at < sequence);
        self.live.get(first).is_some_and(|at| *at < later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_two_versions_is_needed() {
        let seen = Seen { published: 9, live: &[3, 7] };
        assert!(seen.is_needed(3, 4) && seen.is_needed(1, 4) && seen.is_needed(5, 9));
        assert!(!seen.is_needed(4, 7) && !seen.is_needed(8, 9) && !seen.is_needed(1, 3));
    }

    #[test]
    fn a_position_is_live_until_its_last_view_ends() {
        let (live, mut list) = (Live::default(), Vec::new());
        live.enter(5);
        live.enter(5);
        live.enter(2);
        live.leave(5);
        live.list(&mut list);
        assert_eq!(list, [2, 5]);
        live.leave(5);
        live.list(&mut list);
        assert_eq!(list, [2]);
    }
}

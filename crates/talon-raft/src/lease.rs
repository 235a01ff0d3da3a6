//! The guard of lease reads (design: rule 8 of the clock in the log).
//!
//! openraft's own lease is not enough: it says nothing right after a restored vote or a transfer, and it is as long as the followers'.
//! This guard counts only acknowledgements that a quorum gave to requests *sent* less than 75 % of the lease ago, on a
//! clock that counts suspended time.
//!
//! Nor is its word on a read index: a reply that names a log position counts there for every request that ends at it, so a reply
//! from before a pause can pass for one to a request from behind it. So a read index, too, needs acknowledgements that are
//! counted here, one for one, of requests that were sent after it was asked for.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// The part of the lease that a leader relies on, in percent; the rest is for clocks that drift.
const RELIED_ON_PERCENT: u64 = 75;

/// Who has acknowledged this node as leader of which term, and when the acknowledged request was sent.
#[derive(Debug)]
pub struct LeaseGuard {
    lease_ms: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    term: u64,
    /// By node: the newest acknowledged request.
    acknowledged: BTreeMap<u64, Sent>,
    /// The number of the newest request.
    newest: u64,
    /// Leadership is being handed over: the target may win an election inside the lease.
    barred: bool,
    /// How often it was barred.
    bars: u64,
}

/// A request to a follower. Those of a later moment have higher numbers, to whichever follower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sent {
    number: u64,
    /// When it was sent, monotonic ms.
    pub at_ms: u64,
}

impl LeaseGuard {
    /// A guard for a lease of `lease_ms` (the followers refuse to vote that long after they heard from a leader).
    pub fn new(lease_ms: u64) -> LeaseGuard {
        LeaseGuard { lease_ms, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A request is about to be sent.
    pub fn sending(&self, at_ms: u64) -> Sent {
        let mut state = self.state();
        state.newest += 1;
        Sent { number: state.newest, at_ms }
    }

    /// The number of the newest request up to now.
    pub fn newest(&self) -> u64 {
        self.state().newest
    }

    /// A follower has accepted this request of `term`.
    pub fn acknowledged(&self, node_id: u64, term: u64, sent: Sent) {
        let mut state = self.state();
        if term < state.term {
            return;
        }
        if term > state.term {
            *state = State { term, bars: state.bars, newest: state.newest, ..State::default() };
        }
        let newest = state.acknowledged.entry(node_id).or_insert(sent);
        *newest = (*newest).max(sent);
    }

    /// When that was sent which this follower has acknowledged last, as of this `term`, monotonic ms.
    pub fn last_acknowledged_ms(&self, term: u64, node_id: u64) -> Option<u64> {
        let state = self.state();
        state.acknowledged.get(&node_id).filter(|_| state.term == term).map(|sent| sent.at_ms)
    }

    /// Whether a quorum has accepted requests of `term` that were sent after the one with this number: this node (`own_id`)
    /// has led `term` since then.
    pub fn acknowledged_since(&self, term: u64, voter_sets: &[Vec<u64>], own_id: u64, number: u64) -> bool {
        let state = self.state();
        let since = |id| state.acknowledged.get(&id).is_some_and(|sent| state.term == term && sent.number > number);
        voter_sets.iter().all(|set| set.iter().filter(|id| **id == own_id || since(**id)).count() > set.len() / 2)
    }

    /// Up to when, monotonic ms, this node (`own_id`) is known to have led `term`: a quorum has accepted what it sent then, or
    /// later. `None` = that is not known of any moment.
    pub fn acknowledged_until_ms(&self, term: u64, voter_sets: &[Vec<u64>], own_id: u64, now_ms: u64) -> Option<u64> {
        let state = self.state();
        let by_set = voter_sets.iter().map(|set| {
            let accepted_ms = |id: &u64| {
                let sent = state.acknowledged.get(id).filter(|_| state.term == term);
                if *id == own_id { Some(now_ms) } else { sent.map(|sent| sent.at_ms) }
            };
            let mut newest_first: Vec<Option<u64>> = set.iter().map(accepted_ms).collect();
            newest_first.sort_unstable_by(|a, b| b.cmp(a));
            newest_first.get(set.len() / 2).copied().flatten()
        });
        by_set.min().flatten()
    }

    /// No lease reads from now on, until [`LeaseGuard::allow`]: a transfer is about to be triggered.
    pub fn bar(&self) {
        let mut state = self.state();
        state.barred = true;
        state.bars += 1;
    }

    /// A read index that began after the bar with this number has succeeded: this node still leads. A later bar stays.
    pub fn allow(&self, bar: u64) {
        let mut state = self.state();
        if state.bars == bar {
            state.barred = false;
        }
    }

    /// The number of the bar, if lease reads wait for a read index to succeed.
    pub fn barred(&self) -> Option<u64> {
        let state = self.state();
        state.barred.then_some(state.bars)
    }

    /// Whether no other node can have been elected by `now_ms`, given that this node (`own_id`) is leader of `term`.
    pub fn holds(&self, term: u64, voter_sets: &[Vec<u64>], own_id: u64, now_ms: u64) -> bool {
        let state = self.state();
        if state.barred || (state.term != term && voter_sets.iter().any(|set| set.as_slice() != [own_id])) {
            return false;
        }
        let relied_on_ms = self.lease_ms * RELIED_ON_PERCENT / 100;
        // Of a joint membership, each set needs its own majority. A leader that is being removed has none to rely on: openraft hands its
        // leadership over by itself, inside the lease.
        voter_sets.iter().all(|set| {
            if !set.contains(&own_id) {
                return false;
            }
            let fresh = set.iter().filter(|id| {
                **id == own_id
                    || state.acknowledged.get(id).is_some_and(|sent| now_ms.saturating_sub(sent.at_ms) < relied_on_ms)
            });
            fresh.count() > set.len() / 2
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_for_three_quarters_of_the_lease_after_a_quorum_answered() {
        let guard = LeaseGuard::new(1000);
        let voters = [vec![1, 2, 3]];
        assert!(!guard.holds(5, &voters, 1, 0));
        guard.acknowledged(2, 5, guard.sending(100));
        assert!(guard.holds(5, &voters, 1, 849));
        assert!(!guard.holds(5, &voters, 1, 850));
        assert!(!guard.holds(6, &voters, 1, 100), "an acknowledgement of an older term says nothing");
    }

    #[test]
    fn an_older_answer_that_comes_late_changes_nothing() {
        let guard = LeaseGuard::new(1000);
        let older = guard.sending(50);
        guard.acknowledged(2, 5, guard.sending(100));
        guard.acknowledged(2, 4, guard.sending(900));
        guard.acknowledged(2, 5, older);
        assert!(!guard.holds(5, &[vec![1, 2, 3]], 1, 850));
    }

    #[test]
    fn each_set_of_a_joint_membership_needs_a_majority() {
        let guard = LeaseGuard::new(1000);
        guard.acknowledged(2, 5, guard.sending(100));
        assert!(!guard.holds(5, &[vec![1, 2, 3], vec![1, 4, 5]], 1, 200));
        guard.acknowledged(4, 5, guard.sending(100));
        assert!(guard.holds(5, &[vec![1, 2, 3], vec![1, 4, 5]], 1, 200));
    }

    #[test]
    fn a_leader_that_is_being_removed_has_no_lease() {
        let guard = LeaseGuard::new(1000);
        guard.acknowledged(2, 5, guard.sending(100));
        guard.acknowledged(3, 5, guard.sending(100));
        assert!(!guard.holds(5, &[vec![1, 2, 3], vec![2, 3]], 1, 200));
        assert!(!guard.holds(5, &[vec![2, 3]], 1, 200));
    }

    #[test]
    fn a_single_voter_needs_nobody_and_a_transfer_bars_everybody() {
        let guard = LeaseGuard::new(1000);
        assert!(guard.holds(1, &[vec![1]], 1, 0));
        guard.bar();
        assert!(!guard.holds(1, &[vec![1]], 1, 0));
        let bar = guard.barred().expect("barred");
        guard.bar();
        guard.allow(bar);
        assert!(guard.barred().is_some(), "a later bar stays");
        guard.allow(bar + 1);
        assert!(guard.holds(1, &[vec![1]], 1, 0));
    }

    #[test]
    fn it_has_led_until_a_quorum_accepted_something() {
        let guard = LeaseGuard::new(1000);
        let voters = [vec![1, 2, 3, 4, 5]];
        guard.acknowledged(2, 5, guard.sending(100));
        assert_eq!(guard.acknowledged_until_ms(5, &voters, 1, 900), None, "two of five");
        guard.acknowledged(3, 5, guard.sending(200));
        guard.acknowledged(4, 5, guard.sending(300));
        assert_eq!(guard.acknowledged_until_ms(5, &voters, 1, 900), Some(200));
        assert_eq!(guard.acknowledged_until_ms(6, &voters, 1, 900), None, "of another term nothing is known");
        let joint = [vec![1, 2, 3, 4, 5], vec![1, 2]];
        assert_eq!(guard.acknowledged_until_ms(5, &joint, 1, 900), Some(100), "each set needs a majority");
        assert_eq!(guard.acknowledged_until_ms(5, &[vec![1]], 1, 900), Some(900), "alone it needs nobody");
        assert_eq!(guard.acknowledged_until_ms(5, &[], 1, 900), None, "nobody votes");
    }

    #[test]
    fn a_read_index_needs_replies_to_what_was_sent_since() {
        let guard = LeaseGuard::new(1000);
        let voters = [vec![1, 2, 3]];
        let before = [guard.sending(100), guard.sending(100)];
        let asked = guard.newest();
        let behind = guard.sending(100);
        for (id, sent) in [(2, before[0]), (3, before[1])] {
            guard.acknowledged(id, 5, sent);
            assert!(!guard.acknowledged_since(5, &voters, 1, asked), "replies that come late prove nothing");
        }
        guard.acknowledged(3, 5, behind);
        assert!(guard.acknowledged_since(5, &voters, 1, asked));
        assert!(!guard.acknowledged_since(6, &voters, 1, asked), "nor does another term");
        assert!(!guard.acknowledged_since(5, &[vec![1, 2, 3], vec![1, 2, 4]], 1, asked), "each set needs a majority");
        assert!(!guard.acknowledged_since(5, &voters, 1, guard.newest()));
        assert!(guard.acknowledged_since(5, &[vec![1]], 1, guard.newest()), "alone it needs nobody");
    }
}

//! When an entry has been answered, its clients are about to come back: whether what waits now goes at once, or together with them.
//!
//! Without that, clients that wait for their answers fall into two halves, one under way and one waiting, and each entry carries half
//! of what it could. So what waits then waits for nearly as many more as were answered, but no longer than [`WAIT_MAX`] and a timer's step. Where clients
//! do not come back (they send at their own rate, say) that is waited in vain, and then less and less often.

use std::time::Duration;

use tokio::time::Instant;

/// How long the clients of the last entry are waited for. Nearly always they are there long before.
const WAIT_MAX: Duration = Duration::from_millis(1);
/// Fewer pipelines than this are not worth waiting for.
const WORTH_IT: usize = 4;
/// How many entries are not waited for at most, after many that were waited for in vain.
const SKIP_MAX: u32 = 64;

/// What the proposer knows of the clients' ways.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    /// How many pipelines the last entry carried.
    proposed: usize,
    /// How many are waited for, and until when.
    wait: Option<(usize, Instant)>,
    /// How many more entries are not waited for.
    skip: u32,
    /// How many will not be waited for after the next time in vain.
    skip_next: u32,
}

impl Gathering {
    /// Whether the `waiting` pipelines are to be proposed, now that nothing is under way.
    pub fn is_over(&mut self, waiting: usize, now: Instant) -> bool {
        if self.wait.is_none() && self.proposed >= WORTH_IT {
            let answered = std::mem::take(&mut self.proposed);
            match self.skip.checked_sub(1) {
                Some(skip) => self.skip = skip,
                // A few may have gone, or be slow: seven eighths will do.
                None => self.wait = Some((waiting + answered - answered / 8, now + WAIT_MAX)),
            }
        }
        let Some((wanted, until)) = self.wait else { return true };
        if waiting >= wanted {
            self.skip_next = 0;
        } else if now < until {
            return false;
        } else if waiting > 0 {
            self.skip_next = (2 * self.skip_next + 1).min(SKIP_MAX);
            self.skip = self.skip_next;
        }
        self.wait = None;
        true
    }

    /// So many pipelines were proposed.
    pub fn proposed(&mut self, pipelines: usize) {
        (self.proposed, self.wait) = (pipelines, None);
    }

    /// Nobody is waited for: there is no proposing at the moment.
    pub fn give_up(&mut self) {
        (self.proposed, self.wait) = (0, None);
    }

    /// How many pipelines are waited for, and until when.
    pub fn wait(&self) -> Option<(usize, Instant)> {
        self.wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_answered_is_waited_for() {
        let (mut gathering, now) = (Gathering::default(), Instant::now());
        assert!(gathering.is_over(1, now), "the first of all");
        gathering.proposed(25);
        assert!(!gathering.is_over(20, now), "twenty-two of twenty-five are to come");
        assert!(!gathering.is_over(41, now));
        assert!(gathering.is_over(42, now));
        gathering.proposed(42);
        assert!(!gathering.is_over(0, now));
        assert_eq!(gathering.wait(), Some((37, now + WAIT_MAX)));
        assert!(gathering.is_over(37, now));
    }

    #[test]
    fn few_clients_do_not_wait_for_each_other() {
        let mut gathering = Gathering::default();
        gathering.proposed(WORTH_IT - 1);
        assert!(gathering.is_over(1, Instant::now()));
    }

    #[test]
    fn who_does_not_come_back_is_waited_for_less_and_less_often() {
        let (mut gathering, mut now) = (Gathering::default(), Instant::now());
        let mut waits = Vec::new();
        for entry in 0..1000 {
            gathering.proposed(20);
            if !gathering.is_over(15, now) {
                waits.push(entry);
                now += WAIT_MAX;
                assert!(gathering.is_over(16, now), "no longer than that");
            }
        }
        assert_eq!(waits[..5], [0, 2, 6, 14, 30]);
        assert!(waits.len() < 25, "{waits:?}");
        // They are back.
        gathering.proposed(20);
        while gathering.is_over(15, now) {
            gathering.proposed(20);
        }
        assert!(gathering.is_over(33, now));
        gathering.proposed(33);
        assert!(!gathering.is_over(4, now));
    }

    #[test]
    fn while_nothing_is_proposed_nobody_is_waited_for() {
        let (mut gathering, now) = (Gathering::default(), Instant::now());
        gathering.proposed(20);
        assert!(!gathering.is_over(1, now));
        gathering.give_up();
        assert_eq!(gathering.wait(), None);
        assert!(gathering.is_over(1, now));
    }

    #[test]
    fn after_a_pause_nobody_is_waited_for() {
        let (mut gathering, now) = (Gathering::default(), Instant::now());
        gathering.proposed(20);
        assert!(!gathering.is_over(0, now));
        assert!(gathering.is_over(1, now + WAIT_MAX));
        assert!(gathering.is_over(1, now + WAIT_MAX));
    }
}

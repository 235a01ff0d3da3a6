//! When what waits becomes an entry.
//!
//! An entry costs the nodes much the same whatever is in it, so it should carry many pipelines; and clients that wait for their answers come
//! back with the next request as soon as they have them. So there are two halves of them, each with an entry of its own: while one half's
//! is synced, the other half's requests are read. An entry goes when nearly half of all clients wait for it, or nearly all who are not
//! under way already. A few clients are not worth two entries.
//!
//! Where nothing is under way, that is waited for no longer than [`WAIT_MAX`] and a timer's step. Where clients do not come back (they send
//! at their own rate, say) it is waited in vain, and then less and less often.

use std::time::Duration;

use tokio::time::Instant;

/// How long pipelines are waited for while nothing is under way. Nearly always they are there long before.
const WAIT_MAX: Duration = Duration::from_millis(1);
/// Fewer pipelines than this are not worth waiting for, nor an entry beside another one.
const WORTH_IT: usize = 4;
/// How many entries are not waited for at most, after many that were waited for in vain.
const SKIP_MAX: u32 = 64;

/// What the proposer knows of the clients' ways.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    /// How many pipelines have lately been there at once, waiting or under way.
    clients: usize,
    /// Until when those who are not there yet are waited for.
    until: Option<Instant>,
    /// How many more entries are not waited for.
    skip: u32,
    /// How many will not be waited for after the next time in vain.
    skip_next: u32,
}

impl Gathering {
    /// How many have to wait for the next entry, with so many under way; `None`: whoever waits goes when nothing is under way.
    pub fn wanted(&self, under_way: usize) -> Option<usize> {
        let others = self.clients.saturating_sub(under_way);
        let wanted = if self.clients < 2 * WORTH_IT && under_way == 0 { others } else { others.min(self.clients / 2) };
        // A few may have gone, or be slow: seven eighths will do.
        let wanted = wanted - wanted / 8;
        (wanted >= WORTH_IT).then_some(wanted)
    }

    /// Whether the `waiting` pipelines are to be proposed, with so many under way.
    pub fn is_over(&mut self, waiting: usize, under_way: usize, now: Instant) -> bool {
        let wanted = self.wanted(under_way);
        if under_way > 0 {
            return wanted.is_some_and(|wanted| waiting >= wanted);
        }
        let Some(wanted) = wanted else { return true };
        if waiting >= wanted {
            self.skip_next = 0;
            return true;
        }
        let until = *self.until.get_or_insert(now + WAIT_MAX);
        if self.skip == 0 && now < until {
            return false;
        }
        if waiting > 0 {
            match self.skip.checked_sub(1) {
                Some(skip) => self.skip = skip,
                None => {
                    self.skip_next = (2 * self.skip_next + 1).min(SKIP_MAX);
                    self.skip = self.skip_next;
                }
            }
        }
        true
    }

    /// An entry has gone; since the one before it, so many pipelines were there at once.
    pub fn proposed(&mut self, clients: usize) {
        let gone = self.clients.saturating_sub(clients);
        self.clients = clients.max(self.clients - gone.div_ceil(8));
        self.until = None;
    }

    /// Nobody is waited for: there is no proposing at the moment.
    pub fn give_up(&mut self) {
        (self.clients, self.until) = (0, None);
    }

    /// Until when is waited, if at all.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(clients: usize) -> Gathering {
        let mut gathering = Gathering::default();
        gathering.proposed(clients);
        gathering
    }

    #[test]
    fn many_clients_go_in_halves() {
        let (mut gathering, now) = (Gathering::default(), Instant::now());
        assert!(gathering.is_over(1, 0, now), "the first of all");
        gathering.proposed(50);
        assert!(!gathering.is_over(21, 0, now), "nearly half of all");
        assert!(gathering.is_over(22, 0, now));
        assert!(!gathering.is_over(21, 22, now), "the other half");
        assert!(gathering.is_over(22, 22, now));
        assert!(gathering.is_over(18, 30, now), "nearly all who are not under way");
        assert!(!gathering.is_over(3, 47, now), "too few for an entry of their own");
    }

    #[test]
    fn a_few_clients_go_together_or_at_once() {
        let now = Instant::now();
        let mut five = of(5);
        assert!(!five.is_over(4, 0, now));
        assert!(five.is_over(5, 0, now));
        assert!(!five.is_over(2, 3, now));
        let mut three = of(3);
        assert!(three.is_over(1, 0, now));
        assert!(!three.is_over(2, 1, now));
    }

    #[test]
    fn who_does_not_come_back_is_waited_for_less_and_less_often_and_then_forgotten() {
        let (mut gathering, mut now) = (of(200), Instant::now());
        let mut waits = Vec::new();
        for entry in 0..1000 {
            if !gathering.is_over(15, 0, now) {
                waits.push(entry);
                now += WAIT_MAX;
                assert!(gathering.is_over(15, 0, now), "no longer than that");
            }
            gathering.proposed(40);
        }
        assert_eq!(waits[..5], [0, 2, 6, 14, 30]);
        assert!(waits.len() < 25, "{waits:?}");
        assert_eq!(gathering.wanted(0), Some(18), "of forty");
        // They are back.
        assert!(gathering.is_over(18, 0, now));
        gathering.proposed(40);
        while gathering.is_over(15, 0, now) {
            gathering.proposed(40);
        }
        assert_eq!(gathering.until(), Some(now + WAIT_MAX));
    }

    #[test]
    fn while_nothing_is_proposed_nobody_is_waited_for() {
        let (mut gathering, now) = (of(20), Instant::now());
        assert!(!gathering.is_over(1, 0, now));
        gathering.give_up();
        assert_eq!(gathering.until(), None);
        assert!(gathering.is_over(1, 0, now));
    }

    #[test]
    fn after_a_pause_nobody_is_waited_for_long() {
        let (mut gathering, now) = (of(20), Instant::now());
        assert!(!gathering.is_over(0, 0, now));
        assert!(gathering.is_over(1, 0, now + WAIT_MAX));
    }
}

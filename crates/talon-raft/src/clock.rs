//! The leader's clock: where the stamps of log entries come from (design: rules 2, 3 and 5 of the clock in the log).
//!
//! *Enters*: monotonic and wall readings, taken by the caller; the wall clocks of other nodes as they arrive with raft
//! messages. *Leaves*: stamps that never go back. Pure, so that a simulation can hand each node clocks of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::time::ClockId;
use talon_core::planted::{Bug, is_planted};

/// How long another node's wall clock counts after it was heard, ms.
pub const OFFSET_FRESH_MS: u64 = 10_000;

/// Behind the voters' median the clock gains at most one part in this many of the time that passes (5 %).
const SLEW_FORWARD_PARTS: u64 = 20;

/// Ahead of the voters' median the clock runs at one half of the speed.
const SLEW_BACK_PARTS: u64 = 2;

/// A reading of this node's clocks, taken together.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// A clock that never jumps and counts suspended time, ms.
    pub monotonic_ms: u64,
    /// Unix time as this machine believes it, ms.
    pub wall_ms: u64,
}

/// Where this node's clocks are read; the one place that does.
pub trait Clocks: Send + Sync + 'static {
    /// Reads both clocks.
    fn read(&self) -> Reading;

    /// Reads the monotonic one alone.
    fn monotonic_ms(&self) -> u64 {
        self.read().monotonic_ms
    }
}

/// The machine's own clocks: `CLOCK_BOOTTIME`, which counts suspended time, and the wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClocks;

impl Clocks for SystemClocks {
    fn read(&self) -> Reading {
        Reading { monotonic_ms: self.monotonic_ms(), wall_ms: read_ms(ClockId::CLOCK_REALTIME) }
    }

    fn monotonic_ms(&self) -> u64 {
        read_ms(ClockId::CLOCK_BOOTTIME)
    }
}

/// Neither clock can fail on Linux; a reading of 0 would only make this node's clock count as far behind.
fn read_ms(clock: ClockId) -> u64 {
    let time = clock.now().map_or(Duration::ZERO, Duration::from);
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The wall clocks of the other nodes, relative to this node's monotonic clock.
#[derive(Debug, Default)]
pub struct Offsets {
    heard: BTreeMap<u64, Heard>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    /// Their wall clock less our monotonic clock.
    offset_ms: i128,
    at_monotonic_ms: u64,
}

impl Offsets {
    /// Takes in another node's wall clock, heard just now.
    pub fn hear(&mut self, node_id: u64, wall_ms: u64, monotonic_ms: u64) {
        let offset_ms = i128::from(wall_ms) - i128::from(monotonic_ms);
        self.heard.insert(node_id, Heard { offset_ms, at_monotonic_ms: monotonic_ms });
    }

    /// The median of the voters' wall clocks now, if a majority of them is fresh; the lower one of an even count.
    pub fn median_ms(&self, voters: &[u64], own_id: u64, now: Reading) -> Option<u64> {
        let mut walls: Vec<u64> = voters
            .iter()
            .filter_map(|id| {
                if *id == own_id {
                    return Some(now.wall_ms);
                }
                let heard = self.heard.get(id)?;
                let age_ms = now.monotonic_ms.saturating_sub(heard.at_monotonic_ms);
                let wall_ms = heard.offset_ms + i128::from(now.monotonic_ms);
                (age_ms <= OFFSET_FRESH_MS).then(|| u64::try_from(wall_ms).unwrap_or(0))
            })
            .collect();
        if walls.len() <= voters.len() / 2 {
            return None;
        }
        walls.sort_unstable();
        walls.get((walls.len() - 1) / 2).copied()
    }
}

/// How far the clock of a term's leader had come when a client was told of it.
///
/// On a follower, what is left of a key's time is counted from the leader's clock in a fresh read, and `T` may be behind that. So that it does
/// not grow again in the next read, a node keeps the latest clock that it has answered by, and counts from no earlier one, as long as the last
/// entry of its state is of the same term. Not beyond: the next leader begins at `T` or its voters' median, and may be behind a clock that no
/// entry has carried. For the same reason it never decides whether a key is there; that is `T`'s alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The leader's term.
    pub term: u64,
    /// Its clock, Unix ms.
    pub clock_ms: u64,
}

impl Shown {
    /// The later one of the newer term.
    #[must_use]
    pub fn max(self, other: Shown) -> Shown {
        if (self.term, self.clock_ms) < (other.term, other.clock_ms) { other } else { self }
    }

    /// What it says of a state whose last entry is of this term: count from here, Unix ms; 0 = from `T`.
    pub fn in_term(self, term: u64) -> u64 {
        if self.term == term && !is_planted(Bug::TimeLeftGrows) { self.clock_ms } else { 0 }
    }
}

/// The clock of a node while it leads.
#[derive(Debug)]
pub struct LeaderClock {
    value_us: u64,
    at_monotonic_ms: u64,
}

impl LeaderClock {
    /// Starts it when this node has applied its term's blank entry and so knows `T`: at the voters' median (the only step it
    /// may take), but never below `T`. Without a median it goes on from `T`.
    pub fn start(clock_ms: u64, median_ms: Option<u64>, now: Reading) -> LeaderClock {
        let floor_ms = if is_planted(Bug::TickGoesBack) { 0 } else { clock_ms };
        let value_ms = floor_ms.max(median_ms.unwrap_or(clock_ms));
        LeaderClock { value_us: value_ms.saturating_mul(1000), at_monotonic_ms: now.monotonic_ms }
    }

    /// What it showed last.
    pub fn shown_ms(&self) -> u64 {
        self.value_us / 1000
    }

    /// What it shows now. Follows the median slowly, and monotonic time alone where there is none. Never goes back.
    /// The median is asked for only when a millisecond has passed.
    pub fn now_ms(&mut self, median_ms: impl FnOnce() -> Option<u64>, now: Reading) -> u64 {
        let elapsed_us = now.monotonic_ms.saturating_sub(self.at_monotonic_ms).saturating_mul(1000);
        if elapsed_us > 0 {
            self.at_monotonic_ms = now.monotonic_ms;
            self.value_us = self.value_us.saturating_add(advance_us(self.value_us, elapsed_us, median_ms()));
        }
        self.shown_ms()
    }
}

/// How far the clock goes on in `elapsed_us`.
fn advance_us(value_us: u64, elapsed_us: u64, median_ms: Option<u64>) -> u64 {
    let Some(median_us) = median_ms.map(|median_ms| median_ms.saturating_mul(1000)) else {
        return elapsed_us;
    };
    let target_us = value_us.saturating_add(elapsed_us);
    if target_us < median_us {
        elapsed_us + (median_us - target_us).min(elapsed_us / SLEW_FORWARD_PARTS)
    } else {
        elapsed_us - (target_us - median_us).min(elapsed_us / SLEW_BACK_PARTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_ms: u64, wall_ms: u64) -> Reading {
        Reading { monotonic_ms, wall_ms }
    }

    #[test]
    fn the_median_needs_a_fresh_majority_and_takes_the_lower_of_an_even_count() {
        let mut offsets = Offsets::default();
        assert_eq!(offsets.median_ms(&[1, 2, 3], 1, at(0, 1000)), None);
        assert_eq!(offsets.median_ms(&[1], 1, at(0, 1000)), Some(1000));
        offsets.hear(2, 5000, 0);
        assert_eq!(offsets.median_ms(&[1, 2, 3], 1, at(10, 1010)), Some(1010));
        offsets.hear(3, 2000, 10);
        assert_eq!(offsets.median_ms(&[1, 2, 3], 1, at(10, 1010)), Some(2000));
        assert_eq!(offsets.median_ms(&[1, 2, 3], 1, at(11_000, 12_000)), None);
    }

    #[test]
    fn one_wrong_clock_does_not_carry_the_stamps_away() {
        let mut offsets = Offsets::default();
        offsets.hear(2, 1_000_000, 0);
        offsets.hear(3, 1_000_010, 0);
        // This node is an hour ahead.
        let now = at(0, 1_000_000 + 3_600_000);
        let median = offsets.median_ms(&[1, 2, 3], 1, now);
        let mut clock = LeaderClock::start(999_000, median, now);
        assert_eq!(clock.now_ms(|| median, now), 1_000_010);
    }

    #[test]
    fn behind_the_median_it_gains_five_percent_ahead_it_runs_at_half_speed() {
        let mut behind = LeaderClock::start(100_000, None, at(0, 0));
        assert_eq!(behind.now_ms(|| Some(900_000), at(1000, 0)), 101_050);
        let mut ahead = LeaderClock::start(100_000, None, at(0, 0));
        assert_eq!(ahead.now_ms(|| Some(50_000), at(1000, 0)), 100_500);
        let mut close = LeaderClock::start(100_000, None, at(0, 0));
        assert_eq!(close.now_ms(|| Some(101_003), at(1000, 0)), 101_003);
        let mut alone = LeaderClock::start(100_000, None, at(0, 0));
        assert_eq!(alone.now_ms(|| None, at(1000, 77)), 101_000);
    }

    #[test]
    fn what_was_shown_counts_in_its_own_term() {
        let shown = Shown { term: 4, clock_ms: 900 }.max(Shown { term: 3, clock_ms: 2_000 });
        assert_eq!((shown.in_term(3), shown.in_term(4), shown.in_term(5)), (0, 900, 0));
        assert_eq!(shown.max(Shown { term: 4, clock_ms: 800 }).in_term(4), 900);
        assert_eq!(shown.max(Shown { term: 5, clock_ms: 700 }).in_term(5), 700, "a new leader may begin below");
    }

    #[test]
    fn it_never_goes_back_whatever_the_readings_do() {
        let mut clock = LeaderClock::start(5_000, Some(6_000), at(50, 0));
        let mut last = 0;
        for (monotonic_ms, median_ms) in [(50, Some(1)), (40, Some(2)), (60, None), (60, Some(u64::MAX)), (61, Some(0))]
        {
            let now = clock.now_ms(|| median_ms, at(monotonic_ms, 0));
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    }
}

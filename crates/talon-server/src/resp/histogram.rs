//! How long the batches of a command took: counters that many threads add to without a lock, once a batch.
//!
//! A duration falls into one of sixteen steps between two powers of two, so a quantile is at most a sixteenth too high. The
//! counters are made when the first batch is counted: most commands are never sent.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is shorter than 2^10 ns counts as that, what is longer than 2^41 ns (36 minutes) as that.
const SHORTEST_LOG: u32 = 10;
const LONGEST_LOG: u32 = 40;
const STEPS_LOG: u32 = 4;
const STEPS: usize = 1 << STEPS_LOG;
const BUCKETS: usize = 1 + (LONGEST_LOG - SHORTEST_LOG + 1) as usize * STEPS;

/// Durations, counted.
#[derive(Debug, Default)]
pub(crate) struct Histogram(OnceLock<Box<[AtomicU64]>>);

impl Histogram {
    /// Counts this duration so many times.
    pub fn add(&self, took: Duration, times: u64) {
        let buckets = self.0.get_or_init(|| (0..BUCKETS).map(|_| AtomicU64::new(0)).collect());
        if let Some(bucket) = buckets.get(place(took)) {
            bucket.fetch_add(times, Ordering::Relaxed);
        }
    }

    pub fn reset(&self) {
        for bucket in self.0.get().into_iter().flatten() {
            bucket.store(0, Ordering::Relaxed);
        }
    }

    /// Each step that has something in it: up to how many nanoseconds it reaches, and how many are in it.
    fn filled(&self) -> Vec<(u64, u64)> {
        let buckets = self.0.get().into_iter().flatten().enumerate();
        let counted = buckets.map(|(place, count)| (end_ns(place), count.load(Ordering::Relaxed)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.filled().iter().map(|(_, count)| count).sum()
    }

    /// For powers of two of about a microsecond, how many were no longer: those at which the number grows. The first of a pair
    /// is in microseconds.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let mut sums: Vec<(u64, u64)> = Vec::new();
        let mut total = 0;
        for (end_ns, count) in self.filled() {
            total += count;
            let usec = end_ns.next_power_of_two() / 1000;
            match sums.last_mut() {
                Some(last) if last.0 == usec => last.1 = total,
                _ => sums.push((usec, total)),
            }
        }
        sums
    }

    /// How long this share of all durations took at most, in microseconds; 0 = nothing was counted.
    pub fn quantile_usec(&self, share: f64) -> f64 {
        let filled = self.filled();
        let total: u64 = filled.iter().map(|(_, count)| count).sum();
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (end_ns, count) in filled {
            seen += count;
            if seen >= wanted {
                return end_ns as f64 / 1000.0;
            }
        }
        0.0
    }
}

fn place(took: Duration) -> usize {
    let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    if ns <= 1 << SHORTEST_LOG {
        return 0;
    }
    // A step ends with its last nanosecond, so that powers of two end one.
    let ns = ns - 1;
    let log = ns.ilog2().min(LONGEST_LOG);
    let step = if ns.ilog2() > LONGEST_LOG { STEPS - 1 } else { (ns >> (log - STEPS_LOG)) as usize & (STEPS - 1) };
    1 + (log - SHORTEST_LOG) as usize * STEPS + step
}

fn end_ns(place: usize) -> u64 {
    let Some(place) = place.checked_sub(1) else { return 1 << SHORTEST_LOG };
    let log = SHORTEST_LOG + (place / STEPS) as u32;
    ((STEPS + place % STEPS + 1) as u64) << (log - STEPS_LOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_step_that_ends_behind_it() {
        for ns in
            [0, 1, 1024, 1025, 1088, 1089, 2048, 2049, 5_000, 1_000_000, 123_456_789, 1 << 40, (1 << 41) - 1, 1 << 41]
        {
            let place = place(Duration::from_nanos(ns));
            assert!(place < BUCKETS && ns <= end_ns(place), "{ns}");
            assert!(place == 0 || ns > end_ns(place - 1), "{ns}");
        }
        assert_eq!(place(Duration::from_secs(1_000_000)), BUCKETS - 1);
        assert_eq!(end_ns(BUCKETS - 1), 1 << 41);
    }

    #[test]
    fn sums_and_quantiles() {
        let histogram = Histogram::default();
        assert_eq!((histogram.count(), histogram.quantile_usec(0.5)), (0, 0.0));
        histogram.add(Duration::from_nanos(500), 90);
        histogram.add(Duration::from_micros(3), 9);
        histogram.add(Duration::from_millis(1), 1);
        assert_eq!(histogram.cumulative(), [(1, 90), (4, 99), (1048, 100)]);
        assert_eq!(histogram.quantile_usec(0.5), 1.024);
        assert!((3.0..3.2).contains(&histogram.quantile_usec(0.99)));
        assert!((1000.0..1063.0).contains(&histogram.quantile_usec(1.0)));
        histogram.reset();
        assert_eq!(histogram.count(), 0);
    }
}

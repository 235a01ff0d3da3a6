//! How much is being done at this moment: the counters are looked at four times a second, and the last two seconds count.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::metrics::Metrics;

const INTERVAL: Duration = Duration::from_millis(250);
const SAMPLES: usize = 9;

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    commands: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// What is done in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerSecond {
    pub commands: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// The last looks at the counters, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<VecDeque<(Instant, Sums)>>);

impl Rates {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Sums)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the counters again and again. Never returns.
    pub async fn watch(&self, metrics: &Metrics) {
        loop {
            let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            self.add(
                Instant::now(),
                Sums {
                    commands: read(&metrics.commands_processed),
                    bytes_in: read(&metrics.bytes_in),
                    bytes_out: read(&metrics.bytes_out),
                },
            );
            sleep(INTERVAL).await;
        }
    }

    fn add(&self, now: Instant, sums: Sums) {
        let mut samples = self.lock();
        // The counters were set back.
        if samples.back().is_some_and(|(_, last)| last.commands > sums.commands || last.bytes_in > sums.bytes_in) {
            samples.clear();
        }
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back((now, sums));
    }

    pub fn now(&self) -> PerSecond {
        let samples = self.lock();
        let (Some((begun, first)), Some((ended, last))) = (samples.front(), samples.back()) else {
            return PerSecond::default();
        };
        let seconds = (*ended - *begun).as_secs_f64();
        if seconds <= 0.0 {
            return PerSecond::default();
        }
        let rate = |first: u64, last: u64| (last.saturating_sub(first) as f64 / seconds).round() as u64;
        PerSecond {
            commands: rate(first.commands, last.commands),
            bytes_in: rate(first.bytes_in, last.bytes_in),
            bytes_out: rate(first.bytes_out, last.bytes_out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_last_looks_count() {
        let rates = Rates::default();
        let begun = Instant::now();
        assert_eq!(rates.now(), PerSecond::default());
        let add = |step: u32, commands: u64| rates.add(begun + INTERVAL * step, Sums { commands, ..Sums::default() });
        (0..=20).for_each(|step| add(step, 0));
        (21..=24).for_each(|step| add(step, u64::from(step - 20) * 100));
        assert_eq!(rates.now().commands, 200, "half of the two seconds had 400 a second");
        add(25, 7);
        assert_eq!(rates.now().commands, 0, "the counters were set back");
        add(29, 107);
        assert_eq!(rates.now().commands, 100);
    }
}

//! Log lines that clients can cause as often as they like are written now and then only: a log must not fill a disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// When a line was written last.
#[derive(Debug)]
pub(crate) struct Alarm {
    since: Instant,
    interval_ms: u64,
    /// Milliseconds from `since`, plus one; 0 = never.
    told: AtomicU64,
    untold: AtomicU64,
}

impl Alarm {
    /// One that is told once in this time at most.
    pub fn new(interval: Duration) -> Alarm {
        Alarm {
            since: Instant::now(),
            interval_ms: interval.as_millis() as u64,
            told: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }
    }

    /// It has happened: whether to tell it, and how often it has happened untold before.
    pub fn raise(&self) -> Option<u64> {
        self.raise_at(self.since.elapsed().as_millis() as u64)
    }

    fn raise_at(&self, now_ms: u64) -> Option<u64> {
        let told = self.told.load(Ordering::Relaxed);
        let is_due = told == 0 || now_ms + 1 >= told + self.interval_ms;
        if is_due && self.told.compare_exchange(told, now_ms + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return Some(self.untold.swap(0, Ordering::Relaxed));
        }
        self.untold.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_in_its_time_with_what_was_not() {
        let alarm = Alarm::new(Duration::from_secs(60));
        let told: Vec<_> = [0, 0, 2, 59_999, 60_000, 60_001].map(|now_ms| alarm.raise_at(now_ms)).into();
        assert_eq!(told, [Some(0), None, None, None, Some(3), None]);
    }
}

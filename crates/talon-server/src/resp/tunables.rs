//! What `CONFIG SET` can change while the server runs; each begins as the settings say.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::settings::RespSettings;

/// Numbers that every connection looks at, so looking takes no lock.
#[derive(Debug)]
pub(crate) struct Tunables {
    pub clients_max: AtomicUsize,
    pub clients_reserved: AtomicUsize,
    pub idle_timeout_s: AtomicU64,
    pub query_bytes_max: AtomicUsize,
    pub output_bytes_max: AtomicUsize,
    /// Microseconds; negative = nothing is slow.
    pub slowlog_slower_than_us: AtomicI64,
    pub slowlog_entries_max: AtomicUsize,
    /// 0 = latency is not watched.
    pub latency_threshold_ms: AtomicU64,
}

impl Tunables {
    pub fn new(settings: &RespSettings) -> Tunables {
        Tunables {
            clients_max: AtomicUsize::new(settings.clients_max),
            clients_reserved: AtomicUsize::new(settings.clients_reserved),
            idle_timeout_s: AtomicU64::new(settings.idle_timeout.as_secs()),
            query_bytes_max: AtomicUsize::new(settings.query_bytes_max),
            output_bytes_max: AtomicUsize::new(settings.output_bytes_max),
            slowlog_slower_than_us: AtomicI64::new(settings.slowlog_slower_than_us),
            slowlog_entries_max: AtomicUsize::new(settings.slowlog_entries_max),
            latency_threshold_ms: AtomicU64::new(settings.latency_threshold_ms),
        }
    }

    /// How many connections there may be from this machine, and from elsewhere.
    pub fn clients_max(&self) -> (usize, usize) {
        let own = self.clients_max.load(Ordering::Relaxed);
        (own, own - reserved(own, self.clients_reserved.load(Ordering::Relaxed)))
    }

    pub fn output_bytes_max(&self) -> usize {
        self.output_bytes_max.load(Ordering::Relaxed)
    }

    /// From how long on a batch is slow; none = none is.
    pub fn slow_from(&self) -> Option<Duration> {
        if self.slowlog_entries_max.load(Ordering::Relaxed) == 0 {
            return None;
        }
        u64::try_from(self.slowlog_slower_than_us.load(Ordering::Relaxed)).ok().map(Duration::from_micros)
    }

    /// Whether anybody wants to know what a batch took its time for.
    pub fn times_batches(&self) -> bool {
        self.slow_from().is_some() || self.latency_from().is_some()
    }

    /// From how long on a batch's latency is kept; none = latency is not watched.
    pub fn latency_from(&self) -> Option<Duration> {
        match self.latency_threshold_ms.load(Ordering::Relaxed) {
            0 => None,
            threshold_ms => Some(Duration::from_millis(threshold_ms)),
        }
    }
}

/// How many of `clients_max` places are kept for this machine's own clients: never more than a quarter.
fn reserved(clients_max: usize, wanted: usize) -> usize {
    wanted.min(clients_max / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_a_quarter_of_the_places_is_kept() {
        assert_eq!(reserved(10_000, 8), 8);
        assert_eq!(reserved(32, 8), 8);
        assert_eq!(reserved(31, 8), 7);
        assert_eq!(reserved(3, 8), 0);
        assert_eq!(reserved(10_000, 0), 0);
    }

    #[test]
    fn nothing_is_slow_without_a_threshold_or_without_room() {
        let slow_from = |slowlog_slower_than_us, slowlog_entries_max| {
            Tunables::new(&RespSettings { slowlog_slower_than_us, slowlog_entries_max, ..RespSettings::default() })
                .slow_from()
        };
        assert_eq!(slow_from(-1, 128), None);
        assert_eq!(slow_from(0, 128), Some(Duration::ZERO));
        assert_eq!(slow_from(5, 0), None);
    }
}

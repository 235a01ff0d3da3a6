//! The numbers of keys that `INFO` tells. Counting takes the time of a scan, so who did not ask for them by name is told
//! the last ones, however old, and they are counted again behind that, one count at a time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use talon_core::commands::talon::KEYSPACE;
use talon_core::{Call, Consistency, Database, Reply, Request};
use tokio::sync::Notify;
use tokio::time::Instant;

/// From this age on the numbers are counted again when somebody asks.
const AGE_MAX: Duration = Duration::from_secs(10);

/// What is said of the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyCounts {
    pub keys: i64,
    /// How many of them will end.
    pub ending: i64,
    /// How long those have left on average.
    pub left_ms: i64,
}

impl KeyCounts {
    /// As they were counted, if they were.
    pub fn of(reply: &Reply) -> Option<KeyCounts> {
        let Reply::Array(counts) = reply else { return None };
        let [Reply::Integer(keys), Reply::Integer(ending), Reply::Integer(left_ms)] = counts[..] else { return None };
        Some(KeyCounts { keys, ending, left_ms })
    }
}

/// The request that counts.
pub(crate) fn request() -> Request {
    Request::new(&KEYSPACE, vec![])
}

/// The last count.
#[derive(Debug, Default)]
pub(crate) struct LastCount {
    counted: Mutex<Option<(Instant, KeyCounts)>>,
    wanted: Notify,
}

impl LastCount {
    /// The last numbers, if there are any. Old ones will be counted again.
    pub fn get(&self) -> Option<KeyCounts> {
        let counted = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let (when, counts) = counted?;
        if when.elapsed() > AGE_MAX {
            self.wanted.notify_one();
        }
        Some(counts)
    }

    pub fn keep(&self, counts: KeyCounts) {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), counts));
    }

    /// Counts again whenever that is wanted. Never returns.
    pub async fn count_when_wanted<D: Database>(&self, database: &D) {
        loop {
            self.wanted.notified().await;
            let begun = Instant::now();
            let outcomes = database.execute(vec![Call::One(request())], Consistency::Snapshot).await;
            // What cannot be counted now is asked for again by the next one who wants to know.
            if let [Ok(reply)] = outcomes.as_slice()
                && let Some(counts) = KeyCounts::of(reply)
            {
                self.keep(counts);
            }
            tracing::debug!(took_ms = begun.elapsed().as_millis(), "keys counted for INFO");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn old_numbers_are_told_and_counted_again() {
        let count = LastCount::default();
        assert_eq!(count.get(), None);
        let counts = KeyCounts { keys: 3, ending: 1, left_ms: 5 };
        count.keep(counts);
        assert_eq!(count.get(), Some(counts));
        let wanted = || tokio::time::timeout(Duration::from_secs(1), count.wanted.notified());
        assert!(wanted().await.is_err(), "they are new");
        tokio::time::advance(AGE_MAX).await;
        assert_eq!((count.get(), count.get()), (Some(counts), Some(counts)));
        assert!(wanted().await.is_ok(), "they are old");
        assert!(wanted().await.is_err(), "once is enough");
    }
}

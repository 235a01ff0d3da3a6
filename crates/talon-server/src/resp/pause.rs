//! `CLIENT PAUSE`: batches wait until the pause is over. While there is none, it costs a look at one number a batch.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// A longer pause is as good as one without an end.
const PAUSE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Which batches wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Held {
    /// Those with a write.
    Writes = 1,
    All = 2,
}

/// The pause of a front door.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    /// A [`Held`]; 0 = there is no pause.
    held: AtomicU8,
    until: Mutex<Option<Instant>>,
    changed: Notify,
}

impl Pause {
    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a pause, or makes the present one longer or wider; never shorter or narrower, as in Redis.
    pub fn begin(&self, held: Held, time: Duration) {
        let wanted = Instant::now() + time.min(PAUSE_MAX);
        let mut until = self.until();
        // One that is over says nothing any more.
        if until.is_none_or(|until| until <= Instant::now()) {
            self.held.store(0, Ordering::Relaxed);
        }
        *until = Some(until.map_or(wanted, |until| until.max(wanted)));
        self.held.fetch_max(held as u8, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Ends it.
    pub fn end(&self) {
        let mut until = self.until();
        *until = None;
        self.held.store(0, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Whether a batch has to wait.
    pub fn holds(&self, writes: bool) -> bool {
        match self.held.load(Ordering::Relaxed) {
            0 => false,
            held => held == Held::All as u8 || writes,
        }
    }

    /// Returns when such a batch has to wait no longer.
    pub async fn over(&self, writes: bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Whatever changes from here on is noticed.
            changed.as_mut().enable();
            let until = *self.until();
            match until {
                Some(until) if self.holds(writes) && until > Instant::now() => {
                    // Either is a reason to look again.
                    let _ = timeout_at(until, changed).await;
                }
                Some(until) if until <= Instant::now() => return self.end_of(until),
                _ => return,
            }
        }
    }

    /// Ends the pause that was to end then, if none has begun since.
    fn end_of(&self, until: Instant) {
        let mut present = self.until();
        if *present == Some(until) {
            *present = None;
            self.held.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_what_it_says_and_ends() {
        let pause = Pause::default();
        assert!(!pause.holds(true) && !pause.holds(false));
        pause.begin(Held::Writes, Duration::from_millis(100));
        assert!(pause.holds(true) && !pause.holds(false));
        pause.begin(Held::All, Duration::from_millis(10));
        assert!(pause.holds(false));
        let begun = Instant::now();
        pause.over(false).await;
        assert_eq!(begun.elapsed().as_millis(), 100, "it never gets shorter");
        assert!(!pause.holds(true));
        pause.begin(Held::Writes, Duration::from_millis(10));
        assert!(!pause.holds(false), "what is over says nothing any more");
        pause.end();
        pause.over(true).await;
        pause.begin(Held::All, Duration::MAX);
        assert!(pause.holds(true));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_noticed_by_those_that_wait() {
        let pause = std::sync::Arc::new(Pause::default());
        pause.begin(Held::All, Duration::from_secs(60));
        let waiting = pause.clone();
        let task = tokio::spawn(async move { waiting.over(false).await });
        tokio::task::yield_now().await;
        let begun = Instant::now();
        pause.end();
        task.await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
}

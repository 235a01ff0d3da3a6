//! Gives back the space of what has expired.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use talon_core::commands::talon::PURGE;
use talon_core::{Call, Fault, Reply, Request};

use crate::embedded::Inner;
use crate::error::Error;

/// What one entry removes at most, so that no writer waits long behind it.
const PURGE_KEYS_MAX: u64 = 1_000;

/// A thread that removes expired keys; it stops when this is dropped. Made by
/// [`Talon::start_ttl_cleaner`](crate::Talon::start_ttl_cleaner). It keeps the database open.
#[derive(Debug)]
pub struct TtlCleaner {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    wanted: Mutex<bool>,
    called: Condvar,
}

impl Stop {
    fn wanted(&self) -> bool {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the interval to pass; `false` if it was ended.
    fn rest(&self, interval: Duration) -> bool {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = self.called.wait_timeout_while(wanted, interval, |wanted| !*wanted);
        !*rested.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl TtlCleaner {
    pub(crate) fn start(inner: Arc<Inner>, interval_secs: u64) -> Result<TtlCleaner, Error> {
        let stop = Arc::new(Stop::default());
        let interval = Duration::from_secs(interval_secs.max(1));
        let seen = stop.clone();
        let clean = move || {
            while seen.rest(interval) {
                // After a fault the database answers nothing more, and whoever uses it is told.
                if purge(&inner, || !seen.wanted()).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("talon-ttl-cleaner".into())
            .spawn(clean)
            .map_err(|error| Fault(format!("could not start a thread: {error}")))?;
        Ok(TtlCleaner { stop, thread: Some(thread) })
    }
}

impl Drop for TtlCleaner {
    fn drop(&mut self) {
        *self.stop.wanted.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.called.notify_all();
        if let Some(thread) = self.thread.take() {
            // If it panicked, there is nothing left to clean up here.
            let _ = thread.join();
        }
    }
}

/// Removes all that has expired by now, in bounded entries, as long as `go_on` says so; returns how many keys went.
pub(crate) fn purge(inner: &Inner, go_on: impl Fn() -> bool) -> Result<u64, Error> {
    let up_to_ms = inner.committer.now_ms();
    let mut removed = 0;
    while go_on() {
        let view = inner.committer.machine().view()?;
        if view.first_expiry_ms().is_none_or(|first_ms| first_ms > up_to_ms) {
            break;
        }
        let args = [up_to_ms, PURGE_KEYS_MAX].map(|number| Bytes::from(number.to_string()));
        let replies = inner.committer.commit(vec![Call::One(Request::new(&PURGE, args.to_vec()))])?;
        match replies.as_slice() {
            [Reply::Integer(keys)] if *keys > 0 => removed += keys.unsigned_abs(),
            // Somebody else was faster.
            [Reply::Integer(_)] => break,
            other => return Err(Fault(format!("a purge was answered with {other:?}")).into()),
        }
    }
    Ok(removed)
}

//! What a connection is told from outside. Every wait of every connection looks here, so looking takes no lock.

use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;

/// Something that a connection has to act upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Notice {
    /// The connection is to end at once, whatever it has not sent yet.
    Kill = 1,
    /// The server ends: what has been asked is still answered.
    Shutdown = 1 << 1,
    /// This node has stopped leading.
    Demotion = 1 << 2,
    /// There is something to send that the client did not ask for just now.
    Push = 1 << 3,
}

/// The notices of one connection, and its task, which they wake.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    raised: AtomicU8,
    task: AtomicWaker,
}

impl Notices {
    /// Tells the connection.
    pub fn raise(&self, notice: Notice) {
        self.raised.fetch_or(notice as u8, Ordering::Release);
        self.task.wake();
    }

    /// Whether it was told this.
    pub fn has(&self, notice: Notice) -> bool {
        self.raised.load(Ordering::Acquire) & notice as u8 != 0
    }

    /// Whether it was told this, and forgets it.
    pub fn take(&self, notice: Notice) -> bool {
        self.has(notice) && self.raised.fetch_and(!(notice as u8), Ordering::AcqRel) & notice as u8 != 0
    }

    /// Whether it is to end, now or soon.
    pub fn is_ending(&self) -> bool {
        self.has(Notice::Kill) || self.has(Notice::Shutdown)
    }

    /// Has the task woken by the next notice; whether there is one already.
    pub fn poll_any(&self, context: &Context<'_>) -> bool {
        // First of all: a notice that is raised from here on wakes the task.
        self.task.register(context.waker());
        self.raised.load(Ordering::Acquire) != 0
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn a_notice_wakes_whoever_waits_and_stays_until_it_is_taken() {
        let notices = Arc::new(Notices::default());
        let waiting = notices.clone();
        let task = tokio::spawn(poll_fn(move |context| match waiting.poll_any(context) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }));
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        notices.raise(Notice::Demotion);
        task.await.unwrap();
        assert!(notices.has(Notice::Demotion) && !notices.is_ending());
        assert!(notices.take(Notice::Demotion) && !notices.take(Notice::Demotion));
        notices.raise(Notice::Shutdown);
        assert!(notices.is_ending() && !notices.has(Notice::Kill));
    }
}

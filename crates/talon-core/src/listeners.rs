//! Who is told of messages (`PUBLISH`) when the entry that holds them is applied.

use std::sync::{Mutex, PoisonError, Weak};

use bytes::Bytes;

/// Is told of messages, on the thread that applies: it must not wait for anything.
pub trait Listener: Send + Sync {
    /// A message was published to a channel.
    fn hear(&self, channel: &Bytes, message: &Bytes);
}

/// The listeners of one node.
#[derive(Default)]
pub struct Listeners(Mutex<Vec<Weak<dyn Listener>>>);

impl Listeners {
    /// Adds one, which is told of messages for as long as it lives.
    pub fn add(&self, listener: Weak<dyn Listener>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|listener| listener.strong_count() > 0);
        all.push(listener);
    }

    /// Tells all of them.
    pub fn tell(&self, messages: &[(Bytes, Bytes)]) {
        if messages.is_empty() {
            return;
        }
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for listener in all.iter().filter_map(Weak::upgrade) {
            messages.iter().for_each(|(channel, message)| listener.hear(channel, message));
        }
    }
}

impl std::fmt::Debug for Listeners {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Listeners").finish_non_exhaustive()
    }
}

//! What a client is sent without having asked for it just now: messages of the channels it has subscribed to. Bounded: whoever
//! does not read is cut off, so that nobody who sends ever waits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use talon_core::Reply;

/// How many bytes a message takes beside its text.
const MESSAGE_BYTES: usize = 128;

/// Something that a client is sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    Reply(Reply),
    /// Bytes as they go out.
    Line(Bytes),
}

impl Message {
    fn size_bytes(&self) -> usize {
        MESSAGE_BYTES
            + match self {
                Message::Reply(reply) => text_bytes(reply),
                Message::Line(line) => line.len(),
            }
    }
}

/// The messages that one client has not been sent yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Mutex<Messages>);

#[derive(Debug, Default)]
struct Messages {
    waiting: VecDeque<Message>,
    bytes: usize,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Messages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message; `false` = more than `bytes_max` would wait, and it was not added.
    pub fn push(&self, message: Message, bytes_max: usize) -> bool {
        let bytes = message.size_bytes();
        let mut messages = self.lock();
        if messages.bytes + bytes > bytes_max {
            return false;
        }
        messages.bytes += bytes;
        messages.waiting.push_back(message);
        true
    }

    /// Forgets what waits.
    pub fn clear(&self) {
        *self.lock() = Messages::default();
    }

    /// Takes messages out, oldest first, up to about `bytes_max`.
    pub fn take(&self, bytes_max: usize) -> Vec<Message> {
        let mut messages = self.lock();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max
            && let Some(message) = messages.waiting.pop_front()
        {
            bytes += message.size_bytes();
            taken.push(message);
        }
        messages.bytes -= bytes;
        taken
    }
}

impl Outbox {
    /// How many messages wait, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        let messages = self.lock();
        (messages.waiting.len(), messages.bytes)
    }
}

/// The bytes of the strings in a reply, and a little for each of its parts.
pub(crate) fn text_bytes(reply: &Reply) -> usize {
    const PART_BYTES: usize = 8;
    PART_BYTES
        + match reply {
            Reply::Bulk(bytes) => bytes.len(),
            Reply::Verbatim(text) => text.len(),
            Reply::Array(items) | Reply::Push(items) | Reply::Set(items) => items.iter().map(text_bytes).sum(),
            Reply::Map(pairs) => pairs.iter().map(|(key, value)| text_bytes(key) + text_bytes(value)).sum(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Message {
        Message::Reply(Reply::Push(vec![Reply::bulk("message"), Reply::Bulk(Bytes::from(vec![b'm'; bytes]))]))
    }

    #[test]
    fn it_takes_so_much_and_gives_it_back_in_order() {
        let outbox = Outbox::default();
        let bytes_max = 3 * (MESSAGE_BYTES + 7 + 100 + 3 * 8);
        for _ in 0..3 {
            assert!(outbox.push(message(100), bytes_max));
        }
        assert!(!outbox.push(message(0), bytes_max), "one more would be too much");
        assert_eq!(outbox.take(1), [message(100)]);
        assert!(outbox.push(message(99), bytes_max));
        assert_eq!(outbox.take(usize::MAX), [message(100), message(100), message(99)]);
        assert!(outbox.take(usize::MAX).is_empty());
        assert!(outbox.push(message(100), MESSAGE_BYTES + 107 + 3 * 8), "nothing is left of what was taken");
    }
}

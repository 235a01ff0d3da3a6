//! Who watches what all clients ask (`MONITOR`). A line goes into the outbox of each; one whose outbox is full does not read and
//! is cut off. While nobody watches, it costs a look at one number.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use talon_core::Flag;

use super::clients::Client;
use super::metrics::{Metrics, add};
use super::notices::Notice;
use super::outbox::Message;
use super::shown::Shown;
use super::wall_clock::unix_time;

/// How many may watch at one time: every command is written down for each.
pub(crate) const MONITORS_MAX: usize = 16;

/// The clients that watch.
#[derive(Debug, Default)]
pub(crate) struct Monitors {
    count: AtomicUsize,
    all: Mutex<BTreeMap<u64, Arc<Client>>>,
}

impl Monitors {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Client>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody watches.
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Lets a client watch; `false` = too many do.
    pub fn enter(&self, client: &Arc<Client>) -> bool {
        let mut all = self.lock();
        if all.len() >= MONITORS_MAX && !all.contains_key(&client.id) {
            return false;
        }
        all.insert(client.id, client.clone());
        self.count.store(all.len(), Ordering::Relaxed);
        true
    }

    pub fn leave(&self, id: u64) {
        if self.any() {
            let mut all = self.lock();
            all.remove(&id);
            self.count.store(all.len(), Ordering::Relaxed);
        }
    }

    /// Shows a command of this client. What operators ask is not shown, as in Redis.
    pub fn show(&self, shown: &Shown, from: &Client, bytes_max: usize, metrics: &Metrics) {
        let hidden = |flag: &Flag| matches!(flag, Flag::Admin | Flag::SkipMonitor);
        if shown.entry.facts().flags.iter().any(hidden) {
            return;
        }
        let line = Bytes::from(line(&shown.words(), &from.address.to_string()));
        for client in self.lock().values() {
            if client.outbox.push(Message::Line(line.clone()), bytes_max) {
                client.notices.raise(Notice::Push);
            } else if !client.notices.has(Notice::Kill) {
                add(&metrics.connections_cut, 1);
                tracing::warn!(client = client.id, "a monitor does not read; cutting it off");
                client.notices.raise(Notice::Kill);
            }
        }
    }
}

/// A line as Redis's monitors get it, its end included.
fn line(words: &[Bytes], address: &str) -> String {
    let now = unix_time();
    let mut line = format!("+{}.{:06} [0 {address}]", now.as_secs(), now.subsec_micros());
    for word in words {
        line.push_str(" \"");
        quote(word, &mut line);
        line.push('"');
    }
    line.push_str("\r\n");
    line
}

/// Printable ASCII as it is, and everything else as Redis escapes it.
fn quote(word: &[u8], line: &mut String) {
    for byte in word {
        match byte {
            b'\\' => line.push_str("\\\\"),
            b'"' => line.push_str("\\\""),
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b'\t' => line.push_str("\\t"),
            0x07 => line.push_str("\\a"),
            0x08 => line.push_str("\\b"),
            b' '..=b'~' => line.push(char::from(*byte)),
            // Writing to a string cannot fail.
            other => drop(write!(line, "\\x{other:02x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        let words = [Bytes::from("SET"), Bytes::from("x\r\n\"\\\x01é\t~ \x07\x08\x7f")];
        let line = line(&words, "127.0.0.1:5");
        let (_, rest) = line.split_once(" [").unwrap();
        assert_eq!(rest, "0 127.0.0.1:5] \"SET\" \"x\\r\\n\\\"\\\\\\x01\\xc3\\xa9\\t~ \\a\\b\\x7f\"\r\n");
    }
}

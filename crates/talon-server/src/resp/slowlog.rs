//! The slow log: which commands kept their clients waiting long.
//!
//! The commands of a pipeline that has arrived are carried out together, so there is one time for all of them. A slow batch is
//! one entry: the time is the batch's, and the command is the one that most likely took it, which is one that is not `fast` by its
//! flags before one that is, and then the one with the most bytes. A command that was sent alone is a batch of its own, so its time
//! is its own; so is what is carried out behind a batch. As in Redis, `EXEC` is never the command, but one of those it carries out. What a
//! command waits for on purpose (`WAIT`) does not count.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use talon_core::request::Args;
use talon_core::{Flag, Reply};

use super::clients::Client;
use super::shown::Shown;
use super::table::Entry;
use super::wall_clock::unix_time;

/// How many words of a command are kept, and how many bytes of each.
const WORDS_MAX: usize = 32;
const WORD_BYTES_MAX: usize = 128;

#[derive(Debug)]
struct SlowCommand {
    id: u64,
    unix_s: u64,
    usec: u64,
    words: Vec<Bytes>,
    address: String,
    name: String,
}

/// The last slow commands.
#[derive(Debug, Default)]
pub(crate) struct SlowLog(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next_id: u64,
    /// The newest first.
    entries: VecDeque<SlowCommand>,
}

impl SlowLog {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a batch by its likely culprit.
    pub fn add(&self, shown: &Shown, took: Duration, client: &Client, entries_max: usize) {
        let words = shortened(shown.words());
        let mut inner = self.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        inner.entries.push_front(SlowCommand {
            id,
            unix_s: unix_time().as_secs(),
            usec: took.as_micros() as u64,
            words,
            address: client.address.to_string(),
            name: client.profile().name.clone(),
        });
        inner.entries.truncate(entries_max);
    }

    /// The newest entries, as SLOWLOG GET shows them.
    pub fn newest(&self, count: usize) -> Reply {
        let inner = self.lock();
        let entries = inner.entries.iter().take(count).map(|entry| {
            Reply::Array(vec![
                Reply::Integer(entry.id as i64),
                Reply::Integer(entry.unix_s as i64),
                Reply::Integer(entry.usec as i64),
                Reply::Array(entry.words.iter().cloned().map(Reply::Bulk).collect()),
                Reply::Bulk(Bytes::from(entry.address.clone())),
                Reply::Bulk(Bytes::from(entry.name.clone())),
            ])
        });
        Reply::Array(entries.collect())
    }

    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    pub fn clear(&self) {
        self.lock().entries.clear();
    }
}

/// As Redis shortens a command.
fn shortened(words: Vec<Bytes>) -> Vec<Bytes> {
    let count = words.len();
    let kept = if count > WORDS_MAX { WORDS_MAX - 1 } else { count };
    let mut short: Vec<Bytes> = words
        .into_iter()
        .take(kept)
        .map(|word| match word.len().checked_sub(WORD_BYTES_MAX) {
            None | Some(0) => Bytes::copy_from_slice(&word),
            Some(more) => {
                let mut short = word[..WORD_BYTES_MAX].to_vec();
                short.extend(format!("... ({more} more bytes)").bytes());
                Bytes::from(short)
            }
        })
        .collect();
    if kept < count {
        short.push(Bytes::from(format!("... ({} more arguments)", count - kept)));
    }
    short
}

/// The command of a batch that most likely took its time.
#[derive(Debug, Default)]
pub(crate) struct Culprit(Option<((bool, usize), Shown)>);

impl Culprit {
    /// Looks at one more command of the batch. Its words are copied only if it is a worse one than all before.
    pub fn look(&mut self, entry: &'static Entry, name: &[u8], args: &Args) {
        let flags = entry.facts().flags;
        if flags.contains(&Flag::SkipSlowlog) {
            return;
        }
        let weight = (!flags.contains(&Flag::Fast), args.iter().map(Bytes::len).sum::<usize>());
        if self.0.as_ref().is_none_or(|(heaviest, _)| weight > *heaviest) {
            self.0 = Some((weight, Shown::new(entry, name, args)));
        }
    }

    /// The worse of both.
    pub fn join(&mut self, other: Culprit) {
        if let Some((weight, _)) = &other.0
            && self.0.as_ref().is_none_or(|(heaviest, _)| weight > heaviest)
        {
            *self = other;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn take(&mut self) -> Option<Shown> {
        self.0.take().map(|(_, shown)| shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::table;

    #[test]
    fn commands_are_shortened_as_redis_does() {
        let long = Bytes::from(vec![b'x'; 130]);
        let short = shortened(vec![Bytes::from("set"), Bytes::from(vec![b'y'; 128]), long]);
        assert_eq!(short[1].len(), 128);
        assert_eq!(short[2], [&[b'x'; 128][..], b"... (2 more bytes)"].concat());
        let words = |count: usize| shortened(vec![Bytes::from("w"); count]);
        assert_eq!(words(32).len(), 32);
        assert_eq!(words(32)[31], "w");
        assert_eq!(words(33).len(), 32);
        assert_eq!(words(33)[31], "... (2 more arguments)");
    }

    #[test]
    fn the_culprit_is_a_slow_command_or_the_largest() {
        let mut culprit = Culprit::default();
        for line in ["get a", "get aaaa", "get aa", "keys b", "get aaaaaaaaaaaa", "keys c"] {
            let (name, arg) = line.split_once(' ').unwrap();
            let entry = table::lookup(name.as_bytes()).unwrap();
            culprit.look(entry, name.as_bytes(), &Args::from(vec![Bytes::from(arg)]));
        }
        let shown = culprit.take().unwrap();
        assert_eq!((&shown.name[..], &shown.args[0][..]), (&b"keys"[..], &b"b"[..]), "the first of the heaviest");
        assert!(culprit.take().is_none());
    }
}

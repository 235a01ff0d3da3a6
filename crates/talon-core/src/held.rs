//! How many bytes a transaction holds, and by whom they were written.
//!
//! What is written over is held no more, so a value that grows in many steps counts once. What a call and an entry count for is the same
//! however entries are lumped together: only what they wrote themselves.

use crate::reply::{Reply, size_bytes};
use crate::value::Record;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// The number of the call that is being carried out.
    call: u64,
    /// The number of the entry's first call.
    entry_begin: u64,
    /// By this call.
    pub by_call: u64,
    /// How many that may be.
    pub by_call_max: u64,
    /// By this entry.
    pub by_entry: u64,
    /// By all entries of the transaction.
    pub all: u64,
}

impl Default for Held {
    fn default() -> Held {
        Held { call: 0, entry_begin: 0, by_call: 0, by_call_max: u64::MAX, by_entry: 0, all: 0 }
    }
}

impl Held {
    /// What a record under a key counts for.
    pub fn bytes(key: &[u8], record: Option<&Record>) -> u64 {
        record.map_or(0, |record| (key.len() + record.value.len()) as u64)
    }

    /// The number of the call that is being carried out.
    pub fn call(&self) -> u64 {
        self.call
    }

    pub fn begin_call(&mut self) {
        *self = Held { call: self.call + 1, by_call: 0, by_call_max: u64::MAX, ..*self };
    }

    /// The call that has begun is the first one of an entry.
    pub fn begin_entry(&mut self) {
        *self = Held { entry_begin: self.call, by_entry: 0, ..*self };
    }

    /// Where the call `writer` had written `before` bytes, this one has written `after`.
    pub fn replace(&mut self, writer: u64, before: u64, after: u64) {
        let gone = |begin: u64| if writer < begin { 0 } else { before };
        self.by_call = (self.by_call + after).saturating_sub(gone(self.call));
        self.by_entry = (self.by_entry + after).saturating_sub(gone(self.entry_begin));
        self.all = (self.all + after).saturating_sub(before);
    }

    /// What a write answers is held, too, until all of the entry is carried out: `GETEX` and `GETDEL` answer with whole values, and write little.
    pub fn add_reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Bulk(value) => self.add(value.len() as u64),
            Reply::Array(_) => self.add(size_bytes(reply) as u64),
            // A constant, or less than the request.
            _ => {}
        }
    }

    /// This call has written something new.
    pub fn add(&mut self, bytes: u64) {
        self.replace(self.call, 0, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(held: &Held) -> [u64; 3] {
        [held.by_call, held.by_entry, held.all]
    }

    #[test]
    fn each_counts_what_it_wrote_itself() {
        let mut held = Held::default();
        held.begin_call();
        held.begin_entry();
        let first = held.call();
        held.add(10);
        held.replace(first, 10, 12);
        assert_eq!(counts(&held), [12, 12, 12]);
        held.begin_call();
        let second = held.call();
        held.replace(first, 12, 20);
        held.add(1);
        assert_eq!(counts(&held), [21, 21, 21], "the entry holds it once");
        held.begin_call();
        held.begin_entry();
        held.replace(second, 20, 25);
        assert_eq!(counts(&held), [25, 25, 26], "the entry before no longer matters");
        held.replace(held.call(), 25, 0);
        held.replace(second, 1, 0);
        assert_eq!(counts(&held), [0, 0, 0]);
    }
}

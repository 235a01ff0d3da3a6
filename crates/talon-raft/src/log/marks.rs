//! What a log knows besides its entries: where it begins and ends, and the marks Raft sets in it. The writer, the
//! recovery and the memory move them by the same rules.

use crate::types::{LogId, Vote};

/// The state of the log apart from its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// The last vote saved.
    pub vote: Option<Vote>,
    /// Up to where the entries are known to be committed.
    pub committed: Option<LogId>,
    /// Up to where entries have been purged.
    pub purged: Option<LogId>,
    /// The index of the first entry, if there are any.
    pub first: u64,
    /// The last entry, or else what was purged last.
    pub last: Option<LogId>,
}

impl Marks {
    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.last.is_none_or(|last| last.index < self.first)
    }

    /// The index behind the last entry; the index of the next one unless the log is empty and was never purged, in
    /// which case it may begin anywhere.
    pub fn end(&self) -> u64 {
        if self.is_empty() { self.first } else { self.last.map_or(self.first, |last| last.index + 1) }
    }

    /// Whether an entry may come next.
    pub fn accepts(&self, index: u64) -> bool {
        (self.is_empty() && self.purged.is_none()) || index == self.end()
    }

    /// An entry comes behind the last one; check [`Marks::accepts`] before.
    pub fn append(&mut self, log_id: LogId) {
        if self.is_empty() {
            self.first = log_id.index;
        }
        self.last = Some(log_id);
    }

    /// The entries behind `after` go.
    pub fn truncate(&mut self, after: Option<LogId>) {
        if self.is_empty() || after.is_some_and(|after| self.end() <= after.index + 1) {
            return;
        }
        self.last = after.filter(|after| after.index >= self.first).or(self.purged);
    }

    /// The entries up to `upto` go, and it may lie behind the last one.
    pub fn purge(&mut self, upto: LogId) {
        if self.purged.is_some_and(|purged| upto.index <= purged.index) {
            return;
        }
        let end = self.end();
        self.purged = Some(upto);
        self.first = self.first.max(upto.index + 1);
        if end <= upto.index + 1 {
            self.last = Some(upto);
            self.first = upto.index + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::log_id;

    fn ten() -> Marks {
        let mut marks = Marks::default();
        (0..=10).for_each(|index| marks.append(log_id(1, index)));
        marks
    }

    #[test]
    fn an_empty_log_may_begin_anywhere_a_purged_one_not() {
        let mut marks = Marks::default();
        assert!(marks.is_empty() && marks.accepts(7));
        marks.append(log_id(1, 7));
        assert!(!marks.is_empty() && marks.accepts(8) && !marks.accepts(9) && !marks.accepts(7));
        marks.purge(log_id(2, 9));
        assert!(marks.is_empty() && marks.accepts(10) && !marks.accepts(9) && !marks.accepts(11));
        assert_eq!(marks.last, Some(log_id(2, 9)));
    }

    #[test]
    fn truncating_keeps_what_is_before() {
        for after in [10, 11, 99] {
            let mut marks = ten();
            marks.truncate(Some(log_id(1, after)));
            assert_eq!(marks, ten());
        }
        let mut marks = ten();
        marks.truncate(Some(log_id(1, 5)));
        assert_eq!((marks.first, marks.last, marks.end()), (0, Some(log_id(1, 5)), 6));
        marks.truncate(None);
        assert!(marks.is_empty() && marks.last.is_none());
        let mut marks = ten();
        marks.purge(log_id(1, 5));
        marks.truncate(Some(log_id(1, 3)));
        assert!(marks.is_empty());
        assert_eq!((marks.last, marks.end()), (Some(log_id(1, 5)), 6));
    }

    #[test]
    fn purging_never_goes_back() {
        let mut marks = ten();
        marks.purge(log_id(1, 5));
        marks.purge(log_id(1, 4));
        assert_eq!((marks.purged, marks.first, marks.end()), (Some(log_id(1, 5)), 6, 11));
        marks.purge(log_id(1, 10));
        assert!(marks.is_empty() && marks.accepts(11));
    }
}

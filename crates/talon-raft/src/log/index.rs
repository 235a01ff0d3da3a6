//! Where each entry is on disk: sixteen bytes an entry, for every entry from the first to the last.

use std::collections::VecDeque;
use std::ops::Range;

/// Where the record of an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment's sequence number.
    pub segment: u32,
    /// The offset of the record's header in the segment.
    pub offset: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// 0: not on the disk yet, and `place.offset` is the epoch it was appended in.
    place: Place,
    /// The sum of the lengths of all records up to and with this one, in bytes.
    end_bytes: u64,
}

/// The places of the entries `first..end`.
#[derive(Debug, Default)]
pub(super) struct Index {
    first: u64,
    slots: VecDeque<Slot>,
    /// `end_bytes` of the slot before the first.
    start_bytes: u64,
    /// Counts the truncations, so that a place that comes late is not taken for that of a newer entry.
    epoch: u32,
}

impl Index {
    /// The indexes it holds.
    pub fn range(&self) -> Range<u64> {
        self.first..self.first + self.slots.len() as u64
    }

    fn end_bytes(&self) -> u64 {
        self.slots.back().map_or(self.start_bytes, |slot| slot.end_bytes)
    }

    /// Goes to `index` if it is empty.
    pub fn begin_at(&mut self, index: u64) {
        if self.slots.is_empty() {
            self.first = index;
        }
    }

    /// An entry that is on its way to the disk.
    pub fn push(&mut self, record_bytes: u64) {
        self.push_at(Place { segment: 0, offset: self.epoch }, record_bytes);
    }

    /// An entry that is on the disk.
    pub fn push_at(&mut self, place: Place, record_bytes: u64) {
        let end_bytes = self.end_bytes() + record_bytes;
        self.slots.push_back(Slot { place, end_bytes });
    }

    /// What [`Index::settle`] wants for the entries that are pushed now.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The entry `index`, pushed in `epoch`, is on the disk. Nothing happens if it has been truncated or purged since.
    pub fn settle(&mut self, index: u64, epoch: u32, place: Place) {
        let slot = index.checked_sub(self.first).and_then(|at| self.slots.get_mut(at as usize));
        if let Some(slot) = slot.filter(|slot| slot.place == Place { segment: 0, offset: epoch }) {
            slot.place = place;
        }
    }

    /// Where the entry is, and the length of its record; `None` while it is not on the disk.
    pub fn place(&self, index: u64) -> Option<(Place, u64)> {
        let at = index.checked_sub(self.first)? as usize;
        let slot = self.slots.get(at).filter(|slot| slot.place.segment != 0)?;
        Some((slot.place, slot.end_bytes - self.start_of(at)))
    }

    fn start_of(&self, at: usize) -> u64 {
        if at == 0 { self.start_bytes } else { self.slots[at - 1].end_bytes }
    }

    /// The bytes of the records from `index` on.
    pub fn bytes_from(&self, index: u64) -> u64 {
        let at = (index.saturating_sub(self.first) as usize).min(self.slots.len());
        self.end_bytes() - self.start_of(at)
    }

    /// Forgets the entries from `end` on.
    pub fn truncate(&mut self, end: u64) {
        self.slots.truncate(end.saturating_sub(self.first) as usize);
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Forgets the entries before `first`.
    pub fn purge(&mut self, first: u64) {
        let count = (first.saturating_sub(self.first) as usize).min(self.slots.len());
        self.start_bytes = self.start_of(count);
        self.slots.drain(..count);
        self.first += count as u64;
        self.begin_at(first.max(self.first));
        // Give the memory of a long log back once it is short again.
        if self.slots.capacity() > 1024 && self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to(self.slots.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_places_and_sums() {
        let mut index = Index::default();
        index.begin_at(5);
        [10, 20, 30].into_iter().for_each(|bytes| index.push(bytes));
        assert_eq!((index.range(), index.bytes_from(0), index.bytes_from(6), index.bytes_from(9)), (5..8, 60, 50, 0));
        assert_eq!(index.place(6), None);
        let epoch = index.epoch();
        index.truncate(7);
        index.push(40);
        let place = |offset| Place { segment: 3, offset };
        (5..8).for_each(|entry| index.settle(entry, epoch, place(entry as u32)));
        assert_eq!(index.place(6), Some((place(6), 20)));
        assert_eq!(index.place(7), None, "a place of what was truncated is not taken");
        index.purge(7);
        assert_eq!((index.range(), index.bytes_from(0), index.place(6)), (7..8, 40, None));
        index.settle(7, index.epoch(), place(9));
        assert_eq!(index.place(7), Some((place(9), 40)));
        index.purge(100);
        assert_eq!((index.range(), index.bytes_from(0)), (100..100, 0));
    }
}

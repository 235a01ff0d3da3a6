//! What a transaction has written so far: found by its key at once, and walked in key order when somebody asks for that.

use std::ops::Range;

use bytes::Bytes;
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Values by keys. Nothing is ever removed. The order in which they came is the only one that costs nothing.
#[derive(Clone, Debug)]
pub(crate) struct Overlay<T> {
    /// Another one each time, so that keys which meet in one place here do not meet again.
    seed: u64,
    /// Numbers of `rows`: looked up, never walked.
    numbers: HashTable<u32>,
    rows: Vec<Row<T>>,
    /// Numbers of the first so many rows, by their keys.
    sorted: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Row<T> {
    hash: u64,
    key: Bytes,
    value: T,
}

impl<T> Overlay<T> {
    /// An empty one.
    pub(crate) fn new(seed: u64) -> Overlay<T> {
        Overlay { seed, numbers: HashTable::new(), rows: Vec::new(), sorted: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let is_it = |number: &u32| {
            let row = &self.rows[*number as usize];
            row.hash == hash && row.key == key
        };
        self.numbers.find(hash, is_it).map(|number| *number as usize)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&T> {
        if self.rows.is_empty() {
            return None;
        }
        self.find(xxh3_64_with_seed(key, self.seed), key).map(|number| &self.rows[number].value)
    }

    pub(crate) fn get_mut(&mut self, key: &[u8]) -> Option<&mut T> {
        let number = self.find(xxh3_64_with_seed(key, self.seed), key)?;
        Some(&mut self.rows[number].value)
    }

    /// Adds a value under a key that has none yet.
    pub(crate) fn insert_new(&mut self, key: Bytes, value: T) {
        let hash = xxh3_64_with_seed(&key, self.seed);
        let number = self.rows.len() as u32;
        self.rows.push(Row { hash, key, value });
        let rows = &self.rows;
        self.numbers.insert_unique(hash, number, |number| rows[*number as usize].hash);
    }

    /// Where in `sorted`, which is brought up to date, the rows are whose keys are in `from..until` (`None` = to the end).
    fn places(&mut self, from: &[u8], until: Option<&[u8]>) -> Range<usize> {
        let rows = &self.rows;
        let key = |number: &u32| &*rows[*number as usize].key;
        if self.sorted.len() < rows.len() {
            self.sorted.extend(self.sorted.len() as u32..rows.len() as u32);
            // Sorted for the most part, which this makes use of.
            self.sorted.sort_by(|one, other| key(one).cmp(key(other)));
        }
        let begin = self.sorted.partition_point(|number| key(number) < from);
        let end = until.map_or(rows.len(), |until| self.sorted.partition_point(|number| key(number) < until));
        begin..end.max(begin)
    }

    /// The values in key order.
    pub(crate) fn range(&mut self, from: &[u8], until: Option<&[u8]>) -> impl Iterator<Item = (&Bytes, &T)> {
        let places = self.places(from, until);
        self.sorted[places].iter().map(|number| {
            let row = &self.rows[*number as usize];
            (&row.key, &row.value)
        })
    }

    /// Calls `change` with each of them, in key order.
    pub(crate) fn change_range(&mut self, from: &[u8], until: Option<&[u8]>, mut change: impl FnMut(&Bytes, &mut T)) {
        for place in self.places(from, until) {
            let row = &mut self.rows[self.sorted[place] as usize];
            change(&row.key, &mut row.value);
        }
    }

    /// All of them, in the order in which they came.
    pub(crate) fn into_rows(self) -> impl Iterator<Item = (Bytes, T)> {
        self.rows.into_iter().map(|row| (row.key, row.value))
    }
}

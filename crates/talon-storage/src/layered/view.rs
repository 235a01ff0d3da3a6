//! What a reader sees: the generations up to a position, above the engine's own view.

use std::sync::Arc;

use bytes::Bytes;

use super::generation::{DeletedRange, Generation, Hasher};
use super::live::Live;
use super::merge::Merge;
use crate::{Rows, Space, StorageError, View};

/// Fewer keys than this are not worth a look ahead.
const TOUCHED_KEYS_MIN: usize = 8;

/// What views share until a generation comes or goes.
pub(super) struct Base {
    /// Newest first: the one that is written to, those that wait to be drained, those that are drained and kept for readers.
    pub generations: Vec<Arc<Generation>>,
    /// How many of them are not drained.
    pub undrained: usize,
    /// What the engine below held when the last one was drained.
    pub inner: Arc<dyn View>,
}

impl Base {
    /// How much memory the first `count` generations take, about. What is being drained is in the memtable below, too.
    pub fn bytes(&self, count: usize) -> usize {
        let bytes = |generations: &[Arc<Generation>]| -> usize {
            generations.iter().map(|generation| generation.bytes()).sum()
        };
        let sealed = bytes(&self.generations[1..self.undrained]);
        bytes(&self.generations[..count]) + sealed
    }
}

pub(super) struct LayeredView {
    base: Arc<Base>,
    at: u64,
    live: Arc<Live>,
    hasher: Hasher,
}

impl LayeredView {
    /// `at` must have been published with `base`, and no later position yet.
    pub fn new(base: Arc<Base>, at: u64, live: Arc<Live>, hasher: Hasher) -> LayeredView {
        live.enter(at);
        LayeredView { base, at, live, hasher }
    }

    /// `None`: only the engine below can tell.
    fn find(&self, space: Space, key: &[u8]) -> Option<Option<Bytes>> {
        let hash = if space == Space::Data { self.hasher.hash(key) } else { 0 };
        for generation in &self.base.generations {
            let deleted_at = generation.deleted_at(space, key, self.at);
            match generation.get(space, hash, key, self.at) {
                Some(found) if found.sequence > deleted_at => return Some(found.value),
                Some(_) => return Some(None),
                None if deleted_at > 0 => return Some(None),
                None => {}
            }
        }
        None
    }
}

impl Drop for LayeredView {
    fn drop(&mut self) {
        self.live.leave(self.at);
    }
}

impl View for LayeredView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        match self.find(space, key) {
            Some(value) => Ok(value),
            None => self.base.inner.get(space, key),
        }
    }

    fn touch(&self, space: Space, keys: &mut dyn Iterator<Item = &[u8]>) {
        if space != Space::Data {
            return;
        }
        let mut hashes: Vec<u64> = keys.map(|key| self.hasher.hash(key)).collect();
        for generation in &self.base.generations {
            generation.data.touch(&mut hashes);
        }
    }

    fn get_many(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StorageError> {
        if keys.len() >= TOUCHED_KEYS_MIN {
            self.touch(space, &mut keys.iter().copied());
        }
        let mut values = Vec::with_capacity(keys.len());
        let mut below = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            let found = self.find(space, key);
            if found.is_none() {
                below.push(place);
            }
            values.push(found.flatten());
        }
        match below[..] {
            [] => {}
            [place] => values[place] = self.base.inner.get(space, keys[place])?,
            _ => {
                let wanted: Vec<&[u8]> = below.iter().map(|place| keys[*place]).collect();
                for (place, value) in below.into_iter().zip(self.base.inner.get_many(space, &wanted)?) {
                    values[place] = value;
                }
            }
        }
        Ok(values)
    }

    fn scan(&self, space: Space, from: &[u8], until: Option<&[u8]>) -> Rows<'_> {
        if until.is_some_and(|until| until <= from) {
            return Box::new(std::iter::empty());
        }
        let generations = &self.base.generations;
        let ranges: Vec<DeletedRange> =
            generations.iter().flat_map(|generation| generation.ranges(Some(space), self.at)).collect();
        let inner = &*self.base.inner;
        let gaps = gaps(&ranges, from, until);
        let mut below = gaps.into_iter().flat_map(move |(from, until)| inner.scan(space, &from, until.as_deref()));
        let above = Merge::new(generations.iter(), space, from, until, self.at);
        let below_head = below.next();
        Box::new(Scan { space, above, ranges, below: Box::new(below), below_head })
    }
}

/// What is left of `from..until` without the ranges.
fn gaps(ranges: &[DeletedRange], from: &[u8], until: Option<&[u8]>) -> Vec<(Bytes, Option<Bytes>)> {
    let mut sorted: Vec<&DeletedRange> = ranges.iter().collect();
    sorted.sort_by(|one, other| one.from.cmp(&other.from));
    let mut gaps = Vec::new();
    let mut begin = Bytes::copy_from_slice(from);
    for range in sorted {
        if until.is_some_and(|until| *range.from >= *until) {
            break;
        }
        if begin < range.from {
            gaps.push((begin.clone(), Some(range.from.clone())));
        }
        begin = begin.max(range.until.clone());
    }
    if until.is_none_or(|until| *begin < *until) {
        gaps.push((begin, until.map(Bytes::copy_from_slice)));
    }
    gaps
}

struct Scan<'a> {
    space: Space,
    above: Merge<'a>,
    ranges: Vec<DeletedRange>,
    below: Rows<'a>,
    below_head: Option<Result<(Bytes, Bytes), StorageError>>,
}

impl Iterator for Scan<'_> {
    type Item = Result<(Bytes, Bytes), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.above.peek(), &self.below_head) {
                (_, Some(Err(_))) | (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(above), Some(Ok((below, _)))) => above.cmp(below),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, None) => return None,
            };
            if order.is_gt() {
                let row = self.below_head.take();
                if !matches!(row, Some(Err(_))) {
                    self.below_head = self.below.next();
                }
                return row;
            }
            if order.is_eq() {
                self.below_head = self.below.next();
            }
            let (key, found) = self.above.next()?;
            let is_deleted = self.ranges.iter().any(|range| range.hides(self.space, &key, found.sequence));
            if let Some(value) = found.value.filter(|_| !is_deleted) {
                return Some(Ok((key, value)));
            }
        }
    }
}

//! A set of keys that is given as ranges.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// Ranges of keys, kept disjoint: each from its first key on up to a key that is out (`None` = to the end).
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyRanges(BTreeMap<Bytes, Option<Bytes>>);

impl KeyRanges {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.reaching(key).is_some_and(|(_, end)| end.is_none_or(|end| key < end))
    }

    /// The last range that begins at `key` or before.
    fn reaching(&self, key: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
        let (begin, end) = self.0.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        Some((begin, end.as_deref()))
    }

    /// Adds a range, which must not be empty. What overlaps with it becomes one with it.
    pub(crate) fn insert(&mut self, from: &[u8], until: Option<&[u8]>) {
        let mut from = Bytes::copy_from_slice(from);
        let mut until = until.map(Bytes::copy_from_slice);
        if let Some((begin, end)) = self.reaching(&from)
            && end.is_none_or(|end| *from <= *end)
        {
            from = Bytes::copy_from_slice(begin);
        }
        // All that begin inside go; the last of them may reach further.
        let upper = until.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let inside: Vec<Bytes> =
            self.0.range::<[u8], _>((Bound::Included(&from[..]), upper)).map(|(begin, _)| begin.clone()).collect();
        for begin in inside {
            if let Some(end) = self.0.remove(&begin) {
                until = until.zip(end).map(|(until, end)| until.max(end));
            }
        }
        self.0.insert(from, until);
    }

    /// What of `from..until` (`None` = to the end) is in none of the ranges, ascending.
    pub(crate) fn gaps<'a>(
        &'a self,
        from: &'a [u8],
        until: Option<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let until = until.map(|until| until.max(from));
        let lower = self.reaching(from).map_or(from, |(begin, _)| begin);
        let upper = until.map_or(Bound::Unbounded, Bound::Excluded);
        let mut ranges = self.0.range::<[u8], _>((Bound::Included(lower), upper));
        // Where the next gap begins, if there may be one more.
        let mut next = Some(from);
        std::iter::from_fn(move || {
            loop {
                let gap = next?;
                let Some((begin, end)) = ranges.next() else {
                    next = None;
                    return until.is_none_or(|until| gap < until).then_some((gap, until));
                };
                next = end.as_deref().map(|end| end.max(gap));
                if gap < &**begin {
                    return Some((gap, Some(begin)));
                }
            }
        })
    }

    /// The ranges, ascending: no two of them touch.
    pub(crate) fn into_iter(self) -> impl Iterator<Item = (Bytes, Option<Bytes>)> {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One byte is enough to have all the ways ranges can lie to each other; 10 stands for the end.
    fn range() -> impl Strategy<Value = (u8, u8)> {
        (0..10u8, 1..=10u8).prop_map(|(from, length)| (from, (from + length).min(10)))
    }

    proptest! {
        #[test]
        fn the_ranges_are_a_set_of_keys(inserted in prop::collection::vec(range(), 0..6), asked in range()) {
            let end = |until: u8| (until < 10).then_some([until]);
            let mut ranges = KeyRanges::default();
            let mut expected = [false; 10];
            for (from, until) in inserted {
                ranges.insert(&[from], end(until).as_ref().map(|key| &key[..]));
                expected[from as usize..until as usize].fill(true);
            }
            for (key, expected) in (0..).zip(expected) {
                prop_assert_eq!(ranges.contains(&[key]), expected);
            }
            let until = end(asked.1);
            let mut covered = expected;
            covered[asked.0 as usize..asked.1 as usize].fill(true);
            for (from, until) in ranges.gaps(&[asked.0], until.as_ref().map(|key| &key[..])) {
                let until = until.map_or(10, |until| until[0]);
                prop_assert!(from[0] < until);
                for key in from[0]..until {
                    prop_assert!((asked.0..asked.1).contains(&key) && !expected[key as usize]);
                    covered[key as usize] = false;
                }
            }
            prop_assert_eq!(covered[asked.0 as usize..asked.1 as usize].to_vec(),
                expected[asked.0 as usize..asked.1 as usize].to_vec());
            let all: Vec<_> = ranges.into_iter().collect();
            for pair in all.windows(2) {
                prop_assert!(pair[0].1.as_ref().is_some_and(|end| *end < pair[1].0));
            }
        }
    }
}

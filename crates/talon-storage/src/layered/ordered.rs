//! The rows of one generation by their keys, in order: for the spaces that are small or read in order all the time.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use super::live::Seen;
use super::table::Found;

/// What a row takes beside its bytes, about.
const ROW_BYTES: usize = 96;
const VERSION_BYTES: usize = 48;

#[derive(Default)]
pub(super) struct Ordered {
    /// The versions of each row, oldest first.
    rows: RwLock<BTreeMap<Bytes, Vec<Found>>>,
    bytes: AtomicUsize,
}

impl Ordered {
    /// The row as a view at `at` sees it, if anything is known of it here.
    pub fn get(&self, key: &[u8], at: u64) -> Option<Found> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        version_at(rows.get(key)?, at)
    }

    /// Writes a row, or (`None`) that it is gone. `sequence` is above all before. Only for the one writer.
    pub fn write(&self, key: &[u8], value: Option<&[u8]>, sequence: u64, seen: &Seen<'_>) {
        let written = Found { sequence, value: value.map(Bytes::copy_from_slice) };
        let mut more = VERSION_BYTES + value.map_or(0, <[u8]>::len);
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        match rows.get_mut(key) {
            None => {
                more += ROW_BYTES + key.len();
                rows.insert(Bytes::copy_from_slice(key), vec![written]);
            }
            Some(versions) => {
                let mut later = sequence;
                let mut gone = 0;
                for place in (0..versions.len()).rev() {
                    let own = versions[place].sequence;
                    // The newest that is published stays, for views that are about to be taken.
                    let is_needed = own <= seen.published && (later > seen.published || seen.is_needed(own, later));
                    if is_needed {
                        later = own;
                    } else {
                        let removed = versions.remove(place);
                        gone += VERSION_BYTES + removed.value.map_or(0, |value| value.len());
                    }
                }
                versions.push(written);
                self.bytes.fetch_sub(gone, Ordering::Relaxed);
            }
        }
        self.bytes.fetch_add(more, Ordering::Relaxed);
    }

    /// What a view at `at` knows of the next `rows_max` rows, in order; and the last of these rows, if there may be more behind it.
    pub fn page(
        &self,
        from: Bound<&[u8]>,
        until: Option<&[u8]>,
        at: u64,
        rows_max: usize,
    ) -> (Vec<(Bytes, Found)>, Option<Bytes>) {
        let upper = until.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let mut page = Vec::new();
        let mut last = None;
        for (key, versions) in rows.range::<[u8], _>((from, upper)).take(rows_max) {
            page.extend(version_at(versions, at).map(|found| (key.clone(), found)));
            last = Some(key);
        }
        (page, last.cloned())
    }

    /// How much memory it takes, about.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn version_at(versions: &[Found], at: u64) -> Option<Found> {
    versions.iter().rev().find(|found| found.sequence <= at).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_view_sees_its_own_version_and_no_more_are_kept() {
        let rows = Ordered::default();
        for sequence in 1..1_000_u64 {
            let seen = Seen { published: sequence - 1, live: &[1, sequence - 1] };
            rows.write(b"k", Some(&sequence.to_be_bytes()), sequence, &seen);
        }
        let value = |at| rows.get(b"k", at).and_then(|found| found.value);
        assert_eq!(value(1).as_deref(), Some(&1_u64.to_be_bytes()[..]));
        assert_eq!(value(998).as_deref(), Some(&998_u64.to_be_bytes()[..]));
        assert_eq!(value(999).as_deref(), Some(&999_u64.to_be_bytes()[..]));
        assert!(rows.bytes() < 1_000);
    }

    #[test]
    fn pages_follow_each_other() {
        let rows = Ordered::default();
        for (number, key) in [b"a", b"b", b"c", b"d"].iter().enumerate() {
            rows.write(*key, Some(b""), number as u64 + 1, &Seen { published: number as u64, live: &[] });
        }
        let keys = |page: Vec<(Bytes, Found)>| page.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let (first, last) = rows.page(Bound::Included(b"a"), Some(b"d"), 9, 2);
        assert_eq!((keys(first), last), (vec![Bytes::from("a"), Bytes::from("b")], Some(Bytes::from("b"))));
        let (second, last) = rows.page(Bound::Excluded(b"b"), Some(b"d"), 9, 2);
        assert_eq!((keys(second), last), (vec![Bytes::from("c")], Some(Bytes::from("c"))));
        assert_eq!(rows.page(Bound::Excluded(b"c"), Some(b"d"), 9, 2), (Vec::new(), None));
        assert!(rows.page(Bound::Included(b"a"), None, 0, 9).0.is_empty());
    }
}

//! Keys of a generation's table, sorted: made when somebody wants to read in order, and to drain.

use std::sync::Arc;

use bytes::Bytes;

use super::table::{Known, RowId, Table};

/// Rows of a run lie anywhere in memory. Who reads many of them has so many brought near at once.
pub(super) const TOUCHED_ROWS: usize = 32;
/// Runs that are longer than this together are not merged.
const MERGED_KEYS_MAX: usize = 256 << 10;

/// Keys in order. Each key of a table is in one run only.
pub(super) struct Run {
    /// All keys, one behind the other.
    bytes: Bytes,
    keys: Vec<RunKey>,
}

struct RunKey {
    start: u32,
    end: u32,
    row: RowId,
}

impl Run {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.keys.len() * size_of::<RunKey>()
    }

    pub fn key(&self, place: usize) -> &[u8] {
        let key = &self.keys[place];
        &self.bytes[key.start as usize..key.end as usize]
    }

    /// The key, without a copy: it holds the whole run's memory.
    pub fn shared_key(&self, place: usize) -> Bytes {
        let key = &self.keys[place];
        self.bytes.slice(key.start as usize..key.end as usize)
    }

    pub fn row(&self, place: usize) -> RowId {
        self.keys[place].row
    }

    /// Has the next rows from a place on brought near, as many as are worth it, but none from `end` on.
    pub fn touch(&self, table: &Table, from: usize, end: usize) {
        table.touch_rows((from..end.min(from + TOUCHED_ROWS)).map(|place| self.row(place)));
    }

    /// The first place whose key is not below `from`.
    pub fn seek(&self, from: &[u8]) -> usize {
        self.keys.partition_point(|key| &self.bytes[key.start as usize..key.end as usize] < from)
    }

    /// The keys that have come to the table since `known`; several runs if they are too many for one.
    pub fn of_new(table: &Table, known: &mut Known) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut unsorted = Unsorted::default();
        table.visit_new(known, |key, row| {
            if unsorted.bytes.len() + key.len() > u32::MAX as usize {
                runs.push(std::mem::take(&mut unsorted).sort());
            }
            unsorted.push(key, row);
        });
        if !unsorted.keys.is_empty() {
            runs.push(unsorted.sort());
        }
        runs
    }

    /// One run of two.
    pub fn merge(one: &Run, other: &Run) -> Run {
        let mut bytes = Vec::with_capacity(one.bytes.len() + other.bytes.len());
        let mut keys = Vec::with_capacity(one.len() + other.len());
        let mut push = |run: &Run, place: usize| {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(run.key(place));
            keys.push(RunKey { start, end: bytes.len() as u32, row: run.row(place) });
        };
        let (mut left, mut right) = (0, 0);
        while left < one.len() && right < other.len() {
            if one.key(left) <= other.key(right) {
                push(one, left);
                left += 1;
            } else {
                push(other, right);
                right += 1;
            }
        }
        (left..one.len()).for_each(|place| push(one, place));
        (right..other.len()).for_each(|place| push(other, place));
        Run { bytes: bytes.into(), keys }
    }

    fn fits_with(&self, other: &Run) -> bool {
        self.bytes.len() + other.bytes.len() <= u32::MAX as usize
    }
}

#[derive(Default)]
struct Unsorted {
    bytes: Vec<u8>,
    keys: Vec<RunKey>,
}

impl Unsorted {
    fn push(&mut self, key: &[u8], row: RowId) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(key);
        self.keys.push(RunKey { start, end: self.bytes.len() as u32, row });
    }

    /// Sorts by eight bytes behind what all keys have in common, as one number; only where these are equal, by all the rest.
    fn sort(self) -> Run {
        let Unsorted { bytes, keys } = self;
        let key = |key: &RunKey| &bytes[key.start as usize..key.end as usize];
        let mut keys = keys.into_iter().map(|run_key| (0_u64, run_key)).collect::<Vec<_>>();
        let common = match keys.split_first() {
            Some(((_, first), rest)) => {
                rest.iter().fold(key(first), |common, (_, next)| common_start(common, key(next))).len()
            }
            None => 0,
        };
        for (number, run_key) in &mut keys {
            let rest = &key(run_key)[common..];
            let mut head = [0; 8];
            let bytes = rest.len().min(8);
            head[..bytes].copy_from_slice(&rest[..bytes]);
            *number = u64::from_be_bytes(head);
        }
        keys.sort_unstable_by(|(one_number, one), (other_number, other)| {
            one_number.cmp(other_number).then_with(|| key(one).cmp(key(other)))
        });
        let mut sorted = Vec::with_capacity(bytes.len());
        let keys = keys.into_iter().map(|(_, run_key)| {
            let start = sorted.len() as u32;
            sorted.extend_from_slice(key(&run_key));
            RunKey { start, end: sorted.len() as u32, row: run_key.row }
        });
        let keys = keys.collect();
        Run { bytes: sorted.into(), keys }
    }
}

/// Goes through all rows of a table by its runs, in the order of the keys.
pub(super) fn visit_in_order<E>(
    table: &Table,
    runs: &[Arc<Run>],
    mut visit: impl FnMut(&[u8], RowId) -> Result<(), E>,
) -> Result<(), E> {
    let mut next = vec![0; runs.len()];
    loop {
        let heads = runs.iter().zip(&next).enumerate().filter(|(_, (run, place))| **place < run.len());
        let first = heads.min_by(|(_, (one, at)), (_, (other, its))| one.key(**at).cmp(other.key(**its)));
        let Some((number, (run, place))) = first.map(|(number, (run, place))| (number, (run, *place))) else {
            return Ok(());
        };
        if place.is_multiple_of(TOUCHED_ROWS) {
            run.touch(table, place, run.len());
        }
        next[number] += 1;
        visit(run.key(place), run.row(place))?;
    }
}

fn common_start<'a>(one: &'a [u8], other: &[u8]) -> &'a [u8] {
    let bytes = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    &one[..bytes]
}

/// The runs of a table so far. The ranges of their lengths are few, so there are few of them, however often somebody asks.
#[derive(Default)]
pub(super) struct Runs {
    known: Known,
    runs: Vec<Arc<Run>>,
}

impl Runs {
    /// All keys of the table, in several runs. Small ones are merged as they come; large ones stay as they are, so that
    /// nobody who asks has to wait for long.
    pub fn all(&mut self, table: &Table) -> Vec<Arc<Run>> {
        for run in Run::of_new(table, &mut self.known) {
            let mut run = Arc::new(run);
            let is_merged = |last: &Run, run: &Run| {
                last.len() < 2 * run.len() && last.len() + run.len() <= MERGED_KEYS_MAX && last.fits_with(run)
            };
            while let Some(last) = self.runs.pop_if(|last| is_merged(last, &run)) {
                run = Arc::new(Run::merge(&last, &run));
            }
            self.runs.push(run);
        }
        self.runs.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::live::Seen;
    use super::super::table::Write;
    use super::*;

    proptest! {
        #[test]
        fn runs_hold_every_key_once_and_in_order(
            steps in prop::collection::vec(prop::collection::vec("[ab]{0,11}|prefix:[0-9]{1,10}", 0..30), 1..20),
        ) {
            let (table, mut runs) = (Table::new(), Runs::default());
            let mut sequence = 0;
            let mut expected = std::collections::BTreeSet::new();
            for keys in steps {
                for key in keys {
                    sequence += 1;
                    let hash = xxhash_rust::xxh3::xxh3_64(key.as_bytes());
                    let write = Write { hash, key: key.as_bytes(), value: Some(b""), sequence };
                    table.write(&mut [write], &Seen { published: sequence - 1, live: &[] });
                    expected.insert(key.into_bytes());
                }
                let all = runs.all(&table);
                let mut found = Vec::new();
                for pair in all.windows(2) {
                    prop_assert!(pair[0].len() >= 2 * pair[1].len(), "all are small here");
                }
                for run in all {
                    for place in 0..run.len() {
                        prop_assert!(place == 0 || run.key(place - 1) < run.key(place));
                        prop_assert_eq!(run.seek(run.key(place)), place);
                        prop_assert_eq!(table.get_row(run.row(place), sequence), table.get(xxhash_rust::xxh3::xxh3_64(run.key(place)), run.key(place), sequence));
                        found.push(run.key(place).to_vec());
                    }
                }
                found.sort();
                prop_assert!(found.iter().eq(expected.iter()));
            }
        }
    }
}

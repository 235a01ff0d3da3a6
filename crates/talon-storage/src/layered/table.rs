//! The rows of one generation by their keys, in any order: a hash table with versions.
//!
//! Many readers, one writer. Each shard has a lock of its own, so both wait for each other only for the time of one row. A row that
//! is written again keeps its older version as long as a view can see it; then the older version's memory serves the next write.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::live::Seen;

const SHARDS: usize = 64;
/// No version at all.
const NONE: u32 = u32::MAX;
/// The length of a version that says that the row is gone.
const DELETED: u32 = u32::MAX;
/// Values from this size on lie by themselves and are read without a copy.
const LARGE_BYTES: usize = 8 << 10;
/// The first and the largest piece of memory that a shard takes at once.
const CHUNK_BYTES_MIN: usize = 1 << 10;
const CHUNK_BYTES_MAX: usize = 64 << 10;
/// The chunk number of values that lie by themselves.
const LARGE_CHUNK: u32 = u32::MAX;

/// What is known of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Which operation wrote it.
    pub sequence: u64,
    /// `None`: that operation removed it.
    pub value: Option<Bytes>,
}

/// A row of a table, wherever its versions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowId {
    shard: u32,
    key: u32,
}

pub(super) struct Table {
    seed: u64,
    shards: Box<[RwLock<Shard>]>,
    bytes: AtomicUsize,
}

#[derive(Default)]
struct Shard {
    /// Numbers of `keys` by their hashes.
    places: HashTable<u32>,
    keys: Vec<Key>,
    versions: Vec<Version>,
    arena: Arena,
    large: Vec<Bytes>,
}

struct Key {
    hash: u64,
    place: Place,
    bytes: u32,
    /// The newest version.
    newest: u32,
}

struct Version {
    sequence: u64,
    place: Place,
    bytes: u32,
    /// How many bytes fit at its place.
    room: u32,
    /// The version before; [`NONE`] if there is none, or no view sees it.
    older: u32,
}

/// Where bytes lie.
#[derive(Clone, Copy, Default)]
struct Place {
    chunk: u32,
    offset: u32,
}

/// Memory that is given back only as a whole.
#[derive(Default)]
struct Arena {
    chunks: Vec<Vec<u8>>,
}

impl Arena {
    /// Returns where the bytes lie, and how much memory was taken for more of them.
    fn push(&mut self, bytes: &[u8]) -> (Place, usize) {
        let fits = self.chunks.last().is_some_and(|chunk| chunk.capacity() - chunk.len() >= bytes.len());
        let mut taken = 0;
        if !fits {
            let size = self.chunks.last().map_or(CHUNK_BYTES_MIN, |last| (last.capacity() * 2).min(CHUNK_BYTES_MAX));
            taken = size.max(bytes.len());
            self.chunks.push(Vec::with_capacity(taken));
        }
        let number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[number];
        let offset = chunk.len();
        chunk.extend_from_slice(bytes);
        (Place { chunk: number as u32, offset: offset as u32 }, taken)
    }

    fn get(&self, place: Place, bytes: usize) -> &[u8] {
        let offset = place.offset as usize;
        &self.chunks[place.chunk as usize][offset..offset + bytes]
    }

    fn put(&mut self, place: Place, bytes: &[u8]) {
        let offset = place.offset as usize;
        self.chunks[place.chunk as usize][offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

impl Shard {
    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.places.find(hash, |number| self.is(*number, hash, key)).copied()
    }

    fn is(&self, number: u32, hash: u64, key: &[u8]) -> bool {
        let known = &self.keys[number as usize];
        known.hash == hash && self.arena.get(known.place, known.bytes as usize) == key
    }

    /// The newest version that was written at `at` or before.
    fn version_at(&self, key: u32, at: u64) -> Option<Found> {
        let mut number = self.keys[key as usize].newest;
        while number != NONE {
            let version = &self.versions[number as usize];
            if version.sequence <= at {
                return Some(Found { sequence: version.sequence, value: self.value(version) });
            }
            number = version.older;
        }
        None
    }

    fn value(&self, version: &Version) -> Option<Bytes> {
        match version {
            Version { bytes: DELETED, .. } => None,
            Version { place: Place { chunk: LARGE_CHUNK, offset }, .. } => Some(self.large[*offset as usize].clone()),
            _ => Some(Bytes::copy_from_slice(self.arena.get(version.place, version.bytes as usize))),
        }
    }

    /// Writes over a version; returns how much more memory is in use.
    fn fill(&mut self, number: u32, sequence: u64, older: u32, value: Option<&[u8]>) -> usize {
        let version = &mut self.versions[number as usize];
        (version.sequence, version.older) = (sequence, older);
        let Some(value) = value else {
            version.bytes = DELETED;
            if version.place.chunk == LARGE_CHUNK {
                self.large[version.place.offset as usize] = Bytes::new();
            }
            return 0;
        };
        version.bytes = value.len() as u32;
        let is_large = version.place.chunk == LARGE_CHUNK;
        if value.len() >= LARGE_BYTES {
            let value = Bytes::copy_from_slice(value);
            let bytes = value.len();
            if is_large {
                // What was there counts until the generation ends: it may be read still.
                self.large[version.place.offset as usize] = value;
            } else {
                version.place = Place { chunk: LARGE_CHUNK, offset: self.large.len() as u32 };
                version.room = 0;
                self.large.push(value);
            }
            return bytes;
        }
        if !is_large && version.room as usize >= value.len() {
            self.arena.put(version.place, value);
            return 0;
        }
        if is_large {
            self.large[version.place.offset as usize] = Bytes::new();
        }
        let (place, taken) = self.arena.push(value);
        (version.place, version.room) = (place, value.len() as u32);
        taken
    }

    fn new_version(&mut self) -> u32 {
        let nowhere = Version { sequence: 0, place: Place::default(), bytes: DELETED, room: 0, older: NONE };
        self.versions.push(nowhere);
        (self.versions.len() - 1) as u32
    }

    fn write(&mut self, hash: u64, key: &[u8], value: Option<&[u8]>, sequence: u64, seen: &Seen<'_>) -> usize {
        let Some(number) = self.find(hash, key) else {
            let (place, taken) = self.arena.push(key);
            let version = self.new_version();
            let number = self.keys.len() as u32;
            self.keys.push(Key { hash, place, bytes: key.len() as u32, newest: version });
            let keys = &self.keys;
            self.places.insert_unique(hash, number, |number| keys[*number as usize].hash);
            let more = self.fill(version, sequence, NONE, value);
            return taken + more + size_of::<Key>() + size_of::<Version>() + 2 * size_of::<u32>();
        };
        let newest = self.keys[number as usize].newest;
        let (newest_sequence, mut older) = {
            let version = &self.versions[newest as usize];
            (version.sequence, version.older)
        };
        if newest_sequence > seen.published {
            // Nobody can see it yet.
            return self.fill(newest, sequence, older, value);
        }
        // Of the versions behind it, the first that nobody sees any more serves again.
        let mut free = None;
        let mut later = newest_sequence;
        let mut behind = newest;
        while older != NONE {
            let (its_sequence, next) = {
                let version = &self.versions[older as usize];
                (version.sequence, version.older)
            };
            if seen.is_needed(its_sequence, later) {
                behind = older;
                later = its_sequence;
            } else {
                self.versions[behind as usize].older = next;
                if free.is_none() {
                    free = Some(older);
                }
            }
            older = next;
        }
        let (version, taken) = match free {
            Some(version) => (version, 0),
            None => (self.new_version(), size_of::<Version>()),
        };
        self.keys[number as usize].newest = version;
        taken + self.fill(version, sequence, newest, value)
    }
}

impl Table {
    pub fn new() -> Table {
        Table {
            // Clients choose the keys; which of them meet in one place is not for them to choose.
            seed: RandomState::new().hash_one(0_u8),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            bytes: AtomicUsize::new(0),
        }
    }

    fn hash(&self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed)
    }

    fn read(&self, shard: usize) -> RwLockReadGuard<'_, Shard> {
        self.shards[shard].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, shard: usize) -> RwLockWriteGuard<'_, Shard> {
        self.shards[shard].write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row as a view at `at` sees it, if anything is known of it here.
    pub fn get(&self, key: &[u8], at: u64) -> Option<Found> {
        let hash = self.hash(key);
        let shard = self.read(shard_of(hash));
        let number = shard.find(hash, key)?;
        shard.version_at(number, at)
    }

    /// The same for a row whose place is known.
    pub fn get_row(&self, row: RowId, at: u64) -> Option<Found> {
        self.read(row.shard as usize).version_at(row.key, at)
    }

    /// Writes a row, or (`None`) that it is gone. `sequence` is above all before. Only for the one writer.
    pub fn write(&self, key: &[u8], value: Option<&[u8]>, sequence: u64, seen: &Seen<'_>) {
        let hash = self.hash(key);
        let more = self.write_to(shard_of(hash)).write(hash, key, value, sequence, seen);
        if more > 0 {
            self.bytes.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// How much memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Visits the rows that have come since `known` was counted, and counts them.
    pub fn visit_new(&self, known: &mut Known, mut visit: impl FnMut(&[u8], RowId)) {
        known.0.resize(SHARDS, 0);
        for (number, known) in known.0.iter_mut().enumerate() {
            let shard = self.read(number);
            for (place, key) in shard.keys.iter().enumerate().skip(*known) {
                let row = RowId { shard: number as u32, key: place as u32 };
                visit(shard.arena.get(key.place, key.bytes as usize), row);
            }
            *known = shard.keys.len();
        }
    }
}

/// How many rows of each shard somebody knows.
#[derive(Default)]
pub(super) struct Known(Vec<usize>);

/// By bits that the table within the shard does not begin with.
fn shard_of(hash: u64) -> usize {
    (hash >> 48) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(published: u64, live: &[u64]) -> Seen<'_> {
        Seen { published, live }
    }

    fn value(table: &Table, key: &[u8], at: u64) -> Option<Option<Vec<u8>>> {
        table.get(key, at).map(|found| found.value.map(|value| value.to_vec()))
    }

    #[test]
    fn each_view_sees_its_own_version() {
        let table = Table::new();
        table.write(b"k", Some(b"one"), 1, &seen(0, &[]));
        table.write(b"k", Some(b"two"), 2, &seen(1, &[1]));
        table.write(b"k", None, 3, &seen(2, &[1, 2]));
        assert_eq!(value(&table, b"k", 0), None);
        assert_eq!(value(&table, b"k", 1), Some(Some(b"one".to_vec())));
        assert_eq!(value(&table, b"k", 2), Some(Some(b"two".to_vec())));
        assert_eq!(value(&table, b"k", 3), Some(None));
    }

    #[test]
    fn memory_is_used_again_when_nobody_looks() {
        let table = Table::new();
        for sequence in 1..3 {
            table.write(b"counter", Some(b"00000000"), sequence, &seen(sequence - 1, &[sequence - 1]));
        }
        let bytes = table.bytes();
        for sequence in 3..10_000_u64 {
            table.write(b"counter", Some(&sequence.to_be_bytes()), sequence, &seen(sequence - 1, &[sequence - 1]));
            let before = (sequence > 3).then(|| (sequence - 1).to_be_bytes().to_vec());
            assert!(before.is_none() || value(&table, b"counter", sequence - 1) == Some(before));
        }
        assert_eq!(table.bytes(), bytes);
    }

    #[test]
    fn what_an_old_view_sees_stays() {
        let table = Table::new();
        table.write(b"k", Some(b"first"), 1, &seen(0, &[0]));
        for sequence in 2..1_000_u64 {
            table.write(b"k", Some(&sequence.to_be_bytes()), sequence, &seen(sequence - 1, &[1, sequence - 1]));
        }
        assert_eq!(value(&table, b"k", 1), Some(Some(b"first".to_vec())));
        assert_eq!(value(&table, b"k", 998), Some(Some(998_u64.to_be_bytes().to_vec())));
        assert!(table.bytes() < 4 << 10);
    }

    #[test]
    fn values_of_all_sizes_take_turns() {
        let table = Table::new();
        for (number, bytes) in [10, LARGE_BYTES, 3, 100_000, LARGE_BYTES - 1, 0, 20_000, 20_000].into_iter().enumerate()
        {
            let sequence = number as u64 + 1;
            table.write(b"k", Some(&vec![number as u8; bytes]), sequence, &seen(sequence - 1, &[sequence - 1]));
            assert_eq!(value(&table, b"k", sequence), Some(Some(vec![number as u8; bytes])));
        }
    }
}

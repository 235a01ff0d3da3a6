//! The rows of one generation by their keys, in any order: a hash table with versions.
//!
//! Many readers, one writer. Each shard has a lock of its own, so both wait for each other only for the time of one row. A row that
//! is written again keeps its older version as long as a view can see it; then the older version's memory serves the next write.
//!
//! What a look-up touches lies together, for it is the way to memory that it costs. In a shard's memory, at multiples of 8 bytes:
//!
//! - a key: `u32` place of its newest version, `u32` length, the key; and right behind it its first version;
//! - a version: `u64` sequence, `u32` place of the version before, `u32` length, `u32` how many bytes have room, `u32` number among
//!   the large values, the value.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::live::Seen;
use bytes::Bytes;
use hashbrown::HashTable;

const SHARDS: usize = 16;
/// No version at all.
const NONE: u32 = u32::MAX;
/// The length of a version that says that the row is gone.
const DELETED: u32 = u32::MAX;
/// The length of a version whose value lies by itself.
const LARGE: u32 = u32::MAX - 1;
/// Values from this size on lie by themselves and are read without a copy.
const LARGE_BYTES: usize = 8 << 10;
/// The first and the largest piece of memory that a shard takes at once.
const CHUNK_BYTES_MIN: usize = 1 << 10;
const CHUNK_BYTES_MAX: usize = 1 << OFFSET_BITS;
/// A place is the number of a chunk and an offset in it, which is a multiple of 8 bytes.
const OFFSET_BITS: u32 = 16;
/// So many rows are touched before the first of them is written.
const TOUCHED_ROWS: usize = 32;
const KEY_HEADER_BYTES: usize = 8;
const VERSION_HEADER_BYTES: usize = 24;

/// What is known of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Which operation wrote it.
    pub sequence: u64,
    /// `None`: that operation removed it.
    pub value: Option<Bytes>,
}

/// A row to be written.
#[derive(Clone, Copy)]
pub(super) struct Write<'a> {
    pub hash: u64,
    pub key: &'a [u8],
    /// `None`: that it is gone.
    pub value: Option<&'a [u8]>,
    pub sequence: u64,
}

/// A row of a table, wherever its versions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowId {
    shard: u32,
    key: u32,
}

pub(super) struct Table {
    shards: Box<[RwLock<Shard>]>,
    bytes: AtomicUsize,
    keys: AtomicUsize,
}

#[derive(Default)]
struct Shard {
    slots: HashTable<Slot>,
    /// The places of all keys, in the order in which they came.
    keys: Vec<u32>,
    arena: Arena,
    large: Vec<Bytes>,
}

#[derive(Clone, Copy)]
struct Slot {
    /// A half of the key's hash.
    hash: u32,
    /// The key's place.
    key: u32,
}

impl Slot {
    /// What the table sorts by: all bits count, also the uppermost.
    fn spread(hash: u32) -> u64 {
        u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

/// Memory that is given back only as a whole.
#[derive(Default)]
struct Arena {
    chunks: Vec<Vec<u8>>,
}

impl Arena {
    /// Takes room; returns its place, and how much more memory that took.
    fn take(&mut self, bytes: usize) -> (u32, usize) {
        let bytes = bytes.next_multiple_of(8);
        // What begins beyond the offsets of a place could not be found again.
        let fits = self
            .chunks
            .last()
            .is_some_and(|chunk| chunk.capacity() - chunk.len() >= bytes && chunk.len() < CHUNK_BYTES_MAX);
        let mut taken = 0;
        if !fits {
            let size = self.chunks.last().map_or(CHUNK_BYTES_MIN, |last| (last.capacity() * 2).min(CHUNK_BYTES_MAX));
            taken = size.max(bytes);
            self.chunks.push(Vec::with_capacity(taken));
        }
        let number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[number];
        let offset = chunk.len();
        chunk.resize(offset + bytes, 0);
        ((number as u32) << (OFFSET_BITS - 3) | (offset as u32) >> 3, taken)
    }

    /// Everything from a place to the end of its chunk.
    fn at(&self, place: u32) -> &[u8] {
        let (chunk, offset) = split(place);
        &self.chunks[chunk][offset..]
    }

    fn at_mut(&mut self, place: u32) -> &mut [u8] {
        let (chunk, offset) = split(place);
        &mut self.chunks[chunk][offset..]
    }

    fn key(&self, place: u32) -> &[u8] {
        let bytes = self.at(place);
        let length = u32_in(bytes, 4) as usize;
        &bytes[KEY_HEADER_BYTES..KEY_HEADER_BYTES + length]
    }

    fn newest(&self, key: u32) -> u32 {
        u32_in(self.at(key), 0)
    }

    fn version(&self, place: u32) -> Version<'_> {
        let bytes = self.at(place);
        Version {
            sequence: bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)),
            older: u32_in(bytes, 8),
            length: u32_in(bytes, 12),
            room: u32_in(bytes, 16),
            large: u32_in(bytes, 20),
            bytes: &bytes[VERSION_HEADER_BYTES..],
        }
    }

    fn set(&mut self, place: u32, field: Field, value: u32) {
        let at = field as usize;
        self.at_mut(place)[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

/// Where a number lies in a key's or a version's header.
#[derive(Clone, Copy)]
enum Field {
    KeyNewest = 0,
    KeyLength = 4,
    Older = 8,
    Length = 12,
    Room = 16,
    Large = 20,
}

struct Version<'a> {
    sequence: u64,
    /// The version before; [`NONE`] if there is none, or no view sees it.
    older: u32,
    length: u32,
    room: u32,
    large: u32,
    bytes: &'a [u8],
}

fn split(place: u32) -> (usize, usize) {
    let bits = OFFSET_BITS - 3;
    ((place >> bits) as usize, ((place & ((1 << bits) - 1)) << 3) as usize)
}

fn u32_in(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

impl Shard {
    fn find(&self, hash: u32, key: &[u8]) -> Option<u32> {
        let is_it = |slot: &Slot| slot.hash == hash && self.arena.key(slot.key) == key;
        self.slots.find(Slot::spread(hash), is_it).map(|slot| slot.key)
    }

    /// Reads a byte of what may be the row with this hash, and does nothing with it: the processor need not wait for it. The key's
    /// place, if there may be one.
    fn touch(&self, hash: u32) -> Option<u32> {
        let key = self.slots.find(Slot::spread(hash), |slot| slot.hash == hash)?.key;
        std::hint::black_box(self.arena.at(key).first());
        Some(key)
    }

    /// The same for the newest version of a key that was touched a moment ago.
    fn touch_newest(&self, key: u32) {
        std::hint::black_box(self.arena.at(self.arena.newest(key)).first());
    }

    /// The newest version that was written at `at` or before.
    fn version_at(&self, key: u32, at: u64) -> Option<Found> {
        let mut place = self.arena.newest(key);
        while place != NONE {
            let version = self.arena.version(place);
            if version.sequence <= at {
                let value = match version.length {
                    DELETED => None,
                    LARGE => Some(self.large[version.large as usize].clone()),
                    length => Some(Bytes::copy_from_slice(&version.bytes[..length as usize])),
                };
                return Some(Found { sequence: version.sequence, value });
            }
            place = version.older;
        }
        None
    }

    /// Takes room for a version whose value has so many bytes.
    fn new_version(&mut self, value_bytes: usize) -> (u32, usize) {
        let (place, taken) = self.arena.take(VERSION_HEADER_BYTES + value_bytes);
        self.begin_version(place, value_bytes);
        (place, taken)
    }

    fn begin_version(&mut self, place: u32, value_bytes: usize) {
        self.arena.set(place, Field::Length, DELETED);
        self.arena.set(place, Field::Room, value_bytes.next_multiple_of(8) as u32);
        self.arena.set(place, Field::Large, NONE);
    }

    /// Whether a value can be written over this version.
    fn fits(&self, version: u32, value: Option<&[u8]>) -> bool {
        value.is_none_or(|value| value.len() >= LARGE_BYTES || value.len() <= self.arena.version(version).room as usize)
    }

    /// Writes over a version into which the value fits; returns how much more memory is in use.
    fn fill(&mut self, place: u32, sequence: u64, older: u32, value: Option<&[u8]>) -> usize {
        let large = self.arena.version(place).large;
        self.arena.at_mut(place)[..8].copy_from_slice(&sequence.to_le_bytes());
        self.arena.set(place, Field::Older, older);
        let Some(value) = value else {
            self.arena.set(place, Field::Length, DELETED);
            self.forget_large(large);
            return 0;
        };
        if value.len() < LARGE_BYTES {
            self.arena.set(place, Field::Length, value.len() as u32);
            self.arena.at_mut(place)[VERSION_HEADER_BYTES..VERSION_HEADER_BYTES + value.len()].copy_from_slice(value);
            self.forget_large(large);
            return 0;
        }
        self.arena.set(place, Field::Length, LARGE);
        let bytes = Bytes::copy_from_slice(value);
        match self.large.get_mut(large as usize) {
            // What was there counts until the generation ends: somebody may be reading it still.
            Some(known) => *known = bytes,
            None => {
                self.arena.set(place, Field::Large, self.large.len() as u32);
                self.large.push(bytes);
            }
        }
        value.len()
    }

    fn forget_large(&mut self, number: u32) {
        if let Some(known) = self.large.get_mut(number as usize) {
            *known = Bytes::new();
        }
    }

    fn write(&mut self, hash: u32, key: &[u8], value: Option<&[u8]>, sequence: u64, seen: &Seen<'_>) -> usize {
        let own_bytes = value.map_or(0, |value| if value.len() < LARGE_BYTES { value.len() } else { 0 });
        let Some(known) = self.find(hash, key) else {
            let version_at = KEY_HEADER_BYTES + key.len().next_multiple_of(8);
            let (place, taken) = self.arena.take(version_at + VERSION_HEADER_BYTES + own_bytes);
            // A long key may reach beyond the offsets of a place; then its version lies elsewhere.
            let (chunk, offset) = split(place);
            let (version, more) = if offset + version_at < CHUNK_BYTES_MAX {
                let version = (chunk as u32) << (OFFSET_BITS - 3) | ((offset + version_at) as u32) >> 3;
                self.begin_version(version, own_bytes);
                (version, 0)
            } else {
                self.new_version(own_bytes)
            };
            self.arena.set(place, Field::KeyNewest, version);
            self.arena.set(place, Field::KeyLength, key.len() as u32);
            self.arena.at_mut(place)[KEY_HEADER_BYTES..KEY_HEADER_BYTES + key.len()].copy_from_slice(key);
            self.keys.push(place);
            self.slots.insert_unique(Slot::spread(hash), Slot { hash, key: place }, |slot| Slot::spread(slot.hash));
            return taken + more + self.fill(version, sequence, NONE, value) + 2 * size_of::<Slot>() + size_of::<u32>();
        };
        let newest = self.arena.newest(known);
        let (newest_sequence, mut older) = {
            let version = self.arena.version(newest);
            (version.sequence, version.older)
        };
        if newest_sequence > seen.published {
            // Nobody can see it yet.
            return self.replace(known, newest, sequence, older, value);
        }
        // Of the versions behind it, one that nobody sees any more serves again.
        let mut free = None;
        let mut later = newest_sequence;
        let mut behind = newest;
        while older != NONE {
            let (its_sequence, next) = {
                let version = self.arena.version(older);
                (version.sequence, version.older)
            };
            if seen.is_needed(its_sequence, later) {
                behind = older;
                later = its_sequence;
            } else {
                self.arena.set(behind, Field::Older, next);
                if free.is_none() {
                    free = Some(older);
                } else {
                    self.forget_large(self.arena.version(older).large);
                }
            }
            older = next;
        }
        match free {
            Some(version) => self.replace(known, version, sequence, newest, value),
            None => {
                let (version, taken) = self.new_version(own_bytes);
                self.arena.set(known, Field::KeyNewest, version);
                taken + self.fill(version, sequence, newest, value)
            }
        }
    }

    /// Makes the newest version of a key, in the memory of one that nobody sees if that is enough.
    fn replace(&mut self, key: u32, version: u32, sequence: u64, older: u32, value: Option<&[u8]>) -> usize {
        let (version, taken) = if self.fits(version, value) {
            (version, 0)
        } else {
            self.forget_large(self.arena.version(version).large);
            self.new_version(value.map_or(0, <[u8]>::len))
        };
        self.arena.set(key, Field::KeyNewest, version);
        taken + self.fill(version, sequence, older, value)
    }
}

impl Table {
    pub fn new() -> Table {
        Table {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            bytes: AtomicUsize::new(0),
            keys: AtomicUsize::new(0),
        }
    }

    fn read(&self, shard: usize) -> RwLockReadGuard<'_, Shard> {
        self.shards[shard].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, shard: usize) -> RwLockWriteGuard<'_, Shard> {
        self.shards[shard].write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row as a view at `at` sees it, if anything is known of it here.
    pub fn get(&self, hash: u64, key: &[u8], at: u64) -> Option<Found> {
        let (shard, hash) = place(hash);
        let shard = self.read(shard);
        let known = shard.find(hash, key)?;
        shard.version_at(known, at)
    }

    /// The same for a row whose place is known.
    pub fn get_row(&self, row: RowId, at: u64) -> Option<Found> {
        self.read(row.shard as usize).version_at(row.key, at)
    }

    /// Shows the newest version of a row: which operation wrote it, and its value (`None`: it is gone).
    pub fn visit_newest(&self, row: RowId, visit: impl FnOnce(u64, Option<&[u8]>)) {
        let shard = self.read(row.shard as usize);
        let newest = shard.arena.version(shard.arena.newest(row.key));
        match newest.length {
            DELETED => visit(newest.sequence, None),
            LARGE => {
                let (sequence, value) = (newest.sequence, shard.large[newest.large as usize].clone());
                // Copying it takes a while.
                drop(shard);
                visit(sequence, Some(&value));
            }
            length => visit(newest.sequence, Some(&newest.bytes[..length as usize])),
        }
    }

    /// Writes rows. Their sequences are above all before, and of two writes to a row the later one comes later. Only for the one
    /// writer.
    pub fn write(&self, writes: &mut [Write<'_>], seen: &Seen<'_>) {
        // Shard by shard, so that a lock is taken once for many rows, and so that one row need not wait until what another one
        // touches has come from memory. The order within a shard stays.
        writes.sort_by_key(|write| place(write.hash).0);
        for writes in writes.chunk_by(|one, other| place(one.hash).0 == place(other.hash).0) {
            let mut shard = self.write_to(place(writes[0].hash).0);
            let known = shard.keys.len();
            let mut more = 0;
            for writes in writes.chunks(TOUCHED_ROWS) {
                if writes.len() > 1 {
                    let mut touched = [None; TOUCHED_ROWS];
                    for (write, touched) in writes.iter().zip(&mut touched) {
                        *touched = shard.touch(place(write.hash).1);
                    }
                    touched.into_iter().flatten().for_each(|key| shard.touch_newest(key));
                }
                for Write { hash, key, value, sequence } in writes {
                    more += shard.write(place(*hash).1, key, *value, *sequence, seen);
                }
            }
            let new = shard.keys.len() - known;
            drop(shard);
            if more > 0 {
                self.bytes.fetch_add(more, Ordering::Relaxed);
                self.keys.fetch_add(new, Ordering::Relaxed);
            }
        }
    }

    /// Has what belongs to these rows brought from memory, so that who reads or writes them soon finds it near. Leaves those of
    /// which nothing is known here.
    pub fn touch(&self, hashes: &mut Vec<u64>) {
        hashes.sort_unstable_by_key(|hash| place(*hash).0);
        let mut rows = Vec::with_capacity(hashes.len());
        for hashes in hashes.chunk_by(|one, other| place(*one).0 == place(*other).0) {
            let (number, _) = place(hashes[0]);
            let shard = self.read(number);
            let touched = hashes.iter().map(|hash| shard.touch(place(*hash).1));
            rows.extend(touched.map(|key| key.map(|key| RowId { shard: number as u32, key })));
        }
        let mut touched = rows.iter();
        hashes.retain(|_| touched.next().is_some_and(Option::is_none));
        let rows: Vec<RowId> = rows.into_iter().flatten().collect();
        for rows in rows.chunk_by(|one, other| one.shard == other.shard) {
            let shard = self.read(rows[0].shard as usize);
            rows.iter().for_each(|row| shard.touch_newest(row.key));
        }
    }

    /// The same for rows whose places are known.
    pub fn touch_rows(&self, rows: impl Iterator<Item = RowId> + Clone) {
        for row in rows.clone() {
            std::hint::black_box(self.read(row.shard as usize).arena.at(row.key).first());
        }
        for row in rows {
            self.read(row.shard as usize).touch_newest(row.key);
        }
    }

    /// How much memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many keys it has.
    pub fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Visits the rows that have come since `known` was counted, and counts them.
    pub fn visit_new(&self, known: &mut Known, mut visit: impl FnMut(&[u8], RowId)) {
        known.0.resize(SHARDS, 0);
        for (number, known) in known.0.iter_mut().enumerate() {
            let shard = self.read(number);
            for key in &shard.keys[*known..] {
                visit(shard.arena.key(*key), RowId { shard: number as u32, key: *key });
            }
            *known = shard.keys.len();
        }
    }
}

/// The number of a key's shard, and its hash there.
fn place(hash: u64) -> (usize, u32) {
    ((hash >> 32) as usize % SHARDS, hash as u32)
}

/// How many rows of each shard somebody knows.
#[derive(Default)]
pub(super) struct Known(Vec<usize>);

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64(key)
    }

    fn seen(published: u64, live: &[u64]) -> Seen<'_> {
        Seen { published, live }
    }

    fn write(table: &Table, key: &[u8], value: Option<&[u8]>, sequence: u64, seen: &Seen<'_>) {
        table.write(&mut [Write { hash: hash(key), key, value, sequence }], seen);
    }

    fn value(table: &Table, key: &[u8], at: u64) -> Option<Option<Vec<u8>>> {
        table.get(hash(key), key, at).map(|found| found.value.map(|value| value.to_vec()))
    }

    #[test]
    fn each_view_sees_its_own_version() {
        let table = Table::new();
        write(&table, b"k", Some(b"one"), 1, &seen(0, &[]));
        write(&table, b"k", Some(b"two"), 2, &seen(1, &[1]));
        write(&table, b"k", None, 3, &seen(2, &[1, 2]));
        assert_eq!(value(&table, b"k", 0), None);
        assert_eq!(value(&table, b"k", 1), Some(Some(b"one".to_vec())));
        assert_eq!(value(&table, b"k", 2), Some(Some(b"two".to_vec())));
        assert_eq!(value(&table, b"k", 3), Some(None));
    }

    #[test]
    fn memory_is_used_again_when_nobody_looks() {
        let table = Table::new();
        for sequence in 1..3 {
            write(&table, b"counter", Some(b"00000000"), sequence, &seen(sequence - 1, &[sequence - 1]));
        }
        let bytes = table.bytes();
        for sequence in 3..10_000_u64 {
            write(&table, b"counter", Some(&sequence.to_be_bytes()), sequence, &seen(sequence - 1, &[sequence - 1]));
            let before = (sequence > 3).then(|| (sequence - 1).to_be_bytes().to_vec());
            assert!(before.is_none() || value(&table, b"counter", sequence - 1) == Some(before));
        }
        assert_eq!(table.bytes(), bytes);
    }

    #[test]
    fn what_an_old_view_sees_stays() {
        let table = Table::new();
        write(&table, b"k", Some(b"first"), 1, &seen(0, &[0]));
        for sequence in 2..1_000_u64 {
            write(&table, b"k", Some(&sequence.to_be_bytes()), sequence, &seen(sequence - 1, &[1, sequence - 1]));
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
            write(&table, b"k", Some(&vec![number as u8; bytes]), sequence, &seen(sequence - 1, &[sequence - 1]));
            assert_eq!(value(&table, b"k", sequence), Some(Some(vec![number as u8; bytes])));
        }
    }

    #[test]
    fn keys_of_all_lengths_are_found() {
        let table = Table::new();
        let lengths = [0, 1, 7, 8, 9, 100, 8_000, 60_000, 65_480, 65_500, 65_520, 65_528, 65_535];
        for round in 1..4_u64 {
            for (number, length) in lengths.iter().enumerate() {
                let sequence = round * 100 + number as u64;
                let value = vec![round as u8; number * 10];
                write(&table, &vec![b'k'; *length], Some(&value), sequence, &seen(sequence - 1, &[sequence - 1]));
            }
        }
        for (number, length) in lengths.iter().enumerate() {
            assert_eq!(value(&table, &vec![b'k'; *length], 999), Some(Some(vec![3; number * 10])));
        }
    }
}

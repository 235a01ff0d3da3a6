//! The view a command works on: the data below, the writes of the batch so far above it, and a clock.
//!
//! One transaction spans all entries that are applied together. Entries raise the clock with
//! [`Transaction::begin_entry`]; what was written is taken out with [`Transaction::into_changes`].
//! It counts what it holds, for the bounds of [`crate::entry`]: a value that is written over counts no more.
//!
//! Invariant: the expiry index holds exactly one row for each stored record that has an expiry, and no other.
//! So whoever writes over a record must know that record's expiry. A blind write is allowed only while the index
//! is known to be empty ([`Source::may_have_expiries`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;

use crate::entry::TRANSACTION_TOO_LARGE;
use crate::error::{Error, Fault, Refusal};
use crate::held::Held;
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::overlay::Overlay;
use crate::planted::{Bug, is_planted};
use crate::random::SplitMix64;
use crate::ranges::KeyRanges;
use crate::value::Record;
use crate::watch::Touches;

/// Up to so many stored rows of a range are removed one by one. More become one range: it takes the same memory however
/// many rows are in it, but the storage has to look at each such range with every read until it has worked it off.
pub const SINGLE_DELETES_MAX: usize = 128;

/// Rows of the data, in key order: key and record, expired ones included.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<(Bytes, Record), Fault>> + 'a>;
/// Rows of the expiry index, in order: expiry in Unix ms and key.
pub type ExpiryRows<'a> = Box<dyn Iterator<Item = Result<(u64, Bytes), Fault>> + 'a>;

/// Notes, in key order.
pub type NoteRows<'a> = Box<dyn Iterator<Item = Result<(Bytes, Bytes), Fault>> + 'a>;

/// The committed data below a transaction: one consistent view.
pub trait Source {
    /// The stored record, expired or not.
    fn get(&self, key: &[u8]) -> Result<Option<Record>, Fault>;

    /// The stored records of several keys, in the order asked. Worth overriding where the storage can do it at once.
    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Record>>, Fault> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// The rows from `from` on (inclusive) that are below `until` (exclusive; `None` = to the end), ascending.
    fn rows(&self, from: &[u8], until: Option<&[u8]>) -> Rows<'_>;

    /// The rows of the expiry index whose expiry is above `after_ms`, ascending.
    fn expiries(&self, after_ms: u64) -> ExpiryRows<'_>;

    /// False only if the expiry index holds no row at all.
    fn may_have_expiries(&self) -> bool;

    /// About how many bytes the keys with this prefix take on disk.
    fn disk_bytes(&self, prefix: &[u8]) -> Result<u64, Fault>;

    /// The index of the last entry that this state holds.
    fn position(&self) -> u64;

    /// What is noted under this key, beside the data.
    fn note(&self, key: &[u8]) -> Result<Option<Bytes>, Fault>;

    /// The notes from `from` on (inclusive) that are below `until` (exclusive), ascending.
    fn notes(&self, from: &[u8], until: &[u8]) -> NoteRows<'_>;
}

/// One thing to commit, after those before it. Keys are without any storage prefix; expiry rows are made by the storage side from both parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Store this record under this key.
    Put(Bytes, Record),
    /// Remove this key.
    Delete(Bytes),
    /// Add a row to the expiry index.
    AddExpiry(u64, Bytes),
    /// Remove a row from the expiry index.
    RemoveExpiry(u64, Bytes),
    /// Remove all keys of a range.
    DeleteRange {
        /// The first key to go.
        from: Bytes,
        /// The first key to stay; `None` = all go to the end.
        until: Option<Bytes>,
    },
    /// Remove all rows of the expiry index.
    ClearExpiries,
    /// Note this under this key, beside the data.
    PutNote(Bytes, Bytes),
    /// Remove this note.
    DeleteNote(Bytes),
}

/// What lies below one key, as far as it is known.
#[derive(Clone, Debug)]
enum Below {
    /// The expiry of the stored record (0 = it has none), or that there is no record.
    Known(Option<u64>),
    /// Not looked at: allowed only while the expiry index is empty.
    Blind,
}

impl Below {
    /// When the stored record ends, if it is known that it does.
    fn ends_at_ms(&self) -> Option<u64> {
        match self {
            Below::Known(expiry) => expiry.filter(|expiry| *expiry != 0),
            Below::Blind => None,
        }
    }
}

#[derive(Clone, Debug)]
struct Slot {
    below: Below,
    now: Option<Record>,
    /// The call that wrote it last.
    call: u64,
}

impl Slot {
    /// What it counts for.
    fn bytes(&self, key: &[u8]) -> u64 {
        Held::bytes(key, self.now.as_ref())
    }
}

/// What a command reads and writes.
pub struct Transaction<'a> {
    source: &'a dyn Source,
    slots: Overlay<Slot>,
    /// The expiry index of the slots: a purge must find the same rows however entries are lumped together.
    slot_expiries: BTreeSet<(u64, Bytes)>,
    /// The ranges that were deleted: of what lies below there, nothing is left.
    ranges: KeyRanges,
    /// The rows of the expiry index that went with the ranges, unless all did.
    range_expiries: Vec<(u64, Bytes)>,
    /// Whether everything was deleted, and with it the whole expiry index.
    expiries_cleared: bool,
    /// The expiry of the stored record that was read last: what is read is often written next.
    last_read: Option<(Bytes, Option<u64>)>,
    may_have_expiries: bool,
    /// What was noted beside the data, and what was removed there.
    notes: BTreeMap<Bytes, Option<Bytes>>,
    /// Messages, by their channels.
    published: Vec<(Bytes, Bytes)>,
    /// What was touched, if somebody wants to know.
    touches: Option<Touches>,
    pub(crate) held: Held,
    /// How many records went because they had ended.
    expired_keys: u64,
    position: u64,
    clock_ms: u64,
    reader_clock_ms: u64,
    /// What is left of a key's time is counted from this clock on, if it is ahead of both others.
    left_from_ms: u64,
    seed: u64,
    tick_wanted_ms: u64,
}

impl<'a> Transaction<'a> {
    /// For applying entries: everything is judged by the replicated clock, which starts at `clock_ms`.
    pub fn new(source: &'a dyn Source, clock_ms: u64) -> Transaction<'a> {
        Transaction {
            source,
            slots: Overlay::new(source.position()),
            slot_expiries: BTreeSet::new(),
            ranges: KeyRanges::default(),
            range_expiries: Vec::new(),
            expiries_cleared: false,
            last_read: None,
            may_have_expiries: source.may_have_expiries(),
            notes: BTreeMap::new(),
            published: Vec::new(),
            touches: None,
            held: Held::default(),
            expired_keys: 0,
            position: source.position(),
            clock_ms,
            reader_clock_ms: clock_ms,
            left_from_ms: 0,
            seed: 0,
            tick_wanted_ms: 0,
        }
    }

    /// For a read: judged by the view's clock `clock_ms`. `reader_clock_ms` is the leader's clock, ahead of it (on a
    /// follower, and for a point in time: 0). If the read meets a key that has ended by the leader's clock but not by `T`,
    /// [`Transaction::tick_wanted_ms`] says so afterwards, and the reply must not be used.
    pub fn for_read(source: &'a dyn Source, clock_ms: u64, reader_clock_ms: u64, seed: u64) -> Transaction<'a> {
        let reader_clock_ms = reader_clock_ms.max(clock_ms);
        Transaction { reader_clock_ms, seed, ..Transaction::new(source, clock_ms) }
    }

    /// TTL and PTTL count from this clock on, Unix ms, if it is ahead of `T`. It decides about no key: one that is due by it and not by `T` is
    /// there, and has no time left.
    #[must_use]
    pub fn with_left_from(self, left_from_ms: u64) -> Transaction<'a> {
        Transaction { left_from_ms, ..self }
    }

    /// From now on, what is touched is kept for [`Transaction::take_touches`].
    pub fn keep_touches(&mut self) {
        self.touches = Some(Touches::default());
    }

    /// What was touched, if that was kept.
    pub fn take_touches(&mut self) -> Option<Touches> {
        self.touches.take()
    }

    /// Sends a message to a channel's subscribers, once all is committed.
    pub fn publish(&mut self, channel: Bytes, message: Bytes) {
        self.published.push((channel, message));
    }

    /// What was published, in order: channels and messages.
    pub fn take_published(&mut self) -> Vec<(Bytes, Bytes)> {
        std::mem::take(&mut self.published)
    }

    fn touch(&mut self, key: &Bytes) {
        if let Some(touches) = &mut self.touches {
            touches.keys.push(key.clone());
        }
    }

    /// How many records of keys that had ended were removed or written over so far: each key that ends counts once, unless it
    /// went with a whole range, of which not every record is looked at.
    pub fn expired_keys(&self) -> u64 {
        self.expired_keys
    }

    /// What follows belongs to the entry with this index.
    pub fn set_position(&mut self, index: u64) {
        self.position = index;
    }

    /// The index of the entry that is being carried out; for a read, of the last one in the state it reads.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Starts the next entry: the clock is raised to its stamp, never lowered.
    pub fn begin_entry(&mut self, stamp_ms: u64, seed: u64) {
        self.clock_ms = if is_planted(Bug::TickGoesBack) { stamp_ms } else { self.clock_ms.max(stamp_ms) };
        self.reader_clock_ms = self.clock_ms;
        self.begin_call(seed);
        self.held.begin_entry();
    }

    /// Starts the next call of the entry. It may write as much as it wants, unless [`Transaction::limit_call`] says otherwise.
    pub fn begin_call(&mut self, seed: u64) {
        self.seed = seed;
        self.held.begin_call();
    }

    /// From now on, the call may write so many bytes. What goes beyond that is refused, and the call [overfull](Transaction::is_overfull).
    pub fn limit_call(&mut self, bytes_max: u64) {
        self.held.by_call_max = bytes_max;
    }

    /// Whether the call has written more than it may. Then there is no way on with this transaction, for nothing is ever undone.
    pub fn is_overfull(&self) -> bool {
        self.held.by_call > self.held.by_call_max
    }

    /// How many bytes of keys, values and replies are held that this entry has written.
    pub fn entry_bytes(&self) -> u64 {
        self.held.by_entry
    }

    /// How many are held that any entry has written.
    pub fn held_bytes(&self) -> u64 {
        self.held.all
    }

    /// The replicated clock `T`, Unix ms: what decides about expiry, and the base of relative TTLs.
    pub fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    /// The clock that TTL and PTTL count from: `max(T, leader clock)`, as far as that is known.
    pub fn now_ms(&self) -> u64 {
        self.reader_clock_ms.max(self.left_from_ms)
    }

    /// The next pseudo-random number of this entry or read.
    pub fn random(&mut self) -> u64 {
        let mut random = SplitMix64(self.seed);
        let number = random.draw();
        self.seed = random.0;
        number
    }

    /// The clock value a tick has to bring before this read may be answered; 0 = none needed.
    pub fn tick_wanted_ms(&self) -> u64 {
        self.tick_wanted_ms
    }

    fn judge(&mut self, record: Option<Record>) -> Option<Record> {
        let record = record?;
        if record.expired_at(self.clock_ms) {
            return None;
        }
        if record.expired_at(self.reader_clock_ms) {
            if is_planted(Bug::ExpireByLocalClock) {
                return None;
            }
            self.tick_wanted_ms = self.tick_wanted_ms.max(record.expire_at_ms);
        }
        Some(record)
    }

    /// The live record under `key`.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Record>, Error> {
        let record = self.stored(key)?;
        Ok(self.judge(record))
    }

    /// Whether a live record is under `key`.
    pub fn exists(&mut self, key: &[u8]) -> Result<bool, Error> {
        Ok(self.get(key)?.is_some())
    }

    /// The live records under several keys.
    pub fn get_many(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<Record>>, Fault> {
        if self.slots.is_empty() && self.ranges.is_empty() {
            let records = self.source.get_many(keys)?;
            return Ok(records.into_iter().map(|record| self.judge(record)).collect());
        }
        keys.iter()
            .map(|key| {
                let record = self.stored(key)?;
                Ok(self.judge(record))
            })
            .collect()
    }

    fn stored(&mut self, key: &[u8]) -> Result<Option<Record>, Fault> {
        if let Some(slot) = self.slots.get(key) {
            return Ok(slot.now.clone());
        }
        if self.ranges.contains(key) {
            return Ok(None);
        }
        let record = self.source.get(key)?;
        if self.may_have_expiries {
            let expiry = record.as_ref().map(|record| record.expire_at_ms);
            self.last_read = Some((Bytes::copy_from_slice(key), expiry));
        }
        Ok(record)
    }

    /// Whether the expiry of what lies below a key has to be known before it is written over.
    fn below(&mut self, key: &[u8]) -> Result<Below, Fault> {
        // First of all: what was read last may have been deleted since.
        if self.ranges.contains(key) {
            return Ok(Below::Known(None));
        }
        if !self.may_have_expiries {
            return Ok(Below::Blind);
        }
        if let Some((_, expiry)) = self.last_read.take_if(|(read, _)| read == key) {
            return Ok(Below::Known(expiry));
        }
        Ok(Below::Known(self.source.get(key)?.map(|record| record.expire_at_ms)))
    }

    /// Stores `value` under `key`; `expire_at_ms` 0 = for ever.
    ///
    /// # Errors
    /// A refusal if the key or the value is larger than its limit. Call it, or [`check_sizes`], for every key before
    /// the first write of a command that writes several.
    pub fn put(&mut self, key: &Bytes, value: Bytes, expire_at_ms: u64) -> Result<(), Error> {
        check_sizes(key, value.len())?;
        self.touch(key);
        self.write(key, Some(Record { value, expire_at_ms }))?;
        if self.is_overfull() {
            return Err(TRANSACTION_TOO_LARGE.into());
        }
        Ok(())
    }

    /// Removes the record under `key`, expired or not; `true` if a live one went.
    pub fn delete(&mut self, key: &Bytes) -> Result<bool, Error> {
        let stored = self.stored(key)?;
        let Some(record) = stored else { return Ok(false) };
        let live = !record.expired_at(self.clock_ms);
        // That a key has ended is seen by its time; when its record goes is nobody's business.
        if live {
            self.touch(key);
        }
        self.write(key, None)?;
        Ok(live)
    }

    fn write(&mut self, key: &Bytes, record: Option<Record>) -> Result<(), Fault> {
        let after = record.as_ref().map_or(0, |record| record.expire_at_ms);
        let (bytes, call) = (Held::bytes(key, record.as_ref()), self.held.call());
        let before = match self.slots.get_mut(key) {
            Some(slot) => {
                self.held.replace(slot.call, slot.bytes(key), bytes);
                slot.call = call;
                std::mem::replace(&mut slot.now, record).map_or(0, |record| record.expire_at_ms)
            }
            None => {
                let below = self.below(key)?;
                self.held.add(bytes);
                self.expired_keys += u64::from(below.ends_at_ms().is_some_and(|ends_ms| ends_ms <= self.clock_ms));
                self.slots.insert_new(key.clone(), Slot { below, now: record, call });
                0
            }
        };
        self.expired_keys += u64::from(before != 0 && before <= self.clock_ms);
        if before != after {
            if before != 0 {
                self.slot_expiries.remove(&(before, key.clone()));
            }
            if after != 0 {
                self.slot_expiries.insert((after, key.clone()));
            }
        }
        Ok(())
    }

    /// Calls `visit` with each live record whose key is in `from..until` (`None` = to the end), ascending, until it
    /// returns `false`.
    pub fn scan(
        &mut self,
        from: &[u8],
        until: Option<&[u8]>,
        mut visit: impl FnMut(&Bytes, &Record) -> bool,
    ) -> Result<(), Error> {
        let clock_ms = self.clock_ms;
        self.scan_stored(from, until, |key, record| record.expired_at(clock_ms) || visit(key, record))
    }

    /// As [`Transaction::scan`], but visits expired records too: for those who bound how many rows they look at.
    pub fn scan_stored(
        &mut self,
        from: &[u8],
        until: Option<&[u8]>,
        mut visit: impl FnMut(&Bytes, &Record) -> bool,
    ) -> Result<(), Error> {
        self.want_tick_for_due_rows()?;
        if until.is_some_and(|until| until <= from) {
            return Ok(());
        }
        let mut above = self.slots.range(from, until).peekable();
        let source = self.source;
        for row in self.ranges.gaps(from, until).flat_map(|(from, until)| source.rows(from, until)) {
            let (key, record) = row?;
            // Keys that only the overlay has, or has too, come first.
            let mut covered = false;
            while let Some((above_key, slot)) = above.next_if(|(above_key, _)| **above_key <= key) {
                covered = *above_key == key;
                if let Some(record) = &slot.now
                    && !visit(above_key, record)
                {
                    return Ok(());
                }
            }
            if !covered && !visit(&key, &record) {
                return Ok(());
            }
        }
        for (key, slot) in above {
            if let Some(record) = &slot.now
                && !visit(key, record)
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Removes every record whose key is in `from..until` (`None` = to the end), expired ones too; how many of them
    /// were live. However many there are, only the keys that have an expiry are kept in memory until they are committed, and
    /// if the range is the whole key space, not even those.
    pub fn delete_range(&mut self, from: &[u8], until: Option<&[u8]>) -> Result<u64, Error> {
        Ok(self.remove_range(from, until, true)?)
    }

    /// Removes every record. Looks at a few of them only.
    pub fn delete_all(&mut self) -> Result<(), Error> {
        self.remove_range(b"", None, false)?;
        Ok(())
    }

    /// Returns how many live records there were; something between 0 and that, unless `counted`.
    fn remove_range(&mut self, from: &[u8], until: Option<&[u8]>, counted: bool) -> Result<u64, Fault> {
        if until.is_some_and(|until| until <= from) {
            return Ok(0);
        }
        if let Some(touches) = &mut self.touches {
            touches.ranges.push((Bytes::copy_from_slice(from), until.map(Bytes::copy_from_slice)));
        }
        let (source, clock_ms) = (self.source, self.clock_ms);
        let everything = from.is_empty() && until.is_none();
        let mut live = 0;
        // The first rows below, and whether they are not all.
        let (mut first, mut many) = (Vec::new(), false);
        let mut expiries = Vec::new();
        for row in self.ranges.gaps(from, until).flat_map(|(from, until)| source.rows(from, until)) {
            let (key, record) = row?;
            if self.slots.get(&key).is_some() {
                continue;
            }
            many = first.len() >= SINGLE_DELETES_MAX;
            if many && everything && !counted {
                break;
            }
            live += u64::from(!record.expired_at(clock_ms));
            // A key may share its memory with its value: what is kept is copied.
            if !many {
                first.push((Bytes::copy_from_slice(&key), record.expire_at_ms));
            }
            if record.expire_at_ms != 0 && !everything {
                expiries.push((record.expire_at_ms, Bytes::copy_from_slice(&key)));
            }
        }
        let (slot_expiries, held) = (&mut self.slot_expiries, &mut self.held);
        self.slots.change_range(from, until, |key, slot| {
            held.replace(slot.call, slot.bytes(key), 0);
            if let Some(record) = slot.now.take() {
                live += u64::from(!record.expired_at(clock_ms));
                if record.expire_at_ms != 0 {
                    slot_expiries.remove(&(record.expire_at_ms, key.clone()));
                }
            }
            if many
                && let Below::Known(Some(expire_at_ms)) = std::mem::replace(&mut slot.below, Below::Known(None))
                && expire_at_ms != 0
                && !everything
            {
                expiries.push((expire_at_ms, key.clone()));
            }
        });
        if !many {
            let call = self.held.call();
            let deleted = |expiry| Slot { below: Below::Known(Some(expiry)), now: None, call };
            first.into_iter().for_each(|(key, expiry)| self.slots.insert_new(key, deleted(expiry)));
            return Ok(live);
        }
        self.ranges.insert(from, until);
        if everything {
            self.expiries_cleared = true;
            self.range_expiries = Vec::new();
        } else {
            self.range_expiries.append(&mut expiries);
        }
        Ok(live)
    }

    /// A read over many keys needs a tick when the first row of the expiry index above `T` is due.
    fn want_tick_for_due_rows(&mut self) -> Result<(), Fault> {
        if self.reader_clock_ms > self.clock_ms
            && !is_planted(Bug::ExpireByLocalClock)
            && let Some(row) = self.source.expiries(self.clock_ms).next()
        {
            let (expire_at_ms, _) = row?;
            if expire_at_ms <= self.reader_clock_ms {
                self.tick_wanted_ms = self.tick_wanted_ms.max(self.reader_clock_ms);
            }
        }
        Ok(())
    }

    /// Up to `keys_max` keys that have ended by `min(up_to_ms, T)`, in order of their expiry. The same whether the entries before
    /// are committed already or are part of this transaction.
    pub fn ended_keys(&self, up_to_ms: u64, keys_max: usize) -> Result<Vec<Bytes>, Fault> {
        let up_to_ms = up_to_ms.min(self.clock_ms);
        let mut keys = Vec::new();
        let mut above = self.slot_expiries.iter().take_while(|(expiry, _)| *expiry <= up_to_ms).peekable();
        let below = (!self.expiries_cleared).then(|| self.source.expiries(0));
        for row in below.into_iter().flatten() {
            let (expire_at_ms, key) = row?;
            if expire_at_ms > up_to_ms {
                break;
            }
            let rewritten = self.slots.get(&key).is_some() && !is_planted(Bug::PurgeIgnoresRewrites);
            if rewritten || self.ranges.contains(&key) {
                continue; // `above` has it, if it still has an expiry.
            }
            let row = (expire_at_ms, key);
            while keys.len() < keys_max
                && let Some((_, key)) = above.next_if(|above| **above < row)
            {
                keys.push(key.clone());
            }
            if keys.len() >= keys_max {
                return Ok(keys);
            }
            keys.push(row.1);
        }
        keys.extend(above.map(|(_, key)| key.clone()).take(keys_max - keys.len()));
        Ok(keys)
    }

    /// What is noted under this key, beside the data.
    pub fn note(&self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        match self.notes.get(key) {
            Some(note) => Ok(note.clone()),
            None => self.source.note(key),
        }
    }

    /// Notes this under this key; `None` = removes what is there.
    pub fn put_note(&mut self, key: Bytes, note: Option<Bytes>) {
        self.held.add(note.as_ref().map_or(0, |note| (key.len() + note.len()) as u64));
        self.notes.insert(key, note);
    }

    /// The first note from `from` on (inclusive) that is below `until` (exclusive).
    pub fn first_note(&self, from: &[u8], until: &[u8]) -> Result<Option<(Bytes, Bytes)>, Fault> {
        let mut below = None;
        for row in self.source.notes(from, until) {
            let row = row?;
            if !self.notes.contains_key(&row.0) {
                below = Some(row);
                break;
            }
        }
        // Only up to there: behind it, there may be any number of those that were removed.
        let until = below.as_ref().map_or(until, |(key, _)| key);
        let mut above = self.notes.range::<[u8], _>((Bound::Included(from), Bound::Excluded(until)));
        let above = above.find_map(|(key, note)| note.clone().map(|note| (key.clone(), note)));
        Ok(above.or(below))
    }

    /// About how many bytes the keys with this prefix take on disk.
    pub fn disk_bytes(&self, prefix: &[u8]) -> Result<u64, Fault> {
        self.source.disk_bytes(prefix)
    }

    /// What to commit, in this order: first the ranges that were deleted, with their rows of the expiry index; then what was
    /// written, each key once, some of it into these ranges.
    pub fn into_changes(self, mut visit: impl FnMut(Change)) {
        self.ranges.into_iter().for_each(|(from, until)| visit(Change::DeleteRange { from, until }));
        if self.expiries_cleared && self.may_have_expiries {
            visit(Change::ClearExpiries);
        }
        self.range_expiries.into_iter().for_each(|(expiry, key)| visit(Change::RemoveExpiry(expiry, key)));
        for (key, slot) in self.slots.into_rows() {
            let before = slot.below.ends_at_ms().unwrap_or(0);
            let nothing_below = matches!(slot.below, Below::Known(None));
            let after = slot.now.as_ref().map_or(0, |record| record.expire_at_ms);
            if before != 0 && before != after {
                visit(Change::RemoveExpiry(before, key.clone()));
            }
            if after != 0 && before != after {
                visit(Change::AddExpiry(after, key.clone()));
            }
            match slot.now {
                Some(record) => visit(Change::Put(key, record)),
                None if nothing_below => {}
                None => visit(Change::Delete(key)),
            }
        }
        for (key, note) in self.notes {
            visit(match note {
                Some(note) => Change::PutNote(key, note),
                None => Change::DeleteNote(key),
            });
        }
    }
}

/// Whether a key and a value of this length may be stored.
///
/// # Errors
/// A refusal that names the limit.
pub fn check_sizes(key: &[u8], value_bytes: usize) -> Result<(), Refusal> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Refusal::from_string(format!(
            "ERR key of {} bytes exceeds the limit of {KEY_BYTES_MAX} bytes",
            key.len()
        )));
    }
    if value_bytes > VALUE_BYTES_MAX {
        return Err(Refusal::from_string(format!(
            "ERR value of {value_bytes} bytes exceeds the limit of {VALUE_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

/// The smallest key above all that begin with `prefix`; `None` = there is none, scan to the end.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

//! The functions of the embedded database.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use talon_core::typed::{self, Function, Pair, TimeLeft, Ttl};
use talon_core::{Call, Fault, Refusal};

use crate::batch::Batch;
use crate::embedded::Inner;
use crate::error::Error;
use crate::view::{ReadOutcome, ReadView};

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvPair {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// The whole database as it was at one moment; later writes and expiries do not change it. Made by [`KvRead::snapshot`]. Holding it
/// costs the disk space of what is overwritten meanwhile, and keeps the database open.
#[derive(Clone)]
pub struct Snapshot {
    view: Arc<ReadView>,
}

impl Snapshot {
    /// The moment, by the database's clock, Unix ms.
    pub fn clock_ms(&self) -> u64 {
        self.view.clock_ms()
    }
}

/// Reads the database. Cloning shares it.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let db = talon::Talon::open(folder.path())?;
/// db.kv()?.mset(&[b"user:1", b"user:2", b"other"], &[b"Ada", b"Grace", b"\xFF"])?;
///
/// let kv = db.kv_read()?;
/// assert_eq!(kv.get(b"user:1")?.as_deref(), Some(&b"Ada"[..]));
/// assert_eq!(kv.mget(&[b"user:2", b"nobody"])?, [Some(b"Grace".to_vec()), None]);
/// assert!(kv.exists(b"user:1")?);
/// assert_eq!(kv.strlen(b"user:1")?, Some(3));
/// assert_eq!(kv.getrange(b"user:2", -3, -1)?, b"ace");
/// assert_eq!((kv.key_type(b"user:1")?, kv.key_type(b"other")?), ("string", "bytes"));
/// assert!(kv.random_key()?.is_some());
/// assert_eq!(kv.keys_prefix(b"user:")?, [b"user:1", b"user:2"]);
/// assert_eq!(kv.keys_match(b"user:[2-9]")?, [b"user:2"]);
/// assert_eq!(kv.keys_prefix_limit(b"user:", 1, 10)?, [b"user:2"]);
/// assert_eq!(kv.scan_prefix_limit(b"user:", 0, 1)?[0].value, b"Ada");
/// assert_eq!(kv.key_count()?, 3);
/// assert_eq!((kv.ttl(b"user:1")?, kv.pttl(b"nobody")?, kv.expire_time(b"user:1")?), (Some(0), None, Some(0)));
/// assert!(kv.disk_space()? > 0);
///
/// let snapshot = kv.snapshot()?;
/// db.kv()?.del(b"user:1")?;
/// assert_eq!(kv.get(b"user:1")?, None);
/// assert_eq!(kv.snapshot_get(&snapshot, b"user:1")?.as_deref(), Some(&b"Ada"[..]));
/// assert_eq!(kv.snapshot_scan_prefix_limit(&snapshot, b"user:", 0, 10)?.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct KvRead {
    inner: Arc<Inner>,
}

/// Writes the database, and reads it like [`KvRead`]. Cloning shares it; all its functions may be called at the same time.
/// When a write returns, it is as durable as [`Settings::durability`](crate::Settings::durability) says.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let db = talon::Talon::open(folder.path())?;
/// let kv = db.kv()?;
/// kv.set(b"k", b"v", Some(60))?;
/// assert!(!kv.setnx(b"k", b"other", None)?);
/// assert_eq!(kv.append(b"k", b"w")?, 2);
/// assert_eq!(kv.setrange(b"k", 4, b"x")?, 5);
/// assert_eq!(kv.get(b"k")?.as_deref(), Some(&b"vw\0\0x"[..]));
/// assert_eq!(kv.getset(b"k", b"new")?.as_deref(), Some(&b"vw\0\0x"[..]));
///
/// kv.expire(b"k", 100)?;
/// kv.rename(b"k", b"l")?;
/// assert_eq!(kv.ttl(b"l")?, Some(100));
/// kv.pexpire(b"l", 1_500)?;
/// assert!(kv.persist(b"l")?);
/// assert!(kv.expire_at(b"l", 4_000_000_000)?);
/// assert_eq!(kv.expire_time(b"l")?, Some(4_000_000_000));
/// assert!(kv.expire(b"missing", 1).is_err_and(|error| error.is_no_such_key()));
///
/// assert_eq!((kv.incr(b"n")?, kv.incrby(b"n", 9)?, kv.decr(b"n")?, kv.decrby(b"n", 4)?), (1, 10, 9, 5));
/// assert_eq!(kv.incrbyfloat(b"n", 0.5)?, 5.5);
///
/// assert!(kv.del(b"n")?);
/// kv.mset(&[b"p:1", b"p:2", b"q"], &[b"", b"", b""])?;
/// assert_eq!(kv.del_prefix(b"p:")?, 2);
/// assert_eq!(kv.mdel(&[b"q", b"l", b"missing"])?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Kv {
    read: KvRead,
}

impl Deref for Kv {
    type Target = KvRead;

    fn deref(&self) -> &KvRead {
        &self.read
    }
}

fn bytes(slice: &[u8]) -> Bytes {
    Bytes::copy_from_slice(slice)
}

fn all_bytes(slices: &[&[u8]]) -> Vec<Bytes> {
    slices.iter().map(|slice| bytes(slice)).collect()
}

fn vectors(all: Vec<Bytes>) -> Vec<Vec<u8>> {
    all.into_iter().map(Vec::from).collect()
}

fn kv_pairs(pairs: Vec<Pair>) -> Vec<KvPair> {
    pairs.into_iter().map(|pair| KvPair { key: pair.key.into(), value: pair.value.into() }).collect()
}

/// `None`: no key; 0: it lives for ever. So that those two can be told from a life of less than half a second, that counts as 1.
fn time_left(left: TimeLeft) -> Option<u64> {
    match left {
        TimeLeft::NoKey => None,
        TimeLeft::Endless => Some(0),
        TimeLeft::Left(left) => Some(left.max(1)),
    }
}

fn paired(keys: &[&[u8]], values: &[&[u8]]) -> Result<Vec<(Bytes, Bytes)>, Refusal> {
    if keys.len() != values.len() {
        return Err(typed::UNEQUAL_LISTS);
    }
    Ok(keys.iter().zip(values).map(|(key, value)| (bytes(key), bytes(value))).collect())
}

impl KvRead {
    pub(crate) fn new(inner: Arc<Inner>) -> KvRead {
        KvRead { inner }
    }

    /// The value under a key.
    ///
    /// # Errors
    /// Like all functions: [`Error::Fault`] if the storage failed. Others are named where they may happen.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.inner.call(typed::get(bytes(key)))?.map(Vec::from))
    }

    /// The values under several keys, as of one moment, in the order asked.
    ///
    /// # Errors
    /// [`Error::Refused`] if the values together are too large for one reply (256 MB).
    pub fn mget(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let values = self.inner.call(typed::mget(all_bytes(keys)))?;
        Ok(values.into_iter().map(|value| value.map(Vec::from)).collect())
    }

    /// Whether a key exists.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn exists(&self, key: &[u8]) -> Result<bool, Error> {
        self.inner.call(typed::exists(bytes(key)))
    }

    /// The length of a value in bytes; `None` if there is no such key.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn strlen(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        self.inner.call(typed::strlen(bytes(key)))
    }

    /// Part of a value: from `start` to `end`, both included, negative ones counted from the end (-1 is the last byte). Empty if there is no such
    /// key or part.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn getrange(&self, key: &[u8], start: i64, end: i64) -> Result<Vec<u8>, Error> {
        Ok(self.inner.call(typed::getrange(bytes(key), start, end))?.into())
    }

    /// `"string"` for valid UTF-8, `"bytes"` for anything else, `"none"` if there is no such key.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn key_type(&self, key: &[u8]) -> Result<&'static str, Error> {
        Ok(self.inner.call(typed::key_type(bytes(key)))?.name())
    }

    /// Any key; `None` if there is none at all.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn random_key(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.inner.call(typed::random_key())?.map(Vec::from))
    }

    /// The seconds a key has left, rounded as Redis does but never to 0; `Some(0)` if it lives for ever, `None` if there is no such key.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn ttl(&self, key: &[u8]) -> Result<Option<u64>, Error> {
        Ok(time_left(self.inner.call(typed::ttl(bytes(key)))?))
    }

    /// The milliseconds a key has left; `Some(0)` if it lives for ever, `None` if there is no such key.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn pttl(&self, key: &[u8]) -> Result<Option<u64>, Error> {
        Ok(time_left(self.inner.call(typed::pttl(bytes(key)))?))
    }

    /// When a key ends, in Unix seconds; `Some(0)` if it lives for ever, `None` if there is no such key.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn expire_time(&self, key: &[u8]) -> Result<Option<u64>, Error> {
        self.inner.call(typed::expire_time(bytes(key)))
    }

    /// The keys that begin with `prefix`, in order.
    ///
    /// # Errors
    /// [`Error::Refused`] if they are too many for one reply (256 MB): read them with [`KvRead::keys_prefix_limit`].
    pub fn keys_prefix(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        Ok(vectors(self.inner.call(typed::keys_prefix(bytes(prefix)))?))
    }

    /// The keys that match a pattern, in order: `*` for any bytes, `?` for one, `[a-z]` and `[^a-z]` for one of a class, `\` before a byte that
    /// means itself. Only keys with the pattern's fixed beginning are looked at.
    ///
    /// # Errors
    /// As [`KvRead::keys_prefix`].
    pub fn keys_match(&self, pattern: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        Ok(vectors(self.inner.call(typed::keys_match(bytes(pattern)))?))
    }

    /// Keys that begin with `prefix`, in order: `limit` of them after the first `offset`.
    ///
    /// # Errors
    /// As [`KvRead::keys_prefix`].
    pub fn keys_prefix_limit(&self, prefix: &[u8], offset: usize, limit: usize) -> Result<Vec<Vec<u8>>, Error> {
        Ok(vectors(self.inner.call(typed::keys_prefix_limit(bytes(prefix), offset as u64, limit as u64))?))
    }

    /// Keys and values whose keys begin with `prefix`, in order: `limit` of them after the first `offset`. Takes memory for these and no more.
    ///
    /// # Errors
    /// As [`KvRead::keys_prefix`].
    pub fn scan_prefix_limit(&self, prefix: &[u8], offset: usize, limit: usize) -> Result<Vec<KvPair>, Error> {
        Ok(kv_pairs(self.inner.call(typed::scan_prefix_limit(bytes(prefix), offset as u64, limit as u64))?))
    }

    /// How many keys there are, exactly; expired ones are not counted. It takes the time of a scan and constant memory: a count that
    /// is kept would cost every write a look at what it overwrites, and batches of writes came out 43 to 71 % slower for it (`examples/bench.rs`
    /// measures it); the scan takes about half a second for a million keys.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn key_count(&self) -> Result<u64, Error> {
        self.inner.call(typed::key_count())
    }

    /// The bytes on disk that the folder takes.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn disk_space(&self) -> Result<u64, Error> {
        Ok(self.inner.committer.machine().disk_bytes_total()?)
    }

    /// The whole database as it is now, to read from later.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        Ok(Snapshot { view: self.inner.settled_view()? })
    }

    /// The value under a key in a snapshot.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn snapshot_get(&self, snapshot: &Snapshot, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(read_snapshot(snapshot, typed::get(bytes(key)))?.map(Vec::from))
    }

    /// Keys and values in a snapshot whose keys begin with `prefix`, in order: `limit` of them after the first `offset`.
    ///
    /// # Errors
    /// As [`KvRead::keys_prefix`].
    pub fn snapshot_scan_prefix_limit(
        &self,
        snapshot: &Snapshot,
        prefix: &[u8],
        offset: usize,
        limit: usize,
    ) -> Result<Vec<KvPair>, Error> {
        let function = typed::scan_prefix_limit(bytes(prefix), offset as u64, limit as u64);
        Ok(kv_pairs(read_snapshot(snapshot, function)?))
    }
}

/// A snapshot is judged by its own clock, which does not move.
fn read_snapshot<T>(snapshot: &Snapshot, function: Function<T>) -> Result<T, Error> {
    let calls: [Call; 1] = [function.call.clone()];
    match snapshot.view.read(&calls, 0, 0)? {
        ReadOutcome::Replies(mut replies) => {
            let reply = replies.pop().ok_or_else(|| Fault("a call was not answered".into()))?;
            Ok(function.answer(reply)?)
        }
        ReadOutcome::NeedsTick(_) => Err(Fault("a snapshot asked for a tick".into()).into()),
    }
}

impl Kv {
    pub(crate) fn new(inner: Arc<Inner>) -> Kv {
        Kv { read: KvRead::new(inner) }
    }

    fn call<T>(&self, function: Function<T>) -> Result<T, Error> {
        self.read.inner.call(function)
    }

    /// Stores a value. `None` as time to live: until it is deleted, whatever it had before.
    ///
    /// # Errors
    /// [`Error::Refused`] for a time to live of `Some(0)`, a key over 64 KB, a value over 16 MB.
    pub fn set(&self, key: &[u8], value: &[u8], ttl_secs: Option<u64>) -> Result<(), Error> {
        self.call(typed::set(bytes(key), bytes(value), ttl_secs.map(Ttl::Secs))?)
    }

    /// Stores a value if the key does not exist; says whether it did.
    ///
    /// # Errors
    /// As [`Kv::set`].
    pub fn setnx(&self, key: &[u8], value: &[u8], ttl_secs: Option<u64>) -> Result<bool, Error> {
        self.call(typed::setnx(bytes(key), bytes(value), ttl_secs.map(Ttl::Secs))?)
    }

    /// Stores several values atomically, without times to live.
    ///
    /// # Errors
    /// As [`Kv::set`], and if there are not as many values as keys.
    pub fn mset(&self, keys: &[&[u8]], values: &[&[u8]]) -> Result<(), Error> {
        self.call(typed::mset(paired(keys, values)?)?)
    }

    /// Adds to a batch what [`Kv::set`] would do.
    ///
    /// # Errors
    /// As [`Kv::set`]; the batch stays as it was.
    pub fn set_batch(&self, batch: &mut Batch, key: &[u8], value: &[u8], ttl_secs: Option<u64>) -> Result<(), Error> {
        add(batch, typed::set(bytes(key), bytes(value), ttl_secs.map(Ttl::Secs))?);
        Ok(())
    }

    /// Adds to a batch what [`Kv::mset`] would do.
    ///
    /// # Errors
    /// As [`Kv::mset`]; the batch stays as it was.
    pub fn mset_batch(&self, batch: &mut Batch, keys: &[&[u8]], values: &[&[u8]]) -> Result<(), Error> {
        add(batch, typed::mset(paired(keys, values)?)?);
        Ok(())
    }

    /// Carries out a batch: all of it or nothing.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if it is larger than one request may be.
    pub fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.call(typed::batch(batch.requests))
    }

    /// Appends to a value, or creates it; answers the new length. Keeps the time to live.
    ///
    /// # Errors
    /// [`Error::Refused`] if it would become too long.
    pub fn append(&self, key: &[u8], value: &[u8]) -> Result<usize, Error> {
        self.call(typed::append(bytes(key), bytes(value)))
    }

    /// Overwrites part of a value, filling a gap with zeros; answers the new length. Keeps the time to live.
    ///
    /// # Errors
    /// [`Error::Refused`] if it would become too long.
    pub fn setrange(&self, key: &[u8], offset: usize, value: &[u8]) -> Result<usize, Error> {
        self.call(typed::setrange(bytes(key), offset as u64, bytes(value)))
    }

    /// Stores a value without a time to live and answers the one before.
    ///
    /// # Errors
    /// As [`Kv::set`].
    pub fn getset(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.call(typed::getset(bytes(key), bytes(value)))?.map(Vec::from))
    }

    /// Renames a key, with its time to live. What was under the new name is gone.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is no such key (see [`Error::is_no_such_key`]).
    pub fn rename(&self, source: &[u8], destination: &[u8]) -> Result<(), Error> {
        self.call(typed::rename(bytes(source), bytes(destination)))
    }

    /// Deletes a key; says whether there was one.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn del(&self, key: &[u8]) -> Result<bool, Error> {
        self.call(typed::del(bytes(key)))
    }

    /// Deletes several keys atomically; says how many there were.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn mdel(&self, keys: &[&[u8]]) -> Result<u64, Error> {
        self.call(typed::mdel(all_bytes(keys)))
    }

    /// Deletes all keys that begin with `prefix`, atomically; says how many there were.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn del_prefix(&self, prefix: &[u8]) -> Result<u64, Error> {
        self.call(typed::del_prefix(bytes(prefix)))
    }

    /// Gives a key a time to live.
    ///
    /// # Errors
    /// [`Error::Refused`] for 0 seconds, and if there is no such key (see [`Error::is_no_such_key`]).
    pub fn expire(&self, key: &[u8], secs: u64) -> Result<(), Error> {
        self.call(typed::expire(bytes(key), secs)?)
    }

    /// Gives a key a time to live in milliseconds.
    ///
    /// # Errors
    /// As [`Kv::expire`].
    pub fn pexpire(&self, key: &[u8], millis: u64) -> Result<(), Error> {
        self.call(typed::pexpire(bytes(key), millis)?)
    }

    /// Lets a key live for ever; says whether it had a time to live.
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn persist(&self, key: &[u8]) -> Result<bool, Error> {
        self.call(typed::persist(bytes(key)))
    }

    /// Lets a key end at a time in Unix seconds; says whether there is such a key. A time that is over deletes it at once. 0 is
    /// [`Kv::persist`].
    ///
    /// # Errors
    /// [`Error::Refused`] for a time too far away.
    pub fn expire_at(&self, key: &[u8], unix_secs: u64) -> Result<bool, Error> {
        self.call(typed::expire_at(bytes(key), unix_secs)?)
    }

    /// Adds 1 to a decimal number (a missing key is 0); answers the sum. Keeps the time to live, as all counters do.
    ///
    /// # Errors
    /// [`Error::Refused`] if the value is no integer of 64 bits, or the sum would be none. Nothing is changed.
    pub fn incr(&self, key: &[u8]) -> Result<i64, Error> {
        self.incrby(key, 1)
    }

    /// Takes 1 from a decimal number; answers the difference.
    ///
    /// # Errors
    /// As [`Kv::incr`].
    pub fn decr(&self, key: &[u8]) -> Result<i64, Error> {
        self.decrby(key, 1)
    }

    /// Adds to a decimal number; answers the sum.
    ///
    /// # Errors
    /// As [`Kv::incr`].
    pub fn incrby(&self, key: &[u8], by: i64) -> Result<i64, Error> {
        self.call(typed::incrby(bytes(key), by))
    }

    /// Takes from a decimal number; answers the difference.
    ///
    /// # Errors
    /// As [`Kv::incr`]; `i64::MIN` cannot be taken.
    pub fn decrby(&self, key: &[u8], by: i64) -> Result<i64, Error> {
        self.call(typed::decrby(bytes(key), by))
    }

    /// Adds to a decimal number with a fraction; answers the sum, as the nearest `f64` to the decimal digits that are stored.
    ///
    /// # Errors
    /// [`Error::Refused`] for NaN and infinity, as increment or sum, and if the value is no number. Nothing is changed.
    pub fn incrbyfloat(&self, key: &[u8], by: f64) -> Result<f64, Error> {
        self.call(typed::incrbyfloat(bytes(key), by)?)
    }
}

fn add(batch: &mut Batch, function: Function<()>) {
    match function.call {
        Call::One(request) => batch.requests.push(request),
        Call::Transaction(requests) => batch.requests.extend(requests),
    }
}

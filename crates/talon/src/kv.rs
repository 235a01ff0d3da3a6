//! The functions of the embedded database that write.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use talon_core::typed::{self, Function, Ttl};
use talon_core::{Call, Refusal};

use crate::batch::Batch;
use crate::embedded::Inner;
use crate::error::Error;
use crate::kv_read::{KvRead, all_bytes, bytes};

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
#[derive(Clone, Debug)]
pub struct Kv {
    read: KvRead,
}

impl Deref for Kv {
    type Target = KvRead;

    fn deref(&self) -> &KvRead {
        &self.read
    }
}

fn paired(keys: &[&[u8]], values: &[&[u8]]) -> Result<Vec<(Bytes, Bytes)>, Refusal> {
    if keys.len() != values.len() {
        return Err(typed::UNEQUAL_LISTS);
    }
    Ok(keys.iter().zip(values).map(|(key, value)| (bytes(key), bytes(value))).collect())
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
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"session", b"42", Some(3600))?;
    /// assert!(kv.set(b"session", b"42", Some(0)).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] for a time to live of `Some(0)`, a key over 64 KB, a value over 16 MB.
    pub fn set(&self, key: &[u8], value: &[u8], ttl_secs: Option<u64>) -> Result<(), Error> {
        self.call(typed::set(bytes(key), bytes(value), ttl_secs.map(Ttl::Secs))?)
    }

    /// Stores a value if the key does not exist; says whether it did.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// assert!(kv.setnx(b"lock", b"me", Some(10))?);
    /// assert!(!kv.setnx(b"lock", b"you", Some(10))?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Kv::set`].
    pub fn setnx(&self, key: &[u8], value: &[u8], ttl_secs: Option<u64>) -> Result<bool, Error> {
        self.call(typed::setnx(bytes(key), bytes(value), ttl_secs.map(Ttl::Secs))?)
    }

    /// Stores several values atomically, without times to live.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.mset(&[b"a", b"b"], &[b"1", b"2"])?;
    /// assert!(kv.mset(&[b"a", b"b"], &[b"1"]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Kv::set`], and if there are not as many values as keys.
    pub fn mset(&self, keys: &[&[u8]], values: &[&[u8]]) -> Result<(), Error> {
        self.call(typed::mset(paired(keys, values)?)?)
    }

    /// Adds to a batch what [`Kv::set`] would do.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// let mut batch = talon::Batch::new();
    /// kv.set_batch(&mut batch, b"k", b"v", Some(60))?;
    /// kv.commit(batch)?;
    /// assert_eq!(kv.ttl(b"k")?, Some(60));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Kv::set`]; the batch stays as it was.
    pub fn set_batch(&self, batch: &mut Batch, key: &[u8], value: &[u8], ttl_secs: Option<u64>) -> Result<(), Error> {
        let (key, value) = (batch.copy(key), batch.copy(value));
        add(batch, typed::set(key, value, ttl_secs.map(Ttl::Secs))?);
        Ok(())
    }

    /// Adds to a batch what [`Kv::mset`] would do.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// let mut batch = talon::Batch::new();
    /// kv.mset_batch(&mut batch, &[b"a", b"b"], &[b"1", b"2"])?;
    /// kv.commit(batch)?;
    /// assert_eq!(kv.key_count()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Kv::mset`]; the batch stays as it was.
    pub fn mset_batch(&self, batch: &mut Batch, keys: &[&[u8]], values: &[&[u8]]) -> Result<(), Error> {
        add(batch, typed::mset(paired(keys, values)?)?);
        Ok(())
    }

    /// Carries out a batch: all of it or nothing.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// let mut batch = talon::Batch::new();
    /// kv.set_batch(&mut batch, b"k", b"v", None)?;
    /// kv.commit(batch)?;
    /// assert!(kv.exists(b"k")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TooLarge`] if it is larger than one request may be.
    pub fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.call(typed::batch(batch.requests))
    }

    /// Appends to a value, or creates it; answers the new length. Keeps the time to live.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// assert_eq!((kv.append(b"k", b"ab")?, kv.append(b"k", b"c")?), (2, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] if it would become too long.
    pub fn append(&self, key: &[u8], value: &[u8]) -> Result<usize, Error> {
        self.call(typed::append(bytes(key), bytes(value)))
    }

    /// Overwrites part of a value, filling a gap with zeros; answers the new length. Keeps the time to live.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.setrange(b"k", 2, b"x")?;
    /// assert_eq!(kv.get(b"k")?, Some(b"\0\0x".to_vec()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] if it would become too long.
    pub fn setrange(&self, key: &[u8], offset: usize, value: &[u8]) -> Result<usize, Error> {
        self.call(typed::setrange(bytes(key), offset as u64, bytes(value)))
    }

    /// Stores a value without a time to live and answers the one before.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"old", Some(60))?;
    /// assert_eq!(kv.getset(b"k", b"new")?, Some(b"old".to_vec()));
    /// assert_eq!(kv.ttl(b"k")?, Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Kv::set`].
    pub fn getset(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.call(typed::getset(bytes(key), bytes(value)))?.map(Vec::from))
    }

    /// Renames a key, with its time to live. What was under the new name is gone.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"old", b"v", Some(60))?;
    /// kv.rename(b"old", b"new")?;
    /// assert_eq!(kv.ttl(b"new")?, Some(60));
    /// assert!(kv.rename(b"old", b"new").is_err_and(|error| error.is_no_such_key()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] if there is no such key (see [`Error::is_no_such_key`]).
    pub fn rename(&self, source: &[u8], destination: &[u8]) -> Result<(), Error> {
        self.call(typed::rename(bytes(source), bytes(destination)))
    }

    /// Deletes a key; says whether there was one.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"v", None)?;
    /// assert!(kv.del(b"k")?);
    /// assert!(!kv.del(b"k")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn del(&self, key: &[u8]) -> Result<bool, Error> {
        self.call(typed::del(bytes(key)))
    }

    /// Deletes several keys atomically; says how many there were.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.mset(&[b"a", b"b"], &[b"1", b"2"])?;
    /// assert_eq!(kv.mdel(&[b"a", b"b", b"c"])?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn mdel(&self, keys: &[&[u8]]) -> Result<u64, Error> {
        self.call(typed::mdel(all_bytes(keys)))
    }

    /// Deletes all keys that begin with `prefix`, atomically; says how many there were.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.mset(&[b"a:1", b"a:2", b"b"], &[b"", b"", b""])?;
    /// assert_eq!(kv.del_prefix(b"a:")?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn del_prefix(&self, prefix: &[u8]) -> Result<u64, Error> {
        self.call(typed::del_prefix(bytes(prefix)))
    }

    /// Gives a key a time to live.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"v", None)?;
    /// kv.expire(b"k", 60)?;
    /// assert!(kv.expire(b"missing", 60).is_err_and(|error| error.is_no_such_key()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] for 0 seconds, and if there is no such key (see [`Error::is_no_such_key`]).
    pub fn expire(&self, key: &[u8], secs: u64) -> Result<(), Error> {
        self.call(typed::expire(bytes(key), secs)?)
    }

    /// Gives a key a time to live in milliseconds.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"v", None)?;
    /// kv.pexpire(b"k", 1_500)?;
    /// assert!(kv.pttl(b"k")?.is_some_and(|left_ms| left_ms <= 1_500));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Kv::expire`].
    pub fn pexpire(&self, key: &[u8], millis: u64) -> Result<(), Error> {
        self.call(typed::pexpire(bytes(key), millis)?)
    }

    /// Lets a key live for ever; says whether it had a time to live.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"v", Some(60))?;
    /// assert!(kv.persist(b"k")?);
    /// assert!(!kv.persist(b"k")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn persist(&self, key: &[u8]) -> Result<bool, Error> {
        self.call(typed::persist(bytes(key)))
    }

    /// Lets a key end at a time in Unix seconds; says whether there is such a key. A time that is over deletes it at once. 0 is
    /// [`Kv::persist`].
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"v", None)?;
    /// assert!(kv.expire_at(b"k", 4_000_000_000)?);
    /// assert!(kv.expire_at(b"k", 0)?); // persists
    /// assert!(kv.expire_at(b"k", 1)?); // deletes
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] for a time too far away.
    pub fn expire_at(&self, key: &[u8], unix_secs: u64) -> Result<bool, Error> {
        self.call(typed::expire_at(bytes(key), unix_secs)?)
    }

    /// Adds 1 to a decimal number (a missing key is 0); answers the sum. Keeps the time to live, as all counters do.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// assert_eq!((kv.incr(b"n")?, kv.incr(b"n")?), (1, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] if the value is no integer of 64 bits, or the sum would be none. Nothing is changed.
    pub fn incr(&self, key: &[u8]) -> Result<i64, Error> {
        self.incrby(key, 1)
    }

    /// Takes 1 from a decimal number; answers the difference.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// assert_eq!(kv.decr(b"n")?, -1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Kv::incr`].
    pub fn decr(&self, key: &[u8]) -> Result<i64, Error> {
        self.decrby(key, 1)
    }

    /// Adds to a decimal number; answers the sum.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// assert_eq!(kv.incrby(b"n", 40)?, 40);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Kv::incr`].
    pub fn incrby(&self, key: &[u8], by: i64) -> Result<i64, Error> {
        self.call(typed::incrby(bytes(key), by))
    }

    /// Takes from a decimal number; answers the difference.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// assert_eq!(kv.decrby(b"n", 40)?, -40);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Kv::incr`]; `i64::MIN` cannot be taken.
    pub fn decrby(&self, key: &[u8], by: i64) -> Result<i64, Error> {
        self.call(typed::decrby(bytes(key), by))
    }

    /// Adds to a decimal number with a fraction; answers the sum, as the nearest `f64` to the decimal digits that are stored.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// assert_eq!(kv.incrbyfloat(b"f", 0.5)?, 0.5);
    /// assert!(kv.incrbyfloat(b"f", f64::NAN).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

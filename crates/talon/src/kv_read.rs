//! The functions of the embedded database that read, and snapshots.

use std::sync::Arc;

use bytes::Bytes;
use talon_core::typed::{self, Function, Pair, TimeLeft};
use talon_core::{Call, Fault};

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
#[derive(Clone, Debug)]
pub struct Snapshot {
    view: Arc<ReadView>,
}

impl Snapshot {
    /// The moment, by the database's clock, Unix ms.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"v", None)?;
    /// assert!(kv.snapshot()?.clock_ms() > 1_700_000_000_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
#[derive(Clone, Debug)]
pub struct KvRead {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) fn bytes(slice: &[u8]) -> Bytes {
    Bytes::copy_from_slice(slice)
}

pub(crate) fn all_bytes(slices: &[&[u8]]) -> Vec<Bytes> {
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

impl KvRead {
    pub(crate) fn new(inner: Arc<Inner>) -> KvRead {
        KvRead { inner }
    }

    /// The value under a key.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"v", None)?;
    /// assert_eq!(kv.get(b"k")?, Some(b"v".to_vec()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Like all functions: [`Error::Fault`] if the storage failed. Others are named where they may happen.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.inner.call(typed::get(bytes(key)))?.map(Vec::from))
    }

    /// The values under several keys, as of one moment, in the order asked.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"a", b"1", None)?;
    /// assert_eq!(kv.mget(&[b"a", b"b"])?, [Some(b"1".to_vec()), None]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] if the values together are too large for one reply (256 MB).
    pub fn mget(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let values = self.inner.call(typed::mget(all_bytes(keys)))?;
        Ok(values.into_iter().map(|value| value.map(Vec::from)).collect())
    }

    /// Whether a key exists.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// assert!(!kv.exists(b"k")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn exists(&self, key: &[u8]) -> Result<bool, Error> {
        self.inner.call(typed::exists(bytes(key)))
    }

    /// The length of a value in bytes; `None` if there is no such key.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"four", None)?;
    /// assert_eq!((kv.strlen(b"k")?, kv.strlen(b"none")?), (Some(4), None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn strlen(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        self.inner.call(typed::strlen(bytes(key)))
    }

    /// Part of a value: from `start` to `end`, both included, negative ones counted from the end (-1 is the last byte). Empty if there is no such
    /// key or part.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"Hello", None)?;
    /// assert_eq!(kv.getrange(b"k", 1, -2)?, b"ell");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn getrange(&self, key: &[u8], start: i64, end: i64) -> Result<Vec<u8>, Error> {
        Ok(self.inner.call(typed::getrange(bytes(key), start, end))?.into())
    }

    /// `"string"` for valid UTF-8, `"bytes"` for anything else, `"none"` if there is no such key.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.mset(&[b"text", b"image"], &[b"abc", b"\x89PNG"])?;
    /// assert_eq!((kv.key_type(b"text")?, kv.key_type(b"image")?, kv.key_type(b"k")?), ("string", "bytes", "none"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn key_type(&self, key: &[u8]) -> Result<&'static str, Error> {
        Ok(self.inner.call(typed::key_type(bytes(key)))?.name())
    }

    /// Any key; `None` if there is none at all.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"", None)?;
    /// assert_eq!(kv.random_key()?, Some(b"k".to_vec()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn random_key(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.inner.call(typed::random_key())?.map(Vec::from))
    }

    /// The seconds a key has left, rounded as Redis does but never to 0; `Some(0)` if it lives for ever, `None` if there is no such key.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"", Some(60))?;
    /// assert_eq!(kv.ttl(b"k")?, Some(60));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn ttl(&self, key: &[u8]) -> Result<Option<u64>, Error> {
        Ok(time_left(self.inner.call(typed::ttl(bytes(key)))?))
    }

    /// The milliseconds a key has left; `Some(0)` if it lives for ever, `None` if there is no such key.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"", Some(60))?;
    /// assert!(kv.pttl(b"k")?.is_some_and(|left_ms| left_ms > 50_000));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn pttl(&self, key: &[u8]) -> Result<Option<u64>, Error> {
        Ok(time_left(self.inner.call(typed::pttl(bytes(key)))?))
    }

    /// When a key ends, in Unix seconds; `Some(0)` if it lives for ever, `None` if there is no such key.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"", None)?;
    /// assert_eq!((kv.expire_time(b"k")?, kv.expire_time(b"none")?), (Some(0), None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn expire_time(&self, key: &[u8]) -> Result<Option<u64>, Error> {
        self.inner.call(typed::expire_time(bytes(key)))
    }

    /// The keys that begin with `prefix`, in order.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.mset(&[b"a:2", b"a:1", b"b"], &[b"", b"", b""])?;
    /// assert_eq!(kv.keys_prefix(b"a:")?, [b"a:1", b"a:2"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] if they are too many for one reply (256 MB): read them with [`KvRead::keys_prefix_limit`].
    pub fn keys_prefix(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        Ok(vectors(self.inner.call(typed::keys_prefix(bytes(prefix)))?))
    }

    /// The keys that match a pattern, in order: `*` for any bytes, `?` for one, `[a-z]` and `[^a-z]` for one of a class, `\` before a byte that
    /// means itself. Only keys with the pattern's fixed beginning are looked at.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.mset(&[b"user:1", b"user:2"], &[b"", b""])?;
    /// assert_eq!(kv.keys_match(b"user:[^1]")?, [b"user:2"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`KvRead::keys_prefix`].
    pub fn keys_match(&self, pattern: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        Ok(vectors(self.inner.call(typed::keys_match(bytes(pattern)))?))
    }

    /// Keys that begin with `prefix`, in order: `limit` of them after the first `offset`.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.mset(&[b"a", b"b", b"c"], &[b"", b"", b""])?;
    /// assert_eq!(kv.keys_prefix_limit(b"", 1, 1)?, [b"b"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`KvRead::keys_prefix`].
    pub fn keys_prefix_limit(&self, prefix: &[u8], offset: usize, limit: usize) -> Result<Vec<Vec<u8>>, Error> {
        Ok(vectors(self.inner.call(typed::keys_prefix_limit(bytes(prefix), offset as u64, limit as u64))?))
    }

    /// Keys and values whose keys begin with `prefix`, in order: `limit` of them after the first `offset`. Takes memory for these and no more.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.mset(&[b"a", b"b"], &[b"1", b"2"])?;
    /// let page = kv.scan_prefix_limit(b"", 1, 10)?;
    /// assert_eq!(page, [talon::KvPair { key: b"b".to_vec(), value: b"2".to_vec() }]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`KvRead::keys_prefix`].
    pub fn scan_prefix_limit(&self, prefix: &[u8], offset: usize, limit: usize) -> Result<Vec<KvPair>, Error> {
        Ok(kv_pairs(self.inner.call(typed::scan_prefix_limit(bytes(prefix), offset as u64, limit as u64))?))
    }

    /// How many keys there are, exactly; expired ones are not counted. It takes the time of a scan and constant memory: a count that
    /// is kept would cost every write a look at what it overwrites, and batches of writes came out 43 to 71 % slower for it (`talon-bench
    /// embedded --kept-count` measures it); the scan takes about half a second for a million keys.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.mset(&[b"a", b"b"], &[b"", b""])?;
    /// assert_eq!(kv.key_count()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn key_count(&self) -> Result<u64, Error> {
        self.inner.call(typed::key_count())
    }

    /// The bytes on disk that the folder takes.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// println!("{} bytes", kv.disk_space()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn disk_space(&self) -> Result<u64, Error> {
        Ok(self.inner.committer.machine().disk_bytes_total()?)
    }

    /// The whole database as it is now, to read from later.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// let before = kv.snapshot()?;
    /// kv.set(b"k", b"v", None)?;
    /// assert_eq!(kv.snapshot_get(&before, b"k")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        Ok(Snapshot { view: self.inner.settled_view()? })
    }

    /// The value under a key in a snapshot.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"old", None)?;
    /// let snapshot = kv.snapshot()?;
    /// kv.set(b"k", b"new", None)?;
    /// assert_eq!(kv.snapshot_get(&snapshot, b"k")?, Some(b"old".to_vec()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`KvRead::get`].
    pub fn snapshot_get(&self, snapshot: &Snapshot, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(read_snapshot(snapshot, typed::get(bytes(key)))?.map(Vec::from))
    }

    /// Keys and values in a snapshot whose keys begin with `prefix`, in order: `limit` of them after the first `offset`.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = talon::Talon::open(folder.path())?.kv()?;
    /// kv.set(b"k", b"v", None)?;
    /// let snapshot = kv.snapshot()?;
    /// kv.del(b"k")?;
    /// assert_eq!(kv.snapshot_scan_prefix_limit(&snapshot, b"", 0, 10)?[0].value, b"v");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

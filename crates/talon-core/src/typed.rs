//! The functions of the embedded database and of the gRPC service, as pairs: the call a function makes, and how its reply reads. Both
//! front doors use these, so both mean the same.
//!
//! Where a function says less or more than its Redis command, it is written beside it. The deviations:
//! - a time to live of 0 is refused ([`set`], [`setnx`], [`expire`], [`pexpire`]): Redis's `EXPIRE k 0` deletes;
//! - [`expire`] and [`pexpire`] of a missing key are refused with [`NO_SUCH_KEY`]: Redis answers 0;
//! - [`expire_at`] with 0 lets the key live for ever: Redis's `EXPIREAT k 0` deletes;
//! - [`key_type`] tells text from bytes: Redis's `TYPE` answers `string` for both;
//! - [`strlen`] tells a missing key from an empty value: Redis's `STRLEN` answers 0 for both;
//! - lists of keys may be empty: Redis refuses them.
//!
//! ```
//! use talon_core::{Reply, typed};
//!
//! let function = typed::incrby("hits".into(), 5);
//! assert!(function.call.is_write());
//! // Whoever has the data carries the call out, and gives the reply back:
//! assert_eq!(function.answer(Reply::Integer(12)), Ok(12));
//! ```

use bytes::Bytes;

use crate::command::Command;
use crate::commands::keys::{
    DBSIZE, DEL, EXISTS, EXPIRE, EXPIREAT, EXPIRETIME, KEYS, PERSIST, PEXPIRE, PTTL, RANDOMKEY, RENAME, TTL,
};
use crate::commands::strings::{
    APPEND, DECRBY, GET, GETRANGE, GETSET, INCRBY, INCRBYFLOAT, MGET, MSET, SET, SETRANGE, STRLEN,
};
use crate::commands::talon::{DELPREFIX, DISKUSAGE, KEYSPREFIX, SCANPREFIX};
use crate::database::Call;
use crate::error::{NO_SUCH_KEY, Refusal};
use crate::reply::Reply;
use crate::request::Request;
use crate::transaction::check_sizes;

/// The longest time to live, in seconds, that can be added to any clock without overflow.
pub const TTL_SECS_MAX: u64 = 9_000_000_000_000_000;

/// A time to live of 0, or one too long.
pub const INVALID_TTL: Refusal =
    Refusal::new("ERR invalid expire time: it must be above 0 and below 285 million years");
/// As many values as keys are needed.
pub const UNEQUAL_LISTS: Refusal = Refusal::new("ERR there must be as many values as keys");
/// An increment that is no number.
pub const NOT_FINITE: Refusal = Refusal::new("ERR increment is NaN or Infinity");
/// A reply that does not fit the function: two builds that do not fit together, or a defect.
pub const UNEXPECTED: Refusal = Refusal::new("ERR unexpected reply");

/// A call, and how its reply reads.
#[derive(Clone, Debug)]
pub struct Function<T> {
    /// What to carry out.
    pub call: Call,
    read: fn(Reply) -> Result<T, Refusal>,
}

impl<T> Function<T> {
    fn new(row: &'static Command, args: Vec<Bytes>, read: fn(Reply) -> Result<T, Refusal>) -> Function<T> {
        Function { call: Call::One(Request::new(row, args)), read }
    }

    /// Calls for nothing, if a list is empty: no command takes none.
    fn list(row: &'static Command, args: Vec<Bytes>, read: fn(Reply) -> Result<T, Refusal>) -> Function<T> {
        if args.is_empty() {
            return Function { call: Call::Transaction(Vec::new()), read };
        }
        Function::new(row, args, read)
    }

    /// What the function answers, from the reply to its call.
    ///
    /// # Errors
    /// What the command was refused for, or what this function refuses beyond that.
    pub fn answer(&self, reply: Reply) -> Result<T, Refusal> {
        match reply {
            Reply::Error(refusal) => Err(refusal),
            reply => (self.read)(reply),
        }
    }
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

/// How long a key lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLeft {
    /// There is no such key.
    NoKey,
    /// For ever.
    Endless,
    /// So long, in the unit of the function. Rounded to seconds it may be 0.
    Left(u64),
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// Valid UTF-8.
    Text,
    /// Anything else.
    Bytes,
    /// There is no such key.
    None,
}

impl KeyType {
    /// `string`, `bytes` or `none`.
    pub const fn name(self) -> &'static str {
        match self {
            KeyType::Text => "string",
            KeyType::Bytes => "bytes",
            KeyType::None => "none",
        }
    }
}

fn decimal(number: impl ToString) -> Bytes {
    Bytes::from(number.to_string())
}

fn unit(reply: Reply) -> Result<(), Refusal> {
    match reply {
        Reply::Ok | Reply::Simple("OK") => Ok(()),
        Reply::Array(replies) => replies.into_iter().try_for_each(|reply| match reply {
            Reply::Error(refusal) => Err(refusal),
            _ => Ok(()),
        }),
        _ => Err(UNEXPECTED),
    }
}

fn integer(reply: Reply) -> Result<i64, Refusal> {
    match reply {
        Reply::Integer(number) => Ok(number),
        _ => Err(UNEXPECTED),
    }
}

fn count(reply: Reply) -> Result<u64, Refusal> {
    match reply {
        Reply::Array(replies) if replies.is_empty() => Ok(0),
        reply => u64::try_from(integer(reply)?).map_err(|_| UNEXPECTED),
    }
}

fn length(reply: Reply) -> Result<usize, Refusal> {
    usize::try_from(integer(reply)?).map_err(|_| UNEXPECTED)
}

fn yes(reply: Reply) -> Result<bool, Refusal> {
    Ok(integer(reply)? != 0)
}

/// 1 is done, 0 is: there was no such key.
fn must_exist(reply: Reply) -> Result<(), Refusal> {
    if yes(reply)? { Ok(()) } else { Err(NO_SUCH_KEY) }
}

fn value(reply: Reply) -> Result<Option<Bytes>, Refusal> {
    match reply {
        Reply::Bulk(value) => Ok(Some(value)),
        Reply::Null => Ok(None),
        _ => Err(UNEXPECTED),
    }
}

fn present(reply: Reply) -> Result<Bytes, Refusal> {
    value(reply)?.ok_or(UNEXPECTED)
}

fn values(reply: Reply) -> Result<Vec<Option<Bytes>>, Refusal> {
    match reply {
        Reply::Array(replies) => replies.into_iter().map(value).collect(),
        _ => Err(UNEXPECTED),
    }
}

fn keys(reply: Reply) -> Result<Vec<Bytes>, Refusal> {
    match reply {
        Reply::Array(replies) => replies.into_iter().map(present).collect(),
        _ => Err(UNEXPECTED),
    }
}

fn pairs(reply: Reply) -> Result<Vec<Pair>, Refusal> {
    let Reply::Array(replies) = reply else { return Err(UNEXPECTED) };
    let pair = |reply| match reply {
        Reply::Array(pair) => {
            let [key, value] = <[Reply; 2]>::try_from(pair).map_err(|_| UNEXPECTED)?;
            Ok(Pair { key: present(key)?, value: present(value)? })
        }
        _ => Err(UNEXPECTED),
    };
    replies.into_iter().map(pair).collect()
}

fn time_left(reply: Reply) -> Result<TimeLeft, Refusal> {
    match integer(reply)? {
        -2 => Ok(TimeLeft::NoKey),
        -1 => Ok(TimeLeft::Endless),
        left => u64::try_from(left).map(TimeLeft::Left).map_err(|_| UNEXPECTED),
    }
}

/// Text if it is, decided by the value itself.
fn looks(reply: Reply) -> Result<KeyType, Refusal> {
    Ok(match value(reply)? {
        None => KeyType::None,
        Some(value) if std::str::from_utf8(&value).is_ok() => KeyType::Text,
        Some(_) => KeyType::Bytes,
    })
}

fn ttl_checked(ttl: u64, max: u64) -> Result<Bytes, Refusal> {
    if ttl == 0 || ttl > max { Err(INVALID_TTL) } else { Ok(decimal(ttl)) }
}

/// How long a key is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// Seconds.
    Secs(u64),
    /// Milliseconds.
    Millis(u64),
}

fn set_args(key: Bytes, value: Bytes, ttl: Option<Ttl>) -> Result<Vec<Bytes>, Refusal> {
    check_sizes(&key, value.len())?;
    let mut args = vec![key, value];
    match ttl {
        None => {}
        Some(Ttl::Secs(secs)) => args.extend([Bytes::from_static(b"EX"), ttl_checked(secs, TTL_SECS_MAX)?]),
        Some(Ttl::Millis(millis)) => {
            args.extend([Bytes::from_static(b"PX"), ttl_checked(millis, TTL_SECS_MAX * 1000)?]);
        }
    }
    Ok(args)
}

/// Stores a value; without a time to live it stays until it is deleted.
///
/// # Errors
/// Sizes beyond the limits, a time to live of 0: nothing was called yet.
pub fn set(key: Bytes, value: Bytes, ttl: Option<Ttl>) -> Result<Function<()>, Refusal> {
    Ok(Function::new(&SET, set_args(key, value, ttl)?, unit))
}

/// Stores a value if the key does not exist; says whether it did.
///
/// # Errors
/// As [`set`].
pub fn setnx(key: Bytes, value: Bytes, ttl: Option<Ttl>) -> Result<Function<bool>, Refusal> {
    let mut args = set_args(key, value, ttl)?;
    args.push(Bytes::from_static(b"NX"));
    Ok(Function::new(&SET, args, |reply| match reply {
        Reply::Ok => Ok(true),
        Reply::Null => Ok(false),
        _ => Err(UNEXPECTED),
    }))
}

/// Stores several values atomically, without times to live.
///
/// # Errors
/// Sizes beyond the limits.
pub fn mset(pairs: impl IntoIterator<Item = (Bytes, Bytes)>) -> Result<Function<()>, Refusal> {
    let mut args = Vec::new();
    for (key, value) in pairs {
        check_sizes(&key, value.len())?;
        args.extend([key, value]);
    }
    Ok(Function::list(&MSET, args, unit))
}

/// Carries out several writes atomically. Give it only what [`set`], [`mset`] and [`mdel`] made: those cannot be refused any more, so
/// either all is done or nothing.
pub fn batch(requests: Vec<Request>) -> Function<()> {
    Function { call: Call::Transaction(requests), read: unit }
}

/// Appends to a value, or creates it; answers the new length.
pub fn append(key: Bytes, value: Bytes) -> Function<usize> {
    Function::new(&APPEND, vec![key, value], length)
}

/// Overwrites part of a value, filling a gap with zeros; answers the new length.
pub fn setrange(key: Bytes, offset: u64, value: Bytes) -> Function<usize> {
    Function::new(&SETRANGE, vec![key, decimal(offset), value], length)
}

/// Stores a value without a time to live and answers the one before.
pub fn getset(key: Bytes, new: Bytes) -> Function<Option<Bytes>> {
    Function::new(&GETSET, vec![key, new], value)
}

/// Renames a key, with its time to live; there must be one.
pub fn rename(source: Bytes, destination: Bytes) -> Function<()> {
    Function::new(&RENAME, vec![source, destination], unit)
}

/// The value under a key.
pub fn get(key: Bytes) -> Function<Option<Bytes>> {
    Function::new(&GET, vec![key], value)
}

/// The values under several keys, in the order asked.
pub fn mget(keys: Vec<Bytes>) -> Function<Vec<Option<Bytes>>> {
    Function::list(&MGET, keys, values)
}

/// Whether a key exists.
pub fn exists(key: Bytes) -> Function<bool> {
    Function::new(&EXISTS, vec![key], yes)
}

/// The length of a value in bytes, if there is one.
pub fn strlen(key: Bytes) -> Function<Option<usize>> {
    let requests = vec![Request::new(&EXISTS, vec![key.clone()]), Request::new(&STRLEN, vec![key])];
    Function {
        call: Call::Transaction(requests),
        read: |reply| match reply {
            Reply::Array(replies) => {
                let [exists, strlen] = <[Reply; 2]>::try_from(replies).map_err(|_| UNEXPECTED)?;
                Ok(if yes(exists)? { Some(length(strlen)?) } else { None })
            }
            _ => Err(UNEXPECTED),
        },
    }
}

/// Part of a value: from `start` to `end`, both included, negative ones counted from the end.
pub fn getrange(key: Bytes, start: i64, end: i64) -> Function<Bytes> {
    Function::new(&GETRANGE, vec![key, decimal(start), decimal(end)], present)
}

/// What the value under a key looks like.
pub fn key_type(key: Bytes) -> Function<KeyType> {
    Function::new(&GET, vec![key], looks)
}

/// Any key.
pub fn random_key() -> Function<Option<Bytes>> {
    Function::new(&RANDOMKEY, Vec::new(), value)
}

/// Deletes a key; says whether there was one.
pub fn del(key: Bytes) -> Function<bool> {
    Function::new(&DEL, vec![key], yes)
}

/// Deletes several keys atomically; says how many there were.
pub fn mdel(keys: Vec<Bytes>) -> Function<u64> {
    Function::list(&DEL, keys, count)
}

/// Deletes all keys that begin with a prefix, atomically; says how many there were.
pub fn del_prefix(prefix: Bytes) -> Function<u64> {
    Function::new(&DELPREFIX, vec![prefix], count)
}

/// Gives a key a time to live in seconds; there must be one.
///
/// # Errors
/// A time to live of 0.
pub fn expire(key: Bytes, secs: u64) -> Result<Function<()>, Refusal> {
    Ok(Function::new(&EXPIRE, vec![key, ttl_checked(secs, TTL_SECS_MAX)?], must_exist))
}

/// Gives a key a time to live in milliseconds; there must be one.
///
/// # Errors
/// A time to live of 0.
pub fn pexpire(key: Bytes, millis: u64) -> Result<Function<()>, Refusal> {
    Ok(Function::new(&PEXPIRE, vec![key, ttl_checked(millis, TTL_SECS_MAX * 1000)?], must_exist))
}

/// The seconds a key has left, rounded as Redis does.
pub fn ttl(key: Bytes) -> Function<TimeLeft> {
    Function::new(&TTL, vec![key], time_left)
}

/// The milliseconds a key has left.
pub fn pttl(key: Bytes) -> Function<TimeLeft> {
    Function::new(&PTTL, vec![key], time_left)
}

/// Lets a key live for ever; says whether it had a time to live.
pub fn persist(key: Bytes) -> Function<bool> {
    Function::new(&PERSIST, vec![key], yes)
}

/// Lets a key end at a time in Unix seconds; says whether there is one. A time that is over deletes it. 0 lets it live for ever, and says
/// whether it had a time to live.
///
/// # Errors
/// A time too far away.
pub fn expire_at(key: Bytes, unix_secs: u64) -> Result<Function<bool>, Refusal> {
    if unix_secs == 0 {
        return Ok(persist(key));
    }
    Ok(Function::new(&EXPIREAT, vec![key, ttl_checked(unix_secs, TTL_SECS_MAX)?], yes))
}

/// When a key ends, in Unix seconds: 0 for never, nothing if there is no such key.
pub fn expire_time(key: Bytes) -> Function<Option<u64>> {
    Function::new(&EXPIRETIME, vec![key], |reply| {
        Ok(match time_left(reply)? {
            TimeLeft::NoKey => None,
            TimeLeft::Endless => Some(0),
            TimeLeft::Left(unix_secs) => Some(unix_secs),
        })
    })
}

/// Adds to a decimal number; answers the sum. Overflow is refused and changes nothing.
pub fn incrby(key: Bytes, by: i64) -> Function<i64> {
    Function::new(&INCRBY, vec![key, decimal(by)], integer)
}

/// Takes from a decimal number; answers the difference.
pub fn decrby(key: Bytes, by: i64) -> Function<i64> {
    Function::new(&DECRBY, vec![key, decimal(by)], integer)
}

/// Adds to a decimal number with a fraction; answers the sum.
///
/// # Errors
/// An increment that is NaN or infinite.
pub fn incrbyfloat(key: Bytes, by: f64) -> Result<Function<f64>, Refusal> {
    if !by.is_finite() {
        return Err(NOT_FINITE);
    }
    Ok(Function::new(&INCRBYFLOAT, vec![key, decimal(by)], |reply| {
        let text = present(reply)?;
        std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).ok_or(UNEXPECTED)
    }))
}

/// The keys that begin with a prefix, in order.
pub fn keys_prefix(prefix: Bytes) -> Function<Vec<Bytes>> {
    Function::new(&KEYSPREFIX, vec![prefix], keys)
}

/// The keys that match a pattern, in order.
pub fn keys_match(pattern: Bytes) -> Function<Vec<Bytes>> {
    Function::new(&KEYS, vec![pattern], keys)
}

/// Keys that begin with a prefix: `limit` of them after the first `offset`.
pub fn keys_prefix_limit(prefix: Bytes, offset: u64, limit: u64) -> Function<Vec<Bytes>> {
    Function::new(&KEYSPREFIX, vec![prefix, decimal(offset), decimal(limit)], keys)
}

/// Keys and values whose keys begin with a prefix: `limit` of them after the first `offset`.
pub fn scan_prefix_limit(prefix: Bytes, offset: u64, limit: u64) -> Function<Vec<Pair>> {
    Function::new(&SCANPREFIX, vec![prefix, decimal(offset), decimal(limit)], pairs)
}

/// How many keys there are; an expired one is not counted.
pub fn key_count() -> Function<u64> {
    Function::new(&DBSIZE, Vec::new(), count)
}

/// About how many bytes the data takes on disk.
pub fn disk_space() -> Function<u64> {
    Function::new(&DISKUSAGE, Vec::new(), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused_before_anything_is_called() {
        let key = || Bytes::from_static(b"k");
        assert_eq!(set(key(), key(), Some(Ttl::Secs(0))).err(), Some(INVALID_TTL));
        assert_eq!(setnx(key(), key(), Some(Ttl::Millis(u64::MAX))).err(), Some(INVALID_TTL));
        assert_eq!(expire(key(), 0).err(), Some(INVALID_TTL));
        assert_eq!(incrbyfloat(key(), f64::NAN).err(), Some(NOT_FINITE));
        let long = Bytes::from(vec![b'k'; crate::limits::KEY_BYTES_MAX + 1]);
        assert!(set(long, key(), None).err().is_some_and(|refusal| refusal.line().contains("65536")));
    }

    #[test]
    fn replies_are_read_as_the_functions_promise() {
        let key = || Bytes::from_static(b"k");
        let expire = expire(key(), 1).unwrap();
        assert_eq!(expire.answer(Reply::Integer(1)), Ok(()));
        assert_eq!(expire.answer(Reply::Integer(0)), Err(NO_SUCH_KEY));
        assert_eq!(ttl(key()).answer(Reply::Integer(-2)), Ok(TimeLeft::NoKey));
        assert_eq!(expire_time(key()).answer(Reply::Integer(-1)), Ok(Some(0)));
        assert_eq!(key_type(key()).answer(Reply::Bulk(Bytes::from_static(b"\xFF"))), Ok(KeyType::Bytes));
        assert_eq!(mdel(Vec::new()).answer(Reply::Array(Vec::new())), Ok(0));
        let pair = Pair { key: key(), value: key() };
        let rows = Reply::Array(vec![Reply::Array(vec![Reply::Bulk(key()), Reply::Bulk(key())])]);
        assert_eq!(scan_prefix_limit(key(), 0, 1).answer(rows), Ok(vec![pair]));
        assert_eq!(get(key()).answer(Reply::Integer(1)), Err(UNEXPECTED));
    }

    #[test]
    fn a_time_for_ever_is_a_persist() {
        let Call::One(request) = expire_at(Bytes::from_static(b"k"), 0).unwrap().call else { panic!("one call") };
        assert_eq!(request.command.facts.name, "persist");
    }
}

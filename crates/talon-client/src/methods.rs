//! The functions of the database, as methods.

use std::time::Duration;

use bytes::Bytes;
use talon_proto::v1;
use talon_proto::v1::set_request::Ttl;

use crate::client::{Client, Kind};
use crate::error::Error;
use crate::reply::{Reply, words};

/// Sends a unary call: `unary!(self, Write, set, message)`.
macro_rules! unary {
    ($client:expr, $kind:ident, $method:ident, $message:expr) => {
        $client
            .inner
            .call(Kind::$kind, $message, |mut kv, request| async move { kv.$method(request).await })
            .await
            .map(|(answer, _node)| answer)
    };
}

/// How long a key lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLeft {
    /// There is no such key.
    NoKey,
    /// For ever.
    Endless,
    /// So long.
    Left(Duration),
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

/// One write of a [`Client::batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Stores a value.
    Set {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// How long it lives; `None` = for ever.
        ttl: Option<Duration>,
    },
    /// Deletes a key.
    Del {
        /// The key.
        key: Bytes,
    },
}

fn copy(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}

fn copy_all(keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<Bytes> {
    keys.into_iter().map(copy).collect()
}

/// A time to live in milliseconds; a part of one counts as a whole, so that nothing ends early.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn set_request(key: Bytes, value: Bytes, ttl: Option<Duration>) -> v1::SetRequest {
    v1::SetRequest { key, value, ttl: ttl.map(|ttl| Ttl::TtlMs(millis(ttl))) }
}

/// Writes. Each may end in [`Error::InDoubt`], and is never sent again then.
impl Client {
    /// Stores a value; it stays until it is deleted.
    ///
    /// ```no_run
    /// # async fn run(client: talon_client::Client) -> Result<(), talon_client::Error> {
    /// client.set("greeting", "hello").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        unary!(self, Write, set, set_request(copy(key), copy(value), None)).map(|_| ())
    }

    /// Stores a value that lives for `ttl`, counted when it is carried out. A `ttl` of zero is refused.
    pub async fn set_for(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, ttl: Duration) -> Result<(), Error> {
        unary!(self, Write, set, set_request(copy(key), copy(value), Some(ttl))).map(|_| ())
    }

    /// Stores a value if the key does not exist; says whether it did.
    pub async fn setnx(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        ttl: Option<Duration>,
    ) -> Result<bool, Error> {
        unary!(self, Write, set_nx, set_request(copy(key), copy(value), ttl)).map(|answer| answer.yes)
    }

    /// Stores several values atomically.
    pub async fn mset(
        &self,
        pairs: impl IntoIterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>,
    ) -> Result<(), Error> {
        let pairs = pairs.into_iter().map(|(key, value)| v1::KeyValue { key: copy(key), value: copy(value) }).collect();
        unary!(self, Write, m_set, v1::MSetRequest { pairs }).map(|_| ())
    }

    /// Carries out several writes atomically: all of them or, if one is refused, none.
    pub async fn batch(&self, writes: impl IntoIterator<Item = Write>) -> Result<(), Error> {
        use v1::batch_write::Write as Message;

        let message = |write| match write {
            Write::Set { key, value, ttl } => Message::Set(set_request(key, value, ttl)),
            Write::Del { key } => Message::Del(key),
        };
        let writes = writes.into_iter().map(|write| v1::BatchWrite { write: Some(message(write)) }).collect();
        unary!(self, Write, batch, v1::BatchRequest { writes }).map(|_| ())
    }

    /// Appends to a value, or creates it; answers the new length in bytes.
    pub async fn append(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<u64, Error> {
        let message = v1::KeyValueRequest { key: copy(key), value: copy(value) };
        unary!(self, Write, append, message).map(|answer| answer.length_bytes)
    }

    /// Overwrites part of a value, filling a gap with zeros; answers the new length in bytes.
    pub async fn setrange(&self, key: impl AsRef<[u8]>, offset: u64, value: impl AsRef<[u8]>) -> Result<u64, Error> {
        let message = v1::SetRangeRequest { key: copy(key), offset, value: copy(value) };
        unary!(self, Write, set_range, message).map(|answer| answer.length_bytes)
    }

    /// Stores a value without a time to live and answers the one before.
    pub async fn getset(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        let message = v1::KeyValueRequest { key: copy(key), value: copy(value) };
        unary!(self, Write, get_set, message).map(|answer| answer.value)
    }

    /// Renames a key, with its time to live; refused if there is no such key.
    pub async fn rename(&self, source: impl AsRef<[u8]>, destination: impl AsRef<[u8]>) -> Result<(), Error> {
        let message = v1::RenameRequest { source: copy(source), destination: copy(destination) };
        unary!(self, Write, rename, message).map(|_| ())
    }

    /// Deletes a key; says whether there was one.
    pub async fn del(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        unary!(self, Write, del, v1::KeyRequest { key: copy(key) }).map(|answer| answer.yes)
    }

    /// Deletes several keys atomically; says how many there were.
    pub async fn mdel(&self, keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<u64, Error> {
        unary!(self, Write, m_del, v1::MDelRequest { keys: copy_all(keys) }).map(|answer| answer.count)
    }

    /// Deletes all keys that begin with a prefix, atomically; says how many there were.
    pub async fn del_prefix(&self, prefix: impl AsRef<[u8]>) -> Result<u64, Error> {
        unary!(self, Write, del_prefix, v1::DelPrefixRequest { prefix: copy(prefix) }).map(|answer| answer.count)
    }

    /// Gives a key a time to live; refused if there is no such key, or if it is zero.
    pub async fn expire(&self, key: impl AsRef<[u8]>, ttl: Duration) -> Result<(), Error> {
        let message = v1::PExpireRequest { key: copy(key), ttl_ms: millis(ttl) };
        unary!(self, Write, p_expire, message).map(|_| ())
    }

    /// Lets a key end at a time in Unix seconds; 0 lets it live for ever. Says whether the key exists (for 0: whether it
    /// had a time to live).
    pub async fn expire_at(&self, key: impl AsRef<[u8]>, expire_at_secs: u64) -> Result<bool, Error> {
        let message = v1::ExpireAtRequest { key: copy(key), expire_at_secs };
        unary!(self, Write, expire_at, message).map(|answer| answer.yes)
    }

    /// Lets a key live for ever; says whether it had a time to live.
    pub async fn persist(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        unary!(self, Write, persist, v1::KeyRequest { key: copy(key) }).map(|answer| answer.yes)
    }

    /// Adds 1 to a decimal number; answers the sum.
    pub async fn incr(&self, key: impl AsRef<[u8]>) -> Result<i64, Error> {
        unary!(self, Write, incr, v1::KeyRequest { key: copy(key) }).map(|answer| answer.value)
    }

    /// Takes 1 from a decimal number; answers the difference.
    pub async fn decr(&self, key: impl AsRef<[u8]>) -> Result<i64, Error> {
        unary!(self, Write, decr, v1::KeyRequest { key: copy(key) }).map(|answer| answer.value)
    }

    /// Adds to a decimal number; answers the sum. Overflow is refused and changes nothing.
    pub async fn incrby(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64, Error> {
        unary!(self, Write, incr_by, v1::IncrByRequest { key: copy(key), by }).map(|answer| answer.value)
    }

    /// Takes from a decimal number; answers the difference.
    pub async fn decrby(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64, Error> {
        unary!(self, Write, decr_by, v1::IncrByRequest { key: copy(key), by }).map(|answer| answer.value)
    }

    /// Adds to a decimal number with a fraction; answers the sum. What is no finite number is refused.
    pub async fn incrbyfloat(&self, key: impl AsRef<[u8]>, by: f64) -> Result<f64, Error> {
        unary!(self, Write, incr_by_float, v1::IncrByFloatRequest { key: copy(key), by }).map(|answer| answer.value)
    }

    /// Carries out any command of the server's table, by its words. It is treated as a write, whatever it is: see
    /// [`Client::query`] for reads.
    ///
    /// ```no_run
    /// # async fn run(client: talon_client::Client) -> Result<(), talon_client::Error> {
    /// use talon_client::Reply;
    ///
    /// let reply = client.execute(["SET", "greeting", "hello", "NX", "GET"]).await?;
    /// assert_eq!(reply, Reply::Null);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A refusal is a reply ([`Reply::Error`]), not an error.
    pub async fn execute(&self, command: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Reply, Error> {
        let message = v1::ExecuteRequest { words: words(command), read: None, read_only: false };
        Reply::read(unary!(self, Write, execute, message)?.reply)
    }

    /// Carries out several commands as one, atomically and isolated. As with MULTI and EXEC, a command that is refused does
    /// not undo the others; one that cannot even be read refuses them all.
    pub async fn execute_transaction(
        &self,
        commands: impl IntoIterator<Item = impl IntoIterator<Item = impl AsRef<[u8]>>>,
    ) -> Result<Vec<Reply>, Error> {
        let commands = commands.into_iter().map(|command| v1::Command { words: words(command) }).collect();
        let message = v1::ExecuteTransactionRequest { commands, ..Default::default() };
        let replies = unary!(self, Write, execute_transaction, message)?.replies;
        replies.into_iter().map(|reply| Reply::read(Some(reply))).collect()
    }
}

/// Reads. They are answered by the node that the [`crate::ReadPreference`] chooses, and sent again until the deadline.
impl Client {
    fn read_options(&self) -> Option<v1::ReadOptions> {
        let (consistency, max_staleness_ms) = self.inner.consistency();
        Some(v1::ReadOptions { consistency, max_staleness_ms, with_index: false })
    }

    fn read_key(&self, key: impl AsRef<[u8]>) -> v1::ReadKeyRequest {
        v1::ReadKeyRequest { key: copy(key), read: self.read_options() }
    }

    /// The value under a key.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        unary!(self, Read, get, self.read_key(key)).map(|answer| answer.value)
    }

    /// The values under several keys, as of one moment, in the order asked.
    pub async fn mget(&self, keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Vec<Option<Bytes>>, Error> {
        let message = v1::MGetRequest { keys: copy_all(keys), read: self.read_options() };
        let answer = unary!(self, Read, m_get, message)?;
        Ok(answer.values.into_iter().map(|value| value.value).collect())
    }

    /// Whether a key exists.
    pub async fn exists(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        unary!(self, Read, exists, self.read_key(key)).map(|answer| answer.yes)
    }

    /// The length of a value in bytes, if there is one.
    pub async fn strlen(&self, key: impl AsRef<[u8]>) -> Result<Option<u64>, Error> {
        unary!(self, Read, str_len, self.read_key(key)).map(|answer| answer.number)
    }

    /// Part of a value: from `start` to `end`, both included, negative ones counted from the end.
    pub async fn getrange(&self, key: impl AsRef<[u8]>, start: i64, end: i64) -> Result<Bytes, Error> {
        let message = v1::GetRangeRequest { key: copy(key), start, end, read: self.read_options() };
        unary!(self, Read, get_range, message).map(|answer| answer.value.unwrap_or_default())
    }

    /// What the value under a key looks like.
    pub async fn key_type(&self, key: impl AsRef<[u8]>) -> Result<KeyType, Error> {
        match unary!(self, Read, key_type, self.read_key(key))?.key_type.as_str() {
            "string" => Ok(KeyType::Text),
            "bytes" => Ok(KeyType::Bytes),
            "none" => Ok(KeyType::None),
            other => Err(Error::Protocol(format!("an unknown type of key: {other}"))),
        }
    }

    /// Any key.
    pub async fn random_key(&self) -> Result<Option<Bytes>, Error> {
        let message = v1::ReadRequest { read: self.read_options() };
        unary!(self, Read, random_key, message).map(|answer| answer.key)
    }

    /// How long a key still lives, to the millisecond.
    pub async fn ttl(&self, key: impl AsRef<[u8]>) -> Result<TimeLeft, Error> {
        use v1::ttl_response::State;

        let answer = unary!(self, Read, p_ttl, self.read_key(key))?;
        match answer.state() {
            State::NoKey => Ok(TimeLeft::NoKey),
            State::NoTtl => Ok(TimeLeft::Endless),
            State::Ends => Ok(TimeLeft::Left(Duration::from_millis(answer.left))),
            State::Unspecified => Err(Error::Protocol("a time to live without a state".to_owned())),
        }
    }

    /// When a key ends, in Unix seconds: 0 for never, nothing if there is no such key.
    pub async fn expire_time(&self, key: impl AsRef<[u8]>) -> Result<Option<u64>, Error> {
        unary!(self, Read, expire_time, self.read_key(key)).map(|answer| answer.number)
    }

    /// How many keys there are; an expired one is not counted.
    pub async fn key_count(&self) -> Result<u64, Error> {
        unary!(self, Read, key_count, v1::ReadRequest { read: self.read_options() }).map(|answer| answer.count)
    }

    /// About how many bytes the data takes on the asked node's disk.
    pub async fn disk_space(&self) -> Result<u64, Error> {
        unary!(self, Read, disk_space, v1::ReadRequest { read: self.read_options() }).map(|answer| answer.count)
    }

    /// Carries out any command that only reads, by its words; the node refuses one that writes.
    ///
    /// # Errors
    /// A refusal is a reply ([`Reply::Error`]), not an error.
    pub async fn query(&self, command: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Reply, Error> {
        let message = v1::ExecuteRequest { words: words(command), read: self.read_options(), read_only: true };
        Reply::read(unary!(self, Read, execute, message)?.reply)
    }
}

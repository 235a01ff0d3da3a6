//! What a command answers, independent of the protocol that carries it.

mod encoding;

use bytes::Bytes;

use crate::error::Refusal;

pub use encoding::{FORMAT_VERSION, decode, encode};
pub(crate) use encoding::{read, size_bytes, write};

/// One reply. How each looks on the wire in RESP2 and RESP3 is `talon-resp`'s business.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `+OK`.
    Ok,
    /// A simple string other than `OK`, such as `PONG` or `QUEUED`.
    Simple(&'static str),
    /// A signed 64-bit integer.
    Integer(i64),
    /// A binary-safe string.
    Bulk(Bytes),
    /// A missing string: `$-1` in RESP2, `_` in RESP3.
    Null,
    /// A missing array: `*-1` in RESP2, `_` in RESP3.
    NullArray,
    /// An ordered list.
    Array(Vec<Reply>),
    /// Pairs: a flat array in RESP2, a map in RESP3.
    Map(Vec<(Reply, Reply)>),
    /// Distinct members: an array in RESP2, a set in RESP3.
    Set(Vec<Reply>),
    /// A float: a bulk string in RESP2, a double in RESP3.
    Double(f64),
    /// A truth value: `:0`/`:1` in RESP2, `#f`/`#t` in RESP3.
    Boolean(bool),
    /// Text for people (`INFO`): a bulk string in RESP2, a verbatim string `txt:` in RESP3.
    Verbatim(String),
    /// An out-of-band message: an array in RESP2, a push in RESP3.
    Push(Vec<Reply>),
    /// The command was refused.
    Error(Refusal),
}

impl Reply {
    /// A bulk string from bytes that live for ever.
    pub const fn bulk(text: &'static str) -> Reply {
        Reply::Bulk(Bytes::from_static(text.as_bytes()))
    }

    /// A bulk string of a decimal number.
    pub fn bulk_number(number: i64) -> Reply {
        Reply::Bulk(Bytes::from(number.to_string()))
    }

    /// `:1` or `:0`, the way Redis 7 answers yes and no in both protocols.
    pub const fn flag(yes: bool) -> Reply {
        Reply::Integer(yes as i64)
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Reply {
        Reply::Error(refusal)
    }
}

impl From<Option<Bytes>> for Reply {
    fn from(value: Option<Bytes>) -> Reply {
        value.map_or(Reply::Null, Reply::Bulk)
    }
}

//! What a command answers.

use bytes::Bytes;
use talon_proto::v1;
use talon_proto::v1::reply::Kind;

use crate::error::Error;

/// What a command of [`crate::Client::execute`] answers, the same as over RESP.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `OK`.
    Ok,
    /// A short text such as `PONG`.
    Simple(String),
    /// A signed integer.
    Integer(i64),
    /// A string of bytes.
    Bulk(Bytes),
    /// A missing value.
    Null,
    /// A missing array.
    NullArray,
    /// An ordered list.
    Array(Vec<Reply>),
    /// Pairs.
    Map(Vec<(Reply, Reply)>),
    /// Distinct members.
    Set(Vec<Reply>),
    /// A float.
    Double(f64),
    /// A truth value.
    Boolean(bool),
    /// Text for people.
    Verbatim(String),
    /// An out-of-band message.
    Push(Vec<Reply>),
    /// The command was refused, in Redis's words, prefix included.
    Error(String),
}

impl Reply {
    pub(crate) fn read(message: Option<v1::Reply>) -> Result<Reply, Error> {
        let list = |list: v1::ReplyList| -> Result<Vec<Reply>, Error> {
            list.items.into_iter().map(|item| Reply::read(Some(item))).collect()
        };
        let kind = message.and_then(|message| message.kind);
        let kind = kind.ok_or_else(|| Error::Protocol("a reply of an unknown kind".to_owned()))?;
        Ok(match kind {
            Kind::Ok(_) => Reply::Ok,
            Kind::Simple(text) => Reply::Simple(text),
            Kind::Integer(number) => Reply::Integer(number),
            Kind::Bulk(bytes) => Reply::Bulk(bytes),
            Kind::Null(_) => Reply::Null,
            Kind::NullArray(_) => Reply::NullArray,
            Kind::Array(items) => Reply::Array(list(items)?),
            Kind::Map(map) => {
                let pair = |pair: v1::ReplyPair| Ok((Reply::read(pair.key)?, Reply::read(pair.value)?));
                Reply::Map(map.pairs.into_iter().map(pair).collect::<Result<_, Error>>()?)
            }
            Kind::Set(items) => Reply::Set(list(items)?),
            Kind::Double(number) => Reply::Double(number),
            Kind::Boolean(yes) => Reply::Boolean(yes),
            Kind::Verbatim(text) => Reply::Verbatim(text),
            Kind::Push(items) => Reply::Push(list(items)?),
            Kind::Error(line) => Reply::Error(line),
        })
    }
}

pub(crate) fn words(command: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<Bytes> {
    command.into_iter().map(|word| Bytes::copy_from_slice(word.as_ref())).collect()
}

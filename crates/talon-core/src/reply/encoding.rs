//! A reply as bytes, to be sent to another node or kept.
//!
//! Layout, version 1 (all integers little-endian): `u8` version, then a reply: `u8` kind, and what the kind has: `i64` for an integer,
//! `f64` for a float, `u8` 0 or 1 for a truth value, `u32` length and bytes for all text, `u32` n and n replies for a list
//! (of pairs: 2 n).

use bytes::{BufMut, Bytes, BytesMut};

use super::Reply;
use crate::error::{Fault, Refusal};
use crate::reader::Reader;

/// The version this build writes; it reads up to this one.
pub const FORMAT_VERSION: u8 = 1;

/// How deep lists may lie in each other. Those of commands do so two or three times.
const DEPTH_MAX: usize = 32;

/// Room is made for so many parts of a list at first, whatever it says of its length: it is 32 times as much as the bytes take, and again as
/// much in each list within.
const LIST_ROOM: usize = 64;

/// Simple strings live for ever; these are read as what they were. Any other is read as a bulk string of the same text.
const SIMPLE: [&str; 10] = ["PONG", "QUEUED", "none", "string", "list", "set", "zset", "hash", "stream", "OK"];

const OK: u8 = 0;
const SIMPLE_TEXT: u8 = 1;
const INTEGER: u8 = 2;
const BULK: u8 = 3;
const NULL: u8 = 4;
const NULL_ARRAY: u8 = 5;
const ARRAY: u8 = 6;
const MAP: u8 = 7;
const SET: u8 = 8;
const DOUBLE: u8 = 9;
const BOOLEAN: u8 = 10;
const VERBATIM: u8 = 11;
const PUSH: u8 = 12;
const ERROR: u8 = 13;

/// The bytes of a reply.
pub fn encode(reply: &Reply) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(FORMAT_VERSION);
    write(&mut out, reply);
    out.freeze()
}

/// Reads what [`encode`] wrote; strings are slices of `bytes`.
///
/// # Errors
/// If the bytes are damaged, or of a newer version.
pub fn decode(bytes: &Bytes) -> Result<Reply, Fault> {
    let mut reader = Reader::new(bytes, "a reply");
    reader.version(FORMAT_VERSION)?;
    let reply = read(&mut reader)?;
    reader.end()?;
    Ok(reply)
}

/// A reply without the version in front.
pub(crate) fn write(out: &mut BytesMut, reply: &Reply) {
    let text = |out: &mut BytesMut, kind: u8, text: &[u8]| {
        out.reserve(5 + text.len());
        out.put_u8(kind);
        out.put_u32_le(text.len() as u32);
        out.put_slice(text);
    };
    let list = |out: &mut BytesMut, kind: u8, replies: &[Reply]| {
        out.put_u8(kind);
        out.put_u32_le(replies.len() as u32);
        replies.iter().for_each(|reply| write(out, reply));
    };
    match reply {
        Reply::Ok => out.put_u8(OK),
        Reply::Simple(simple) => text(out, SIMPLE_TEXT, simple.as_bytes()),
        Reply::Integer(number) => {
            out.put_u8(INTEGER);
            out.put_i64_le(*number);
        }
        Reply::Bulk(bytes) => text(out, BULK, bytes),
        Reply::Null => out.put_u8(NULL),
        Reply::NullArray => out.put_u8(NULL_ARRAY),
        Reply::Array(replies) => list(out, ARRAY, replies),
        Reply::Map(pairs) => {
            out.put_u8(MAP);
            out.put_u32_le(pairs.len() as u32);
            for (key, value) in pairs {
                write(out, key);
                write(out, value);
            }
        }
        Reply::Set(replies) => list(out, SET, replies),
        Reply::Double(number) => {
            out.put_u8(DOUBLE);
            out.put_f64_le(*number);
        }
        Reply::Boolean(yes) => {
            out.put_u8(BOOLEAN);
            out.put_u8(u8::from(*yes));
        }
        Reply::Verbatim(verbatim) => text(out, VERBATIM, verbatim.as_bytes()),
        Reply::Push(replies) => list(out, PUSH, replies),
        Reply::Error(refusal) => text(out, ERROR, refusal.line().as_bytes()),
    }
}

/// How many bytes [`write`] makes of it.
pub(crate) fn size_bytes(reply: &Reply) -> usize {
    let text = |length: usize| 5 + length;
    match reply {
        Reply::Ok | Reply::Null | Reply::NullArray => 1,
        Reply::Boolean(_) => 2,
        Reply::Integer(_) | Reply::Double(_) => 9,
        Reply::Simple(simple) => text(simple.len()),
        Reply::Bulk(bytes) => text(bytes.len()),
        Reply::Verbatim(verbatim) => text(verbatim.len()),
        Reply::Error(refusal) => text(refusal.line().len()),
        Reply::Array(replies) | Reply::Set(replies) | Reply::Push(replies) => {
            5 + replies.iter().map(size_bytes).sum::<usize>()
        }
        Reply::Map(pairs) => 5 + pairs.iter().map(|(key, value)| size_bytes(key) + size_bytes(value)).sum::<usize>(),
    }
}

/// Reads what [`write`] wrote.
pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Reply, Fault> {
    read_at(reader, 0)
}

fn read_at(reader: &mut Reader<'_>, depth: usize) -> Result<Reply, Fault> {
    if depth > DEPTH_MAX {
        return Err(reader.broken(format!("more than {DEPTH_MAX} lists in each other")));
    }
    let kind = reader.byte("kind")?;
    Ok(match kind {
        OK => Reply::Ok,
        SIMPLE_TEXT => {
            let text = reader.slice("text")?;
            let known = SIMPLE.into_iter().find(|known| known.as_bytes() == text);
            known.map_or(Reply::Bulk(text), Reply::Simple)
        }
        INTEGER => Reply::Integer(reader.array("integer").map(i64::from_le_bytes)?),
        BULK => Reply::Bulk(reader.slice("string")?),
        NULL => Reply::Null,
        NULL_ARRAY => Reply::NullArray,
        ARRAY => Reply::Array(list(reader, depth, 1)?),
        MAP => {
            let mut replies = list(reader, depth, 2)?.into_iter();
            Reply::Map(std::iter::from_fn(|| Some((replies.next()?, replies.next()?))).collect())
        }
        SET => Reply::Set(list(reader, depth, 1)?),
        DOUBLE => Reply::Double(reader.array("float").map(f64::from_le_bytes)?),
        BOOLEAN => match reader.byte("truth value")? {
            0 => Reply::Boolean(false),
            1 => Reply::Boolean(true),
            other => return Err(reader.broken(format!("the truth value {other}"))),
        },
        VERBATIM => Reply::Verbatim(reader.text("text")?),
        PUSH => Reply::Push(list(reader, depth, 1)?),
        ERROR => Reply::Error(Refusal::from_string(reader.text("refusal")?)),
        other => return Err(reader.broken(format!("the unknown kind {other}"))),
    })
}

fn list(reader: &mut Reader<'_>, depth: usize, per_item: usize) -> Result<Vec<Reply>, Fault> {
    let items = reader.u32("list")? as usize;
    let count = items.saturating_mul(per_item);
    let mut replies = Vec::with_capacity(count.min(LIST_ROOM));
    for _ in 0..count {
        replies.push(read_at(reader, depth + 1)?);
    }
    Ok(replies)
}

//! What became of calls, as bytes that travel from the node that carried them out to the one that was asked.
//!
//! Layout, version 1 (all integers little-endian): `u8` version, `u32` number of outcomes; an outcome is `u8` 0 and a reply
//! (see [`crate::reply`]), or `u8` 1 and a denial: `u8` kind, and its numbers (`u64`), or its text (`u32` length and bytes). Who
//! leads is not said: whoever asked finds out by himself.

use bytes::{BufMut, Bytes, BytesMut};

use crate::database::{Denied, Outcome};
use crate::error::Fault;
use crate::reader::Reader;
use crate::reply;

/// The version this build writes; it reads up to this one.
pub const FORMAT_VERSION: u8 = 1;

const REPLY: u8 = 0;
const DENIED: u8 = 1;

const NO_LEADER: u8 = 0;
const IN_DOUBT: u8 = 1;
const STALE: u8 = 2;
const LOADING: u8 = 3;
const TOO_LARGE: u8 = 4;
const BUSY: u8 = 5;
const DISK_FULL: u8 = 6;
const SHUTTING_DOWN: u8 = 7;
const FAULT: u8 = 8;
const TOO_MUCH_WATCHED: u8 = 9;

/// How many bytes all of them take beside their own.
pub const HEADER_BYTES: usize = 5;

/// How many bytes an outcome takes.
pub fn size_bytes(outcome: &Outcome) -> usize {
    1 + match outcome {
        Ok(reply) => reply::size_bytes(reply),
        Err(denied) => {
            let mut out = BytesMut::new();
            write(&mut out, denied);
            out.len()
        }
    }
}

/// The bytes of these outcomes.
pub fn encode(outcomes: &[Outcome]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(FORMAT_VERSION);
    out.put_u32_le(outcomes.len() as u32);
    for outcome in outcomes {
        match outcome {
            Ok(reply) => {
                out.put_u8(REPLY);
                reply::write(&mut out, reply);
            }
            Err(denied) => {
                out.put_u8(DENIED);
                write(&mut out, denied);
            }
        }
    }
    out.freeze()
}

/// Reads what [`encode`] wrote; strings are slices of `bytes`.
///
/// # Errors
/// If the bytes are damaged, or of a newer version.
pub fn decode(bytes: &Bytes) -> Result<Vec<Outcome>, Fault> {
    let mut reader = Reader::new(bytes, "an answer");
    reader.version(FORMAT_VERSION)?;
    let count = reader.u32("header")? as usize;
    // No outcome is shorter than two bytes.
    let mut outcomes = Vec::with_capacity(count.min(reader.rest().len() / 2));
    for _ in 0..count {
        outcomes.push(match reader.byte("outcome")? {
            REPLY => Ok(reply::read(&mut reader)?),
            DENIED => Err(read(&mut reader)?),
            other => return Err(reader.broken(format!("an outcome of unknown kind {other}"))),
        });
    }
    reader.end()?;
    Ok(outcomes)
}

fn write(out: &mut BytesMut, denied: &Denied) {
    let numbers = |out: &mut BytesMut, kind: u8, numbers: [u64; 2]| {
        out.put_u8(kind);
        numbers.into_iter().for_each(|number| out.put_u64_le(number));
    };
    match denied {
        Denied::NotLeader { .. } | Denied::NoLeader => out.put_u8(NO_LEADER),
        Denied::InDoubt => out.put_u8(IN_DOUBT),
        Denied::Stale { behind_ms, bound_ms } => numbers(out, STALE, [*behind_ms, *bound_ms]),
        Denied::Loading => out.put_u8(LOADING),
        Denied::TooLarge { size_bytes, bytes_max } => {
            numbers(out, TOO_LARGE, [*size_bytes as u64, *bytes_max as u64]);
        }
        Denied::Busy => out.put_u8(BUSY),
        Denied::DiskFull { free_bytes, reserve_bytes } => numbers(out, DISK_FULL, [*free_bytes, *reserve_bytes]),
        Denied::TooMuchWatched => out.put_u8(TOO_MUCH_WATCHED),
        Denied::ShuttingDown => out.put_u8(SHUTTING_DOWN),
        Denied::Fault(text) => {
            out.put_u8(FAULT);
            out.put_u32_le(text.len() as u32);
            out.put_slice(text.as_bytes());
        }
    }
}

fn read(reader: &mut Reader<'_>) -> Result<Denied, Fault> {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(match reader.byte("denial")? {
        NO_LEADER => Denied::NoLeader,
        IN_DOUBT => Denied::InDoubt,
        STALE => Denied::Stale { behind_ms: reader.u64("denial")?, bound_ms: reader.u64("denial")? },
        LOADING => Denied::Loading,
        TOO_LARGE => {
            Denied::TooLarge { size_bytes: size(reader.u64("denial")?), bytes_max: size(reader.u64("denial")?) }
        }
        BUSY => Denied::Busy,
        DISK_FULL => Denied::DiskFull { free_bytes: reader.u64("denial")?, reserve_bytes: reader.u64("denial")? },
        TOO_MUCH_WATCHED => Denied::TooMuchWatched,
        SHUTTING_DOWN => Denied::ShuttingDown,
        FAULT => Denied::Fault(reader.text("denial")?),
        other => return Err(reader.broken(format!("a denial of unknown kind {other}"))),
    })
}

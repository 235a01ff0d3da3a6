//! What one log entry carries: a stamp, a seed and many calls; and its bytes.
//!
//! Layout, version 1 (all integers little-endian): `u8` version, `u64` stamp in Unix ms, `u64` seed, `u32` number of
//! calls; a call is `u8` 0 and a request, or `u8` 1, `u32` n and n requests (a transaction); a request is `u16` command
//! id, `u32` number of arguments, and for each `u32` length and bytes.

use bytes::{BufMut, Bytes, BytesMut};

use crate::commands;
use crate::database::Call;
use crate::error::Fault;
use crate::reader::Reader;
use crate::request::{Args, Request};

/// The version this build writes; it reads up to this one.
pub const FORMAT_VERSION: u8 = 1;

/// What it is called where it cannot be read.
const ENTRY: &str = "a log entry";

const CALL_ONE: u8 = 0;
const CALL_TRANSACTION: u8 = 1;

/// The payload of one log entry.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The leader's clock when it was proposed, in Unix milliseconds.
    pub stamp_ms: u64,
    /// For commands that need randomness.
    pub seed: u64,
    /// What to carry out, in this order. None: a tick, which only moves the clock.
    pub calls: Vec<Call>,
}

impl Proposal {
    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        Proposal::encode_calls(self.stamp_ms, self.seed, self.calls.iter())
    }

    /// The bytes of a proposal of these calls, without taking them.
    pub fn encode_calls<'a>(stamp_ms: u64, seed: u64, calls: impl Iterator<Item = &'a Call> + Clone) -> Bytes {
        let size = 21 + calls.clone().map(Call::size_bytes).sum::<usize>();
        let mut out = BytesMut::with_capacity(size);
        out.put_u8(FORMAT_VERSION);
        out.put_u64_le(stamp_ms);
        out.put_u64_le(seed);
        out.put_u32_le(calls.clone().count() as u32);
        for call in calls {
            match call {
                Call::One(request) => {
                    out.put_u8(CALL_ONE);
                    encode_request(&mut out, request);
                }
                Call::Transaction(requests) => {
                    out.put_u8(CALL_TRANSACTION);
                    out.put_u32_le(requests.len() as u32);
                    for request in requests {
                        encode_request(&mut out, request);
                    }
                }
            }
        }
        out.freeze()
    }

    /// Reads what [`Proposal::encode`] wrote; arguments are slices of `bytes`.
    ///
    /// # Errors
    /// A [`Fault`] if the bytes are damaged, of a newer version, or name a command this build does not have: a
    /// node that cannot carry out an entry must not go on.
    pub fn decode(bytes: Bytes) -> Result<Proposal, Fault> {
        let mut reader = Reader::new(&bytes, ENTRY);
        let (stamp_ms, seed, count) = reader.head()?;
        // No call is shorter: a kind, and how many requests there are.
        let mut calls = Vec::with_capacity((count as usize).min(reader.rest().len() / 5));
        for _ in 0..count {
            let call = match reader.byte("call")? {
                CALL_ONE => Call::One(reader.request()?),
                CALL_TRANSACTION => {
                    let count = reader.u32("transaction")?;
                    let requests = (0..count).map(|_| reader.request()).collect::<Result<_, _>>()?;
                    Call::Transaction(requests)
                }
                other => return Err(reader.broken(format!("a call of unknown kind {other}"))),
            };
            calls.push(call);
        }
        reader.end()?;
        Ok(Proposal { stamp_ms, seed, calls })
    }
}

/// The stamp and the seed of an encoded proposal, without reading its calls.
///
/// # Errors
/// As [`Proposal::decode`].
pub fn stamp_and_seed(bytes: &Bytes) -> Result<(u64, u64), Fault> {
    let (stamp_ms, seed, _) = Reader::new(bytes, ENTRY).head()?;
    Ok((stamp_ms, seed))
}

fn encode_request(out: &mut BytesMut, request: &Request) {
    out.put_u16_le(request.command.id);
    out.put_u32_le(request.args.len() as u32);
    for arg in &request.args {
        out.put_u32_le(arg.len() as u32);
        out.put_slice(arg);
    }
}

impl Reader<'_> {
    /// The stamp, the seed, and the number of calls.
    fn head(&mut self) -> Result<(u64, u64, u32), Fault> {
        self.version(FORMAT_VERSION)?;
        let stamp_ms = self.u64("header")?;
        let seed = self.u64("header")?;
        Ok((stamp_ms, seed, self.u32("header")?))
    }

    fn request(&mut self) -> Result<Request, Fault> {
        let id = self.array("request").map(u16::from_le_bytes)?;
        let count = self.u32("request")?;
        let command = commands::by_id(id)
            .ok_or_else(|| Fault(format!("a log entry names command {id}, which this build does not have")))?;
        let mut args = Args::with_capacity((count as usize).min(self.rest().len() / 4));
        for _ in 0..count {
            args.push(self.slice("argument")?);
        }
        Ok(Request { command, args })
    }
}

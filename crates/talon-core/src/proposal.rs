//! What one log entry carries: a stamp, a seed and many calls; and its bytes.
//!
//! Layout, version 1 (all integers little-endian): `u8` version, `u64` stamp in Unix ms, `u64` seed, `u32` number of
//! calls; a call is `u8` 0 and a request, or `u8` 1, `u32` n and n requests (a transaction); a request is `u16` command
//! id, `u32` number of arguments, and for each `u32` length and bytes.

use bytes::{BufMut, Bytes, BytesMut};

use crate::commands;
use crate::database::Call;
use crate::error::Fault;
use crate::request::{Args, Request};

/// The version this build writes; it reads up to this one.
pub const FORMAT_VERSION: u8 = 1;

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
        let mut reader = Reader { bytes: &bytes, position: 0 };
        let (stamp_ms, seed, count) = reader.head()?;
        // No call is shorter: a kind, and how many requests there are.
        let mut calls = Vec::with_capacity((count as usize).min(reader.rest().len() / 5));
        for _ in 0..count {
            let call = match reader.array::<1>("call")? {
                [CALL_ONE] => Call::One(reader.request()?),
                [CALL_TRANSACTION] => {
                    let count = reader.number("transaction")?;
                    let requests = (0..count).map(|_| reader.request()).collect::<Result<_, _>>()?;
                    Call::Transaction(requests)
                }
                [other] => return Err(Fault(format!("a log entry has a call of unknown kind {other}"))),
            };
            calls.push(call);
        }
        if !reader.rest().is_empty() {
            return Err(Fault(format!("a log entry has {} bytes behind its end", reader.rest().len())));
        }
        Ok(Proposal { stamp_ms, seed, calls })
    }
}

/// The stamp and the seed of an encoded proposal, without reading its calls.
///
/// # Errors
/// As [`Proposal::decode`].
pub fn stamp_and_seed(bytes: &Bytes) -> Result<(u64, u64), Fault> {
    let (stamp_ms, seed, _) = Reader { bytes, position: 0 }.head()?;
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

/// Every node reads every entry: only arguments are slices that own what they show, all else is just looked at.
struct Reader<'a> {
    bytes: &'a Bytes,
    position: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.position..]
    }

    fn array<const COUNT: usize>(&mut self, what: &str) -> Result<[u8; COUNT], Fault> {
        let array = *self.rest().first_chunk::<COUNT>().ok_or_else(|| ends_inside(what))?;
        self.position += COUNT;
        Ok(array)
    }

    fn number(&mut self, what: &str) -> Result<u32, Fault> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// The stamp, the seed, and the number of calls.
    fn head(&mut self) -> Result<(u64, u64, u32), Fault> {
        let [version] = self.array("version")?;
        if version > FORMAT_VERSION {
            return Err(Fault(format!(
                "a log entry has format version {version}; this build reads up to {FORMAT_VERSION}"
            )));
        }
        let stamp_ms = self.array("header").map(u64::from_le_bytes)?;
        let seed = self.array("header").map(u64::from_le_bytes)?;
        Ok((stamp_ms, seed, self.number("header")?))
    }

    fn request(&mut self) -> Result<Request, Fault> {
        let id = self.array("request").map(u16::from_le_bytes)?;
        let count = self.number("request")?;
        let command = commands::by_id(id)
            .ok_or_else(|| Fault(format!("a log entry names command {id}, which this build does not have")))?;
        let mut args = Args::with_capacity((count as usize).min(self.rest().len() / 4));
        for _ in 0..count {
            let length = self.number("argument length")? as usize;
            if self.rest().len() < length {
                return Err(ends_inside("argument"));
            }
            args.push(self.bytes.slice(self.position..self.position + length));
            self.position += length;
        }
        Ok(Request { command, args })
    }
}

fn ends_inside(what: &str) -> Fault {
    Fault(format!("a log entry ends inside its {what}"))
}

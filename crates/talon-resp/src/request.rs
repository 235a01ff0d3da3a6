//! Requests out of bytes that come in any pieces.
//!
//! Words are slices of the read buffer. Whenever a request is not complete yet, the words that are complete leave the
//! buffer as slices, so that only an unfinished word is ever moved when the buffer grows, and a large one once: its room
//! is reserved as soon as its length is known.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;
use talon_core::limits::VALUE_BYTES_MAX;
use talon_core::request::Args;

use crate::inline::split_line;
use talon_core::numbers::parse_integer;

/// From this length on, the room for a word is reserved at once.
const LARGE_BULK_BYTES: usize = 32 * 1024;

/// How much a request may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most words of one request, its name included.
    pub words_max: usize,
    /// The longest word in bytes.
    pub bulk_bytes_max: usize,
    /// The longest inline request, and the longest line that announces a count, in bytes.
    pub line_bytes_max: usize,
    /// Whether the client still has to say who it is: the same excess is then told in other words.
    pub unauthenticated: bool,
}

impl Default for Limits {
    /// Redis's limits, with Talon's limit for values as the longest word.
    fn default() -> Limits {
        Limits {
            words_max: 1_048_576,
            bulk_bytes_max: VALUE_BYTES_MAX,
            line_bytes_max: 64 * 1024,
            unauthenticated: false,
        }
    }
}

impl Limits {
    /// The most words of one request before authentication.
    pub const UNAUTHENTICATED_WORDS_MAX: usize = 10;
    /// The longest word before authentication, in bytes.
    pub const UNAUTHENTICATED_BULK_BYTES_MAX: usize = 16 * 1024;
}

/// A command's name, as it was sent. Those of real commands take no allocation.
pub type Name = SmallVec<[u8; 16]>;

/// The words of one request. Arguments are slices of the buffer they were read into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// The first one: the command's name.
    pub name: Name,
    /// The others.
    pub args: Args,
}

impl Words {
    /// The length of all words in bytes.
    pub fn size_bytes(&self) -> usize {
        self.name.len() + self.args.iter().map(Bytes::len).sum::<usize>()
    }
}

/// What is wrong with the bytes. The client is told, and then only its connection is closed: what follows cannot be
/// understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The number of words is no number or too large.
    #[error("Protocol error: invalid multibulk length")]
    MultibulkLength,
    /// More words than a client may send before it has said who it is.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    /// The line with the number of words does not end.
    #[error("Protocol error: too big mbulk count string")]
    MultibulkCountTooLong,
    /// The line with a word's length does not end.
    #[error("Protocol error: too big bulk count string")]
    BulkCountTooLong,
    /// A word does not begin with `$`.
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
    ExpectedDollar(u8),
    /// A word's length is no number or too large.
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// A longer word than a client may send before it has said who it is.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// An inline request does not end.
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    /// The quotes of an inline request do not close.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
}

impl ProtocolError {
    /// The error line for the client, prefix included, byte for byte as Redis says it.
    pub fn line(&self) -> Vec<u8> {
        match self {
            // The offending byte goes out as it is, if it is no line end.
            ProtocolError::ExpectedDollar(byte) => {
                let byte = if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
                let mut line = b"ERR Protocol error: expected '$', got '".to_vec();
                line.push(byte);
                line.push(b'\'');
                line
            }
            other => format!("ERR {other}").into_bytes(),
        }
    }
}

/// Takes requests out of a read buffer. One per connection; it remembers how far an unfinished request was read.
#[derive(Debug, Default)]
pub struct RequestDecoder {
    /// How many words of the current request are still to come; 0 = none has begun.
    words_left: usize,
    /// The length of the word that is coming, once it is known.
    bulk: Option<usize>,
    /// Complete words that are still in the buffer.
    inside: Vec<Range<usize>>,
    /// Up to where the buffer has been read.
    position: usize,
    /// Behind `position`: how many bytes are known not to hold the end of the line.
    searched: usize,
    /// Complete words that have left the buffer.
    name: Option<Name>,
    args: Args,
    args_bytes: usize,
}

impl RequestDecoder {
    /// A decoder at the beginning of a connection.
    pub fn new() -> RequestDecoder {
        RequestDecoder::default()
    }

    /// How many bytes of an unfinished request have left the buffer already.
    pub fn held_bytes(&self) -> usize {
        self.args_bytes
    }

    /// Whether a large word is under way, for which exactly enough room has been reserved: reserving more would move it.
    pub fn has_reserved(&self) -> bool {
        self.bulk.is_some_and(|bulk| bulk >= LARGE_BULK_BYTES)
    }

    /// The next complete request at the beginning of `buffer`; `None` = more bytes have to be read first.
    ///
    /// # Errors
    /// What the client did wrong. Nothing sensible can be read from this connection any more.
    pub fn next(&mut self, buffer: &mut BytesMut, limits: &Limits) -> Result<Option<Words>, ProtocolError> {
        loop {
            if self.words_left == 0 {
                match buffer.first() {
                    None => return Ok(None),
                    Some(b'*') => match self.begin(buffer, limits)? {
                        Some(0) => continue,
                        Some(count) => self.words_left = count,
                        None => return Ok(None),
                    },
                    Some(_) => match self.inline(buffer, limits)? {
                        Some(words) if words.is_empty() => continue,
                        Some(words) => return Ok(Some(named(words))),
                        None => return Ok(None),
                    },
                }
            }
            while self.words_left > 0 {
                if !self.word(buffer, limits)? {
                    self.release(buffer);
                    if let Some(bulk) = self.bulk
                        && bulk >= LARGE_BULK_BYTES
                    {
                        buffer.reserve((bulk + 2).saturating_sub(buffer.len()));
                    }
                    return Ok(None);
                }
            }
            self.release(buffer);
            self.args_bytes = 0;
            let args = std::mem::take(&mut self.args);
            return Ok(self.name.take().map(|name| Words { name, args }));
        }
    }

    /// Reads the line that announces how many words follow. `Some(0)` = nothing follows.
    fn begin(&mut self, buffer: &mut BytesMut, limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        let Some(line) = self.line(buffer, limits, ProtocolError::MultibulkCountTooLong)? else { return Ok(None) };
        let count = parse_integer(&buffer[line.start + 1..line.end]).ok_or(ProtocolError::MultibulkLength)?;
        if count > limits.words_max as i64 {
            return Err(ProtocolError::MultibulkLength);
        }
        if limits.unauthenticated && count > Limits::UNAUTHENTICATED_WORDS_MAX as i64 {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        buffer.advance(line.end + 2);
        self.position = 0;
        let count = usize::try_from(count).unwrap_or(0);
        // What was announced is not there yet: no more than a little is allocated on a promise.
        self.args.reserve(count.saturating_sub(1).min(64));
        Ok(Some(count))
    }

    /// Reads one word; `false` = it is not complete.
    fn word(&mut self, buffer: &BytesMut, limits: &Limits) -> Result<bool, ProtocolError> {
        let length = match self.bulk {
            Some(length) => length,
            None => {
                let Some(line) = self.line(buffer, limits, ProtocolError::BulkCountTooLong)? else { return Ok(false) };
                let first = buffer[line.start];
                if first != b'$' {
                    return Err(ProtocolError::ExpectedDollar(first));
                }
                let length = parse_integer(&buffer[line.start + 1..line.end]).ok_or(ProtocolError::BulkLength)?;
                if length < 0 || length > limits.bulk_bytes_max as i64 {
                    return Err(ProtocolError::BulkLength);
                }
                if limits.unauthenticated && length > Limits::UNAUTHENTICATED_BULK_BYTES_MAX as i64 {
                    return Err(ProtocolError::UnauthenticatedBulkLength);
                }
                self.position = line.end + 2;
                self.bulk = Some(length as usize);
                length as usize
            }
        };
        if buffer.len() < self.position + length + 2 {
            return Ok(false);
        }
        self.inside.push(self.position..self.position + length);
        self.position += length + 2;
        self.bulk = None;
        self.words_left -= 1;
        Ok(true)
    }

    /// Where the line at `position` is, without its end.
    fn line(
        &mut self,
        buffer: &BytesMut,
        limits: &Limits,
        too_long: ProtocolError,
    ) -> Result<Option<Range<usize>>, ProtocolError> {
        let start = self.position;
        let unread = &buffer[start..];
        match find(&unread[self.searched..], b'\r') {
            Some(found) => {
                let length = self.searched + found;
                if length > limits.line_bytes_max {
                    return Err(too_long);
                }
                if unread.len() < length + 2 {
                    self.searched = length;
                    return Ok(None);
                }
                self.searched = 0;
                Ok(Some(start..start + length))
            }
            None if unread.len() > limits.line_bytes_max => Err(too_long),
            None => {
                self.searched = unread.len();
                Ok(None)
            }
        }
    }

    /// Takes the complete words out of the buffer.
    fn release(&mut self, buffer: &mut BytesMut) {
        if self.position == 0 {
            return;
        }
        let mut frame = buffer.split_to(self.position).freeze();
        self.position = 0;
        let count = self.inside.len();
        for (place, range) in self.inside.drain(..).enumerate() {
            self.args_bytes += range.len();
            if self.name.is_none() {
                self.name = Some(Name::from_slice(&frame[range]));
            } else if place + 1 < count {
                self.args.push(frame.slice(range));
            } else {
                // The last one needs no owner of its own beside the frame's.
                frame.truncate(range.end);
                frame.advance(range.start);
                self.args.push(std::mem::take(&mut frame));
            }
        }
    }

    fn inline(&mut self, buffer: &mut BytesMut, limits: &Limits) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        let Some(found) = find(&buffer[self.searched..], b'\n') else {
            if buffer.len() > limits.line_bytes_max {
                return Err(ProtocolError::InlineTooLong);
            }
            self.searched = buffer.len();
            return Ok(None);
        };
        let length = self.searched + found;
        self.searched = 0;
        if length > limits.line_bytes_max {
            return Err(ProtocolError::InlineTooLong);
        }
        let line = &buffer[..length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let words = split_line(line).ok_or(ProtocolError::UnbalancedQuotes)?;
        buffer.advance(length + 1);
        Ok(Some(words))
    }
}

fn named(mut words: Vec<Bytes>) -> Words {
    let name = words.remove(0);
    Words { name: Name::from_slice(&name), args: words.into() }
}

fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|byte| *byte == wanted)
}

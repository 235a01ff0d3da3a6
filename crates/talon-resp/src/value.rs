//! Replies out of bytes: a client's reading side, in both protocols.

use bytes::{Buf, Bytes, BytesMut};

use talon_core::numbers::parse_integer;

/// How deep replies may be nested.
const DEPTH_MAX: usize = 32;
/// The longest line, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// A reply as it was on the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `+`
    Simple(String),
    /// `-`, without the mark.
    Error(String),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(Bytes),
    /// `_`, `$-1` and `*-1`
    Null,
    /// `*`
    Array(Vec<Value>),
    /// `%`
    Map(Vec<(Value, Value)>),
    /// `~`
    Set(Vec<Value>),
    /// `>`
    Push(Vec<Value>),
    /// `,`
    Double(f64),
    /// `#`
    Boolean(bool),
    /// `=`, without the three letters that name its format.
    Verbatim(Bytes),
    /// `(`, in decimal.
    BigNumber(String),
}

impl Value {
    /// A bulk string, simple string, verbatim string or error as text.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::Simple(text) | Value::Error(text) | Value::BigNumber(text) => Some(text.clone()),
            Value::Bulk(bytes) | Value::Verbatim(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }
}

/// The bytes are not RESP, or more than the reader allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a RESP reply: {0}")]
pub struct BadReply(pub &'static str);

/// Reads replies with a bound on the length of one string.
#[derive(Clone, Copy, Debug)]
pub struct ValueDecoder {
    /// The longest string and the most items of one array.
    pub length_max: usize,
}

impl ValueDecoder {
    /// The next complete reply at the beginning of `buffer`; `None` = more bytes have to be read first.
    ///
    /// # Errors
    /// The bytes are no reply.
    pub fn next(&self, buffer: &mut BytesMut) -> Result<Option<Value>, BadReply> {
        // First its length is found, then its bytes are split off and read as slices.
        let Some(length) = self.frame_length(buffer)? else { return Ok(None) };
        let mut frame = buffer.split_to(length).freeze();
        self.take(&mut frame).map(Some)
    }

    /// The length in bytes of the complete reply at the beginning of `bytes`; `None` = more bytes have to be read first.
    ///
    /// # Errors
    /// The bytes are no reply.
    pub fn frame_length(&self, bytes: &[u8]) -> Result<Option<usize>, BadReply> {
        self.skip(bytes, 0, 0)
    }

    /// Where the value at `at` ends.
    fn skip(&self, bytes: &[u8], at: usize, depth: usize) -> Result<Option<usize>, BadReply> {
        if depth > DEPTH_MAX {
            return Err(BadReply("nested too deep"));
        }
        let Some(line) = line(bytes, at)? else { return Ok(None) };
        let mut end = at + line.len() + 2;
        let Some((mark, rest)) = line.split_first() else { return Err(BadReply("an empty line")) };
        match mark {
            b'$' | b'=' => match self.length(rest)? {
                None => Ok(Some(end)),
                Some(length) if bytes.len() < end + length + 2 => Ok(None),
                Some(length) => Ok(Some(end + length + 2)),
            },
            b'*' | b'~' | b'>' | b'%' => {
                let per_item = if *mark == b'%' { 2 } else { 1 };
                for _ in 0..self.length(rest)?.unwrap_or(0) * per_item {
                    match self.skip(bytes, end, depth + 1)? {
                        Some(next) => end = next,
                        None => return Ok(None),
                    }
                }
                Ok(Some(end))
            }
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => Ok(Some(end)),
            _ => Err(BadReply("an unknown type")),
        }
    }

    fn take(&self, frame: &mut Bytes) -> Result<Value, BadReply> {
        let length = line(frame, 0)?.map(<[u8]>::len).ok_or(BadReply("an unfinished line"))?;
        let line = frame.split_to(length);
        frame.advance(2);
        let Some((mark, rest)) = line.split_first() else { return Err(BadReply("an empty line")) };
        let text = || String::from_utf8_lossy(rest).into_owned();
        Ok(match mark {
            b'+' => Value::Simple(text()),
            b'-' => Value::Error(text()),
            b'(' => Value::BigNumber(text()),
            b':' => Value::Integer(parse_integer(rest).ok_or(BadReply("a bad integer"))?),
            b'_' => Value::Null,
            b'#' => Value::Boolean(rest == b"t"),
            b',' => Value::Double(text().parse().map_err(|_| BadReply("a bad double"))?),
            b'$' | b'=' => match self.length(rest)? {
                None => Value::Null,
                Some(length) => {
                    let mut bytes = frame.split_to(length);
                    frame.advance(2);
                    if *mark == b'=' {
                        if bytes.len() < 4 {
                            return Err(BadReply("a verbatim string without a format"));
                        }
                        bytes.advance(4);
                        Value::Verbatim(bytes)
                    } else {
                        Value::Bulk(bytes)
                    }
                }
            },
            b'%' => {
                let count = self.length(rest)?.unwrap_or(0);
                Value::Map(
                    (0..count).map(|_| Ok((self.take(frame)?, self.take(frame)?))).collect::<Result<_, BadReply>>()?,
                )
            }
            _ => match self.length(rest)? {
                None => Value::Null,
                Some(count) => {
                    let items = (0..count).map(|_| self.take(frame)).collect::<Result<_, _>>()?;
                    match mark {
                        b'~' => Value::Set(items),
                        b'>' => Value::Push(items),
                        _ => Value::Array(items),
                    }
                }
            },
        })
    }

    /// A length or count; `None` = -1, the null of RESP2.
    fn length(&self, digits: &[u8]) -> Result<Option<usize>, BadReply> {
        match parse_integer(digits) {
            Some(-1) => Ok(None),
            Some(length) if length >= 0 && length <= self.length_max as i64 => Ok(Some(length as usize)),
            _ => Err(BadReply("a bad length")),
        }
    }
}

fn line(bytes: &[u8], at: usize) -> Result<Option<&[u8]>, BadReply> {
    let unread = bytes.get(at..).unwrap_or_default();
    let window = &unread[..unread.len().min(LINE_BYTES_MAX + 2)];
    match window.windows(2).position(|pair| pair == b"\r\n") {
        Some(length) => Ok(Some(&unread[..length])),
        None if unread.len() > LINE_BYTES_MAX + 1 => Err(BadReply("a line too long")),
        None => Ok(None),
    }
}

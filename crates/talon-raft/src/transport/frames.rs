//! Messages on a connection, each behind its length (`u32`, little-endian).

use std::io;
use std::marker::PhantomData;

use bytes::{Buf, BufMut, BytesMut};
use prost::Message;
use tokio_util::codec::{Decoder, Encoder};

/// What a replication connection begins with. (HTTP/2, which shares the port, begins with "PRI * HT".)
pub(super) const PREFACE: [u8; 8] = *b"TALONAP1";

/// How much is read at once, bytes.
pub(super) const READ_BYTES: usize = 64 << 10;

const LENGTH_BYTES: usize = 4;

/// Sends messages of one type, and reads those of another.
pub(super) struct Frames<Sent, Read> {
    bytes_max: usize,
    messages: PhantomData<fn(Sent) -> Read>,
}

impl<Sent, Read> Frames<Sent, Read> {
    /// Of messages of at most so many bytes; a longer one is an error, before anything is read of it.
    pub fn new(bytes_max: usize) -> Frames<Sent, Read> {
        Frames { bytes_max, messages: PhantomData }
    }
}

impl<Sent: Message, Read> Encoder<Sent> for Frames<Sent, Read> {
    type Error = io::Error;

    fn encode(&mut self, message: Sent, out: &mut BytesMut) -> io::Result<()> {
        let length = message.encoded_len();
        let told = u32::try_from(length).ok().filter(|_| length <= self.bytes_max);
        let told = told.ok_or_else(|| io::Error::other(format!("a message of {length} bytes is too long")))?;
        out.reserve(LENGTH_BYTES + length);
        out.put_u32_le(told);
        message.encode(out).map_err(io::Error::other)
    }
}

impl<Sent, Read: Message + Default> Decoder for Frames<Sent, Read> {
    type Item = Read;
    type Error = io::Error;

    fn decode(&mut self, arrived: &mut BytesMut) -> io::Result<Option<Read>> {
        let Some(told) = arrived.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*told) as usize;
        let broken = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        if length > self.bytes_max {
            return Err(broken(format!("a message of {length} bytes is too long")));
        }
        if arrived.len() < LENGTH_BYTES + length {
            arrived.reserve(LENGTH_BYTES + length - arrived.len());
            return Ok(None);
        }
        arrived.advance(LENGTH_BYTES);
        // Not copied: an entry's payload is a slice of what was read.
        let message = arrived.split_to(length).freeze();
        Read::decode(message).map(Some).map_err(|error| broken(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use talon_proto::v1::{AppendOpen, AppendReply, LogId};

    use super::*;

    type Both = Frames<AppendOpen, AppendOpen>;

    fn open(secret: &str) -> AppendOpen {
        AppendOpen { secret: secret.into(), cluster_id: "c".into(), node_id: 1, target_id: 2 }
    }

    #[test]
    fn messages_arrive_whole_however_they_are_cut() {
        let (mut frames, mut bytes) = (Both::new(1000), BytesMut::new());
        let messages = [open(""), open("secret"), open(&"x".repeat(900))];
        messages.iter().for_each(|message| frames.encode(message.clone(), &mut bytes).unwrap());
        for step in [1, 3, 7, bytes.len()] {
            let (mut arrived, mut read) = (BytesMut::new(), Vec::new());
            for piece in bytes.chunks(step) {
                arrived.extend_from_slice(piece);
                while let Some(message) = frames.decode(&mut arrived).unwrap() {
                    read.push(message);
                }
            }
            assert_eq!((read.as_slice(), arrived.len()), (&messages[..], 0), "in steps of {step}");
        }
    }

    #[test]
    fn what_is_too_long_or_no_message_is_refused() {
        let (mut frames, mut bytes) = (Both::new(100), BytesMut::new());
        assert!(frames.encode(open(&"x".repeat(100)), &mut bytes).is_err());
        assert!(bytes.is_empty(), "nothing of it is sent");
        bytes.put_u32_le(u32::MAX);
        assert!(frames.decode(&mut bytes).unwrap_err().to_string().contains("too long"));
        let mut bytes = BytesMut::from(&[3, 0, 0, 0, 0xff, 0xff, 0xff][..]);
        assert_eq!(frames.decode(&mut bytes).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn an_empty_message_is_one() {
        let mut frames = Frames::<AppendReply, LogId>::new(100);
        assert_eq!(frames.decode(&mut BytesMut::from(&[0; 4][..])).unwrap(), Some(LogId { term: 0, index: 0 }));
    }
}

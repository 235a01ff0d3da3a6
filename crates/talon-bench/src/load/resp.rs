//! RESP over TCP.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::keys::{counter, key, prefix};
use super::{Answer, Counts, Kind, Replies, Request, Session, Target};
use crate::Outcome;

const READ_BYTES: usize = 64 * 1024;
/// What is sent before replies are read; more would block both sides once the buffers between them are full.
const SEND_BYTES: usize = 1 << 20;
/// After how long without a byte a server is given up.
const SILENCE: Duration = Duration::from_secs(120);

/// A server that speaks RESP.
#[derive(Clone, Debug)]
pub struct Resp {
    addresses: Vec<SocketAddr>,
}

impl Resp {
    /// The server at this address.
    pub fn at(address: SocketAddr) -> Resp {
        Resp { addresses: vec![address] }
    }

    /// Connections in turn to these addresses.
    pub fn among(addresses: Vec<SocketAddr>) -> Resp {
        Resp { addresses }
    }
}

impl Target for Resp {
    type Session = Connection;

    fn depth(&self, pipeline: usize) -> usize {
        pipeline
    }

    async fn connect(&self, connection: usize, sessions: usize) -> Outcome<Vec<Connection>> {
        let address = self.addresses[connection % self.addresses.len()];
        let mut connections = Vec::new();
        for _ in 0..sessions {
            let stream = timeout(SILENCE, TcpStream::connect(address)).await??;
            stream.set_nodelay(true)?;
            connections.push(Connection {
                stream,
                out: Vec::new(),
                read: vec![0; READ_BYTES].into(),
                replies: Replies::default(),
            });
        }
        Ok(connections)
    }
}

/// One connection.
pub struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    read: Box<[u8]>,
    replies: Replies,
}

impl Connection {
    async fn receive(&mut self) -> Outcome<usize> {
        match timeout(SILENCE, self.stream.read(&mut self.read)).await.map_err(|_| "the server is silent")?? {
            0 => Err("the server closed the connection".into()),
            length => Ok(length),
        }
    }

    async fn turn(&mut self, requests: &[Request<'_>], counts: &mut Counts) -> Outcome<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        if self.out.capacity() > SEND_BYTES * 2 {
            self.out = Vec::new();
        }
        let mut answered = 0;
        while answered < requests.len() {
            let length = self.receive().await?;
            self.replies.read(&self.read[..length], |answer| {
                if let Some(request) = requests.get(answered) {
                    count(request.kind, answer, counts);
                }
                answered += 1;
            })?;
        }
        if answered > requests.len() { Err("more replies than requests".into()) } else { Ok(()) }
    }
}

impl Session for Connection {
    async fn exchange(&mut self, requests: &[Request<'_>], counts: &mut Counts) -> Outcome<()> {
        let mut first = 0;
        for (place, request) in requests.iter().enumerate() {
            encode_request(request, &mut self.out);
            if self.out.len() >= SEND_BYTES {
                self.turn(&requests[first..=place], counts).await?;
                first = place + 1;
            }
        }
        if first < requests.len() { self.turn(&requests[first..], counts).await } else { Ok(()) }
    }
}

fn count(kind: Kind, answer: Answer, counts: &mut Counts) {
    match (kind, answer) {
        (_, Answer::Error(text)) => counts.error(text),
        (Kind::Get, Answer::Missing) => counts.get(false),
        (Kind::Get, Answer::Present(_)) => counts.get(true),
        // Pairs.
        (Kind::Scan, Answer::Present(strings)) => counts.scanned += strings / 2,
        _ => {}
    }
}

fn encode_request(request: &Request<'_>, out: &mut Vec<u8>) {
    let number = request.number;
    match request.kind {
        Kind::Get => encode(&[b"GET", &key(number)], out),
        Kind::Set => encode(&[b"SET", &key(number), request.value], out),
        Kind::Incr => encode(&[b"INCR", &counter(number)], out),
        Kind::Scan => {
            let (prefix, limit) = (prefix(number, request.scan_keys), request.scan_keys.to_string());
            encode(&[b"SCANPREFIX", &prefix, b"0", limit.as_bytes()], out);
        }
    }
}

fn encode(words: &[&[u8]], out: &mut Vec<u8>) {
    // A vector takes every byte.
    let _ = write!(out, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(out, "${}\r\n", word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_words() {
        let mut out = Vec::new();
        let request = |kind| Request { kind, number: 7, value: b"v", scan_keys: 10 };
        encode_request(&request(Kind::Set), &mut out);
        encode_request(&request(Kind::Scan), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000007\r\n$1\r\nv\r\n\
             *4\r\n$10\r\nSCANPREFIX\r\n$15\r\nkey:00000000000\r\n$1\r\n0\r\n$2\r\n10\r\n"
        );
    }
}

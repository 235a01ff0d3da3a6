//! A RESP client over a plain socket that hides nothing.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use talon_resp::{Value, ValueDecoder, encode_command};

/// How long it waits for a server, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest string and the most items of a reply.
const DECODER: ValueDecoder = ValueDecoder { length_max: 512 * 1024 * 1024 };
const READ_BYTES: usize = 64 * 1024;

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    unread: BytesMut,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn connect(address: SocketAddr) -> io::Result<Client> {
        Client::connect_within(address, TIMEOUT)
    }

    /// Connects, and gives up after so long.
    ///
    /// # Errors
    /// If nobody listens, or no answer comes in time.
    pub fn connect_within(address: SocketAddr, timeout: Duration) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Client { stream, unread: BytesMut::new() })
    }

    /// How long a reply may take.
    ///
    /// # Errors
    /// If the time is zero.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(timeout))?;
        self.stream.set_write_timeout(Some(timeout))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a command and does not wait for its reply.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<()> {
        let mut out = BytesMut::new();
        let words: Vec<Bytes> = words.iter().map(|word| Bytes::copy_from_slice(word.as_ref())).collect();
        encode_command(&words, &mut out);
        self.send_bytes(&out)
    }

    /// The very bytes of the next reply.
    ///
    /// # Errors
    /// If the connection is gone, nothing comes in time, or what comes is no reply.
    pub fn receive_bytes(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(length) = DECODER.frame_length(&self.unread).map_err(io::Error::other)? {
                return Ok(self.unread.split_to(length).freeze());
            }
            if self.read_more()? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
        }
    }

    /// The next reply.
    ///
    /// # Errors
    /// As [`Client::receive_bytes`].
    pub fn receive(&mut self) -> io::Result<Value> {
        Client::parse(&self.receive_bytes()?)
    }

    /// Reads the bytes of a whole reply.
    ///
    /// # Errors
    /// If they are no reply.
    pub fn parse(frame: &[u8]) -> io::Result<Value> {
        let value = DECODER.next(&mut BytesMut::from(frame)).map_err(io::Error::other)?;
        value.ok_or_else(|| io::Error::other("the reply is not complete"))
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// As [`Client::receive_bytes`].
    pub fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Value> {
        self.send(words)?;
        self.receive()
    }

    /// As [`Client::call`], with the very bytes of the reply.
    ///
    /// # Errors
    /// As [`Client::receive_bytes`].
    pub fn call_bytes<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Bytes> {
        self.send(words)?;
        self.receive_bytes()
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn finish_sending(&self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// Everything until the server closes the connection. A connection that is reset counts as closed.
    ///
    /// # Errors
    /// If it is not closed in time.
    pub fn receive_until_closed(&mut self) -> io::Result<Bytes> {
        loop {
            match self.read_more() {
                Ok(0) => return Ok(self.unread.split().freeze()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(self.unread.split().freeze());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let length = self.unread.len();
        self.unread.resize(length + READ_BYTES, 0);
        let read = self.stream.read(&mut self.unread[length..]);
        self.unread.truncate(length + read.as_ref().map_or(0, |read| *read));
        read
    }
}

//! What connections come from: TCP, or what stands for it in a simulation.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// After so much silence the peer's machine is asked whether it is still there.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(300);

/// Where connections are accepted. Dropping it closes the port.
pub trait Listener: Send + 'static {
    /// One connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection with its peer's address; its options are set already. No connection is lost when the future
    /// is dropped before it is ready.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Where it listens.
    ///
    /// # Errors
    /// If the system does not tell.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// This end of a connection.
    ///
    /// # Errors
    /// If the system does not tell.
    fn stream_addr(stream: &Self::Stream) -> io::Result<SocketAddr>;

    /// The number the system knows a connection by, for people; -1 = it has none.
    fn stream_descriptor(_: &Self::Stream) -> i32 {
        -1
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, address) = TcpListener::accept(self).await?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
        let options = stream.set_nodelay(true).and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&keepalive));
        if let Err(error) = options {
            tracing::debug!(%error, "cannot set a connection's options");
        }
        Ok((stream, address))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }

    fn stream_addr(stream: &TcpStream) -> io::Result<SocketAddr> {
        stream.local_addr()
    }

    fn stream_descriptor(stream: &TcpStream) -> i32 {
        stream.as_raw_fd()
    }
}

//! Connections over the simulated network, which wait while the machine stands still.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::{StreamExt, stream};
use talon_raft::environment::{Eventually, Incoming, Sockets, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use super::Pause;

/// The connections of one machine.
#[derive(Clone)]
pub struct MachineSockets {
    pause: Arc<Pause>,
}

impl MachineSockets {
    /// Of the machine that stands still with `pause`.
    pub fn new(pause: Arc<Pause>) -> MachineSockets {
        MachineSockets { pause }
    }
}

/// A simulated connection.
pub struct Socket {
    inner: TcpStream,
    pause: Arc<Pause>,
}

/// A simulated listener.
pub struct Door {
    inner: TcpListener,
    pause: Arc<Pause>,
}

/// Connects, from the current host.
///
/// # Errors
/// If nobody listens there.
pub async fn connect(host: &str, port: u16, pause: Arc<Pause>) -> io::Result<Socket> {
    Ok(Socket { inner: TcpStream::connect((host, port)).await?, pause })
}

/// Listens, on the current host.
///
/// # Errors
/// If somebody else does.
pub async fn listen(address: SocketAddr, pause: Arc<Pause>) -> io::Result<Door> {
    Ok(Door { inner: TcpListener::bind(address).await?, pause })
}

impl Door {
    async fn next(&mut self) -> io::Result<(Socket, SocketAddr)> {
        std::future::poll_fn(|context| self.pause.poll_running(context)).await;
        let (inner, address) = self.inner.accept().await?;
        Ok((Socket { inner, pause: self.pause.clone() }, address))
    }
}

impl Sockets for MachineSockets {
    fn connect(&self, host: String, port: u16) -> Eventually<'static, io::Result<Box<dyn Stream>>> {
        let pause = self.pause.clone();
        Box::pin(async move { Ok(Box::new(connect(&host, port, pause).await?) as Box<dyn Stream>) })
    }

    fn listen(&self, address: SocketAddr) -> Eventually<'static, io::Result<Incoming>> {
        let pause = self.pause.clone();
        Box::pin(async move {
            let door = listen(address, pause).await?;
            let connections = stream::unfold(door, |mut door| async {
                let accepted = door.next().await.map(|(socket, _)| Box::new(socket) as Box<dyn Stream>);
                Some((accepted, door))
            });
            Ok(connections.boxed())
        })
    }
}

impl talon_server::resp::Listener for Door {
    type Stream = Socket;

    async fn accept(&mut self) -> io::Result<(Socket, SocketAddr)> {
        self.next().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn stream_addr(stream: &Socket) -> io::Result<SocketAddr> {
        stream.inner.local_addr()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.pause.poll_running(context));
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.pause.poll_running(context));
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

//! How many connections may be open at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;

/// After a failed accept (no file handles left, say): the stream is asked again at once, and would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Hands on connections as they come. One that is beyond the bound is closed at once: a client that hears of it can
/// try another node, one that is left waiting can not.
pub(super) fn bounded<I, IO>(incoming: I, connections_max: usize) -> impl Stream<Item = io::Result<Counted<IO>>>
where
    I: Stream<Item = io::Result<IO>>,
{
    let places = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    incoming.filter_map(move |connection| {
        let place = Arc::clone(&places).try_acquire_owned();
        async move {
            match (connection, place) {
                (Ok(inner), Ok(place)) => Some(Ok(Counted { inner, _place: place })),
                (Ok(_), Err(_)) => {
                    tracing::warn!(connections_max, "a gRPC connection was closed: too many are open");
                    None
                }
                (Err(error), _) => {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    Some(Err(error))
                }
            }
        }
    })
}

/// A connection that gives its place back when it is dropped.
pub(super) struct Counted<IO> {
    inner: IO,
    _place: OwnedSemaphorePermit,
}

impl<IO: Connected> Connected for Counted<IO> {
    type ConnectInfo = IO::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Counted<IO> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Counted<IO> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

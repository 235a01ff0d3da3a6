//! Connections between nodes that can be cut: nothing goes through any more, and nobody is told.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use talon_raft::environment::{Eventually, Incoming, Sockets, Stream, SystemSockets};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// All of them.
#[derive(Clone, Default)]
pub struct Cables(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    cut: BTreeSet<(u64, u64)>,
    /// Who listens no more.
    deaf: BTreeSet<u64>,
    waiting: Vec<Waker>,
    /// Who listens where.
    ports: BTreeMap<u16, u64>,
}

fn pair(one: u64, other: u64) -> (u64, u64) {
    (one.min(other), one.max(other))
}

impl Cables {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panicked")
    }

    /// Nothing goes between these two any more, in either direction.
    pub fn cut(&self, one: u64, other: u64) {
        self.state().cut.insert(pair(one, other));
    }

    /// Nobody listens where this node did, and what was connected to it is broken. What it has connected itself stays.
    pub fn deafen(&self, id: u64) {
        let mut state = self.state();
        state.deaf.insert(id);
        state.waiting.drain(..).for_each(Waker::wake);
    }

    /// Everything goes through again.
    pub fn mend(&self) {
        let mut state = self.state();
        state.cut.clear();
        state.deaf.clear();
        state.waiting.drain(..).for_each(Waker::wake);
    }

    /// The connections of one node, which listens on this port.
    pub fn of(&self, id: u64, port: u16) -> Arc<dyn Sockets> {
        self.state().ports.insert(port, id);
        Arc::new(NodeSockets { cables: self.clone(), id })
    }

    /// Ready when something goes through from `from` to `to`, or when that is known to be impossible.
    fn poll_whole(&self, (from, to): (u64, u64), context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        if state.deaf.contains(&to) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        if !state.cut.contains(&pair(from, to)) {
            return Poll::Ready(Ok(()));
        }
        state.waiting.push(context.waker().clone());
        Poll::Pending
    }
}

struct NodeSockets {
    cables: Cables,
    id: u64,
}

impl Sockets for NodeSockets {
    fn connect(&self, host: String, port: u16) -> Eventually<'static, io::Result<Box<dyn Stream>>> {
        let ends = (self.id, self.cables.state().ports.get(&port).copied().unwrap_or(0));
        let cables = self.cables.clone();
        Box::pin(async move {
            std::future::poll_fn(|context| cables.poll_whole(ends, context)).await?;
            let stream = SystemSockets.connect(host, port).await?;
            Ok(Box::new(Cable { stream, cables, ends }) as Box<dyn Stream>)
        })
    }

    fn listen(&self, address: SocketAddr) -> Eventually<'static, io::Result<Incoming>> {
        SystemSockets.listen(address)
    }
}

/// Cut at the end of whoever connected.
struct Cable {
    stream: Box<dyn Stream>,
    cables: Cables,
    /// Who connected, and to whom.
    ends: (u64, u64),
}

impl AsyncRead for Cable {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.cables.poll_whole(self.ends, context))?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Cable {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.cables.poll_whole(self.ends, context))?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

//! What a node takes from the machine it runs on: clocks, connections, disks, and threads that may block.
//!
//! There is one set for real and one that a simulation makes; nothing else of a node differs between the two.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use talon::ReadView;
use talon_storage::{Engine, LayerSettings, LayeredEngine, RocksSettings, StorageError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::clock::{Clocks, SystemClocks};
use crate::log::{DiskFiles, Files};

/// So long a connection may be idle before the operating system asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// All of it.
#[derive(Clone)]
pub struct Environment {
    /// Where the time is read.
    pub clocks: Arc<dyn Clocks>,
    /// How the other nodes are reached.
    pub sockets: Arc<dyn Sockets>,
    /// Where the log and the state are kept.
    pub disks: Arc<dyn Disks>,
    /// Where work is done that blocks.
    pub workers: Workers,
    /// Who is shown what this node does, if anybody.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Environment {
    /// The machine itself.
    pub fn system() -> Environment {
        Environment {
            clocks: Arc::new(SystemClocks),
            sockets: Arc::new(SystemSockets),
            disks: Arc::new(SystemDisks),
            workers: Workers::Threads,
            observer: None,
        }
    }
}

/// A connection between two nodes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// Something that is waited for.
pub type Eventually<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The connections that come to a listener.
pub type Incoming = BoxStream<'static, io::Result<Box<dyn Stream>>>;

/// Connections between nodes.
pub trait Sockets: Send + Sync + 'static {
    /// Connects to a port of a host, a name or an address.
    fn connect(&self, host: String, port: u16) -> Eventually<'static, io::Result<Box<dyn Stream>>>;

    /// Listens; the answer is the connections that come.
    fn listen(&self, address: SocketAddr) -> Eventually<'static, io::Result<Incoming>>;
}

/// A message goes out at once; the end of a machine that says nothing any more is found, also where nothing is sent.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// TCP, by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemSockets;

impl Sockets for SystemSockets {
    fn connect(&self, host: String, port: u16) -> Eventually<'static, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            prepare(&stream)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn listen(&self, address: SocketAddr) -> Eventually<'static, io::Result<Incoming>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            let connections = stream::unfold(listener, |listener| async {
                let accepted = listener.accept().await.map(|(stream, _)| {
                    // A connection that does not take it is broken, and whoever reads from it will see.
                    let _ = prepare(&stream);
                    Box::new(stream) as Box<dyn Stream>
                });
                if accepted.is_err() {
                    // No file handles left, say: whoever serves asks again at once, and would spin.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                Some((accepted, listener))
            });
            Ok(connections.boxed())
        })
    }
}

/// The disks of a node.
pub trait Disks: Send + Sync + 'static {
    /// The files of the log, in this folder.
    ///
    /// # Errors
    /// If the folder cannot be used.
    fn log_files(&self, folder: &Path) -> io::Result<Arc<dyn Files>>;

    /// Opens the engine of the state in this folder, or begins an empty one there.
    ///
    /// # Errors
    /// If what is there cannot be read, or is damaged.
    fn open_engine(&self, folder: &Path, memory_bytes: usize) -> Result<Arc<dyn Engine>, StorageError>;

    /// How many bytes can still be written below this folder. A simulated disk has room unless it says otherwise.
    ///
    /// # Errors
    /// The operating system's.
    fn free_bytes(&self, _folder: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// The file system, and RocksDB on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisks;

impl Disks for SystemDisks {
    fn log_files(&self, folder: &Path) -> io::Result<Arc<dyn Files>> {
        Ok(Arc::new(DiskFiles::open(folder)?))
    }

    fn open_engine(&self, folder: &Path, memory_bytes: usize) -> Result<Arc<dyn Engine>, StorageError> {
        // Most of it for recent writes: the larger a drained portion, the fewer rows are written to files more than once. A part is left for
        // what nobody counts: buffers on the way, and what the allocator cannot use.
        let memory_bytes_max = memory_bytes / 8 * 5;
        // The replicated log stands behind the state.
        let layer = LayerSettings { memory_bytes_max, logged: false, ..LayerSettings::default() };
        let rocks = RocksSettings { cache_bytes: (memory_bytes / 8).max(8 << 20), ..RocksSettings::default() };
        Ok(Arc::new(LayeredEngine::open(folder, &rocks, layer)?))
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let room = nix::sys::statvfs::statvfs(folder)?;
        // What is kept for root is not counted: a server does not run as root.
        Ok((room.blocks_available() as u64).saturating_mul(room.fragment_size() as u64))
    }
}

/// Where work is done that blocks: on the disk, or for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// On threads of its own.
    Threads,
    /// Where it is asked for, in the runtime's one thread. For simulations: no thread runs beside, so nothing happens in an order
    /// that the next run would not repeat.
    Inline,
}

impl Workers {
    /// Does the work, and waits for it.
    ///
    /// # Errors
    /// If it panicked, or the runtime ends.
    pub async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        match self {
            Workers::Threads => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
            Workers::Inline => Ok(work()),
        }
    }

    /// Has the work done, and does not wait for it.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        match self {
            Workers::Threads => std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop),
            Workers::Inline => {
                work();
                Ok(())
            }
        }
    }
}

/// Is shown what a node does, as it does it. For simulations: a judge that sees every state.
pub trait Observer: Send + Sync + 'static {
    /// Whether the state behind this entry is wanted by itself: then a batch of entries ends there.
    fn stops_at(&self, index: u64) -> bool;

    /// These entries have been carried out in one batch; `view` is the state behind them.
    fn applied(&self, entries: &[talon::Entry<'_>], view: &ReadView);

    /// This state is the live one now: opened at the start, or installed from a checkpoint.
    fn opened(&self, view: &ReadView);

    /// This node leads the term, and may stamp and answer.
    fn leads(&self, term: u64);
}

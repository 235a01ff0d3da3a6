//! Writes that are collected first and happen together.

use bytes::{Bytes, BytesMut};
use talon_core::Request;

/// Writes to commit together with [`Kv::commit`](crate::Kv::commit): all of them or none. What cannot be carried out is refused when it is added, so a
/// batch that exists cannot be refused any more, but for its size.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let kv = talon::Talon::open(folder.path())?.kv()?;
/// let mut batch = talon::Batch::new();
/// kv.set_batch(&mut batch, b"session", b"42", Some(60))?;
/// kv.mset_batch(&mut batch, &[b"a", b"b"], &[b"1", b"2"])?;
/// assert_eq!(batch.len(), 2);
/// assert_eq!(kv.get(b"a")?, None, "not yet");
/// kv.commit(batch)?;
/// assert_eq!(kv.get(b"a")?.as_deref(), Some(&b"1"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) requests: Vec<Request>,
    /// Room for the next keys and values: many of them share one piece of memory.
    room: BytesMut,
}

/// So much memory is taken for keys and values at once.
const ROOM_BYTES: usize = 64 << 10;

impl Batch {
    /// An empty one.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// The bytes, in memory that the batch shares out.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() >= ROOM_BYTES {
            return Bytes::copy_from_slice(bytes);
        }
        if self.room.capacity() < bytes.len() {
            self.room = BytesMut::with_capacity(ROOM_BYTES);
        }
        self.room.extend_from_slice(bytes);
        self.room.split().freeze()
    }

    /// How many requests there are in it.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// About how many bytes it takes, against [`Settings::request_bytes_max`](crate::Settings::request_bytes_max).
    pub fn size_bytes(&self) -> usize {
        self.requests.iter().map(Request::size_bytes).sum()
    }
}

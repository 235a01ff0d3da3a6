//! Writes that are collected first and happen together.

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
}

impl Batch {
    /// An empty one.
    pub fn new() -> Batch {
        Batch::default()
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

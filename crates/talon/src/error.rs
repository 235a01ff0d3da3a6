//! What a caller of the embedded database may hear.

use talon_core::{Fault, Refusal};

use crate::machine::OpenError;

/// Why the embedded database did not do what was asked.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let kv = talon::Talon::open(folder.path())?.kv()?;
/// kv.set(b"k", b"text", None)?;
/// match kv.incr(b"k") {
///     Err(talon::Error::Refused(refusal)) => assert!(refusal.line().contains("not an integer")),
///     other => panic!("{other:?}"),
/// }
/// assert!(talon::Talon::open(folder.path()).is_err_and(|error| error.to_string().contains("already open")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder could not be opened: it is open already, damaged, written by a newer Talon, …
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The wall clock is far ahead of what the folder has seen last. If it is right after all, open with a larger
    /// [`clock_jump_ms_max`](crate::Settings::clock_jump_ms_max); if it is wrong, opening would expire data.
    #[error(
        "the clock says {wall_ms} (Unix ms), {} ms after the last write, and at most {clock_jump_ms_max} ms are allowed: \
         correct the clock, or raise clock_jump_ms_max",
        wall_ms - stored_ms
    )]
    ClockJump {
        /// The wall clock, Unix ms.
        wall_ms: u64,
        /// The clock that was stored last, Unix ms.
        stored_ms: u64,
        /// How far it may be ahead, in ms.
        clock_jump_ms_max: u64,
    },
    /// It makes no sense as the data is, or at all (no such key, not an integer, too large, …). Nothing was changed.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// A single request (a batch, an `mset`) is too large. Nothing was changed.
    #[error("a request of {size_bytes} bytes exceeds the limit of {bytes_max} bytes")]
    TooLarge {
        /// Its size in bytes.
        size_bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The storage failed. What was being written may or may not be there; the database answers nothing more and has to be opened anew.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Error {
    /// Whether it was refused because there is no such key.
    pub fn is_no_such_key(&self) -> bool {
        matches!(self, Error::Refused(refusal) if *refusal == talon_core::error::NO_SUCH_KEY)
    }
}

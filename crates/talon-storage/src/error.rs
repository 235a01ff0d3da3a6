//! What can go wrong below.

use std::path::PathBuf;

/// Why the storage could not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// Somebody has the folder open already; there can be only one.
    #[error("{} is already open in {}", folder.display(), if *.same_process { "this process" } else { "another process" })]
    AlreadyOpen {
        /// The folder.
        folder: PathBuf,
        /// Whether it is this process itself.
        same_process: bool,
    },
    /// There is nothing to open.
    #[error("{} holds no data of Talon's: {reason}", folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// The files are not what was written.
    #[error("the data in {} is damaged: {reason}", folder.display())]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The system could not do it (disk full, no permission, …).
    #[error("could not {doing} {}: {reason}", folder.display())]
    Failed {
        /// The folder.
        folder: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's words.
        reason: String,
    },
    /// The in-memory double has lost its power; what survived is in the engine that [`crate::MemoryEngine::crash`] returned.
    #[error("the power of this in-memory engine was cut")]
    PowerCut,
}

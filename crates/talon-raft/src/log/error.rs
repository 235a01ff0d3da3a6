//! Why the log could not be opened, read or written.

use std::io;
use std::sync::Arc;

use crate::types::DecodeError;

/// A failure of the log. Whoever gets one stops the node: after a failed write or sync the log is in doubt and takes
/// nothing more.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The disk refused.
    #[error("cannot {action} the log file {file}: {source}{}", hint(source))]
    Disk {
        /// The file, with its directory.
        file: String,
        /// What was tried, as `write`.
        action: &'static str,
        /// What the operating system says.
        source: Arc<io::Error>,
    },
    /// Bytes that were safely on the disk once are no longer what was written.
    #[error(
        "the log file {file} is damaged at byte {offset}: {what}. It was synced to disk, so this is not a torn write; \
             the node must not start from this log (wipe the node and let it join again)"
    )]
    Damaged {
        /// The file, with its directory.
        file: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A later build of Talon wrote it.
    #[error("the log file {file} has format version {version}; this build reads up to {version_max}")]
    Newer {
        /// The file, with its directory.
        file: String,
        /// Its version.
        version: u32,
        /// The newest version this build knows.
        version_max: u32,
    },
    /// A file is not there that must be.
    #[error("the log is not whole: {what}")]
    Missing {
        /// What is not there, and what misses it.
        what: String,
    },
    /// Something asked for what no Raft node asks of its log, such as an append that leaves a hole.
    #[error("the log was misused: {what}")]
    Misused {
        /// What was asked.
        what: String,
    },
    /// The log has been closed.
    #[error("the log is closed")]
    Closed,
}

impl LogError {
    pub(super) fn disk(file: String, action: &'static str, source: io::Error) -> LogError {
        LogError::Disk { file, action, source: Arc::new(source) }
    }

    pub(super) fn damaged(file: &str, offset: u64, what: impl Into<String>) -> LogError {
        LogError::Damaged { file: file.to_owned(), offset, what: what.into() }
    }

    pub(super) fn unreadable(file: &str, offset: u64, error: &DecodeError) -> LogError {
        LogError::damaged(file, offset, error.to_string())
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            " (the disk is full: make room, then restart the node)"
        }
        _ => "",
    }
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> io::Error {
        let kind = match &error {
            LogError::Disk { source, .. } => source.kind(),
            LogError::Damaged { .. } | LogError::Newer { .. } | LogError::Missing { .. } => io::ErrorKind::InvalidData,
            LogError::Misused { .. } => io::ErrorKind::InvalidInput,
            LogError::Closed => io::ErrorKind::BrokenPipe,
        };
        io::Error::new(kind, error)
    }
}

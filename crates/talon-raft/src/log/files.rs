//! The few things the log asks of a file system, so that a simulation can stand in for the disk.

mod disk;
#[cfg(any(test, feature = "lossy-disk"))]
mod lossy;

use std::io;
use std::sync::Arc;
use std::time::Duration;

#[cfg(not(feature = "lossy-disk"))]
pub use disk::DiskFiles;
/// In a build for tests of power cuts, every log is on such a disk.
#[cfg(feature = "lossy-disk")]
pub use lossy::LossyFiles as DiskFiles;

/// One directory of files. Names are plain file names.
pub trait Files: Send + Sync + 'static {
    /// The names in it, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new, empty file; one of that name is emptied.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// An existing file, to read and write.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name. Not durable before [`Files::sync_names`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Not durable before [`Files::sync_names`]; what is open stays readable.
    fn delete(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and deletions durable.
    fn sync_names(&self) -> io::Result<()>;
    /// How to call a file in a message: with its directory.
    fn describe(&self, name: &str) -> String;
    /// How long a sync takes beyond the time that [`File::sync`] itself takes. A simulated disk takes simulated time; a real
    /// one takes its own.
    fn sync_delay(&self) -> Duration {
        Duration::ZERO
    }
}

/// One open file.
pub trait File: Send + Sync + 'static {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset` on; an error if the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`. Not durable before [`File::sync`].
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes it at least `length` long, with zeros, and takes the room for them on the disk.
    fn preallocate(&self, length: u64) -> io::Result<()>;
    /// Cuts it to `length`.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Makes its bytes and its length durable.
    fn sync(&self) -> io::Result<()>;
}

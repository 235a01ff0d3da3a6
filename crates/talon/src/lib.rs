//! Talon as a library: a key-value store in a folder, with Redis's strings, counters and expiry; and the state machine that the
//! nodes of a cluster are made of.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path();
//! let db = talon::Talon::open(path)?;
//! let kv = db.kv()?;
//! kv.set(b"session:7", b"Ada", Some(3600))?;
//! assert_eq!(kv.incr(b"visits")?, 1);
//! assert_eq!(kv.ttl(b"session:7")?, Some(3600));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! *Enters*: functions ([`Kv`], [`KvRead`]), or entries of a log ([`Machine::apply`]). *Leaves*: values and replies; views that do not
//! change; checkpoints. *Must never know*: sockets, other nodes, how a log is replicated.
//!
//! # What is promised
//!
//! - A write that returned is there after kill -9, and with [`Durability::Synced`] (the default) after a power cut. Writers that wait
//!   at the same time share one sync.
//! - Every call is atomic and isolated, a [`Batch`] included. A read sees all writes that returned before it began.
//! - Whether a key has expired is decided by the database's own clock `T`, which is stored with the data and never goes back: a key that was seen
//!   expired stays so, also when the wall clock is set back and after a restart. `T` follows a monotonic clock, so a step of the
//!   wall clock does not step it; one database alone cannot know a wrong clock, but a jump of more than
//!   [`Settings::clock_jump_ms_max`] while it was closed is refused at open.
//! - A folder is open once. A second process gets [`StorageError::AlreadyOpen`](talon_storage::StorageError::AlreadyOpen).
//! - Keys have up to 64 KB, values up to 16 MB, a request up to 64 MB. What a transaction writes has a bound, too ([`talon_core::entry`]).

#![warn(missing_docs)]

mod batch;
mod cleaner;
mod clock;
mod committer;
mod database;
mod embedded;
mod error;
mod hash;
mod kv;
mod kv_read;
pub mod machine;
mod state;
mod view;

pub use batch::Batch;
pub use cleaner::TtlCleaner;
pub use clock::{Clock, SystemClock};
pub use embedded::{Durability, Settings, Talon};
pub use error::Error;
pub use hash::state_hash;
pub use kv::Kv;
pub use kv_read::{KvPair, KvRead, Snapshot};
pub use machine::{Content, Entry, Machine, OpenError};
pub use state::{AppliedState, FORMAT_VERSION};
pub use view::{ReadOutcome, ReadView};

//! Commands that only Talon has; those named `talon.…` are for itself alone.

mod countprefix;
mod delprefix;
mod diskusage;
mod keyspace;
mod keysprefix;
mod mark;
mod once;
mod position;
mod purge;
mod range;
mod scanprefix;
mod sessions;

pub use countprefix::COUNTPREFIX;
pub use delprefix::DELPREFIX;
pub use diskusage::DISKUSAGE;
pub use keyspace::KEYSPACE;
pub use keysprefix::KEYSPREFIX;
pub use mark::MARK;
pub use once::{ONCE, inside};
pub use position::POSITION;
pub use purge::PURGE;
pub use range::RANGE;
pub use scanprefix::SCANPREFIX;

use crate::command::Command;

/// The rows of this family.
pub static ROWS: &[&Command] = &[
    &DELPREFIX,
    &COUNTPREFIX,
    &KEYSPREFIX,
    &SCANPREFIX,
    &DISKUSAGE,
    &POSITION,
    &ONCE,
    &PURGE,
    &MARK,
    &RANGE,
    &KEYSPACE,
];

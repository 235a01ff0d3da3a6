//! Power cuts on real processes. The binary under test, `talon-lossy`, keeps what it writes in its own memory until it syncs, so a
//! `kill -9` takes what was not synced, as the loss of power does; an ordinary build would find it again in the page cache.
//!
//! *Enters*: the sources, of which `talon-lossy` is built, and how many kills. *Leaves*: verdicts with their figures. *Must never
//! know*: anything of Talon's inside; whatever a test sees, a user could see.

#![warn(missing_docs)]

mod ballast;
mod binary;
mod kills;

pub use ballast::Ballast;
pub use binary::talon_lossy;
pub use kills::{Kills, Report, Victims};

/// A number from 0 to `below`, different at each call: the tests are to meet other moments at every run.
fn any(below: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() % below.max(1)
}

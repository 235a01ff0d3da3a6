//! What the tests of damaged files, full disks and spent file descriptors share: places chosen from a seed, data whose
//! every byte is known, copies of folders, and a table of what came of each kind of damage.
//!
//! *Enters*: the binary, already built. *Leaves*: damage, and verdicts. *Must never know*: the formats of Talon's files;
//! it knows their names only.

#![warn(missing_docs)]

mod data;
mod folder;
mod harm;
mod mount;
mod random;
mod report;

pub use data::Data;
pub use folder::{copy_folder, files_below};
pub use harm::{Blow, FileKind, Harm, choose, last_segment};
pub use mount::SmallDisk;
pub use random::Random;
pub use report::{Report, Verdict};

//! What the tests of real clusters share: writers that keep books on what was acknowledged, a check of the books against
//! the data, `talon cluster …`, and a process's memory.
//!
//! *Enters*: the binary, already built, and ports. *Leaves*: verdicts with their figures. *Must never know*: anything of
//! Talon's inside; whatever a test sees, a user could see.

#![warn(missing_docs)]

mod books;
mod cli;
mod load;
mod memory;
mod observers;

pub use books::{Books, Fates, Totals};
pub use cli::{Finished, member_status, status, talon, verify, verify_at};
pub use load::{AllBooks, Load, LoadOptions, Outcome, attempt};
pub use memory::{Memory, forget_peak, memory};

/// Whether the tests run in full (`TALON_LONG=1`, `tests/run.sh --long`), or as a sample.
pub fn is_long() -> bool {
    std::env::var_os("TALON_LONG").is_some_and(|value| !value.is_empty() && value != "0")
}

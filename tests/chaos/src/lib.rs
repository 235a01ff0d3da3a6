//! What the tests with a broken network and a stopped leader share: namespaces, clients that record, and the verdict.
//!
//! *Enters*: the binary, already built, and root for the namespaces. *Leaves*: histories and their verdicts. *Must never
//! know*: anything of Talon's inside; whatever a test sees, a user could see.

#![warn(missing_docs)]

mod cable;
mod clients;
mod judge;
mod network;
mod plan;
mod whole;

pub use clients::{Answered, Line, Load, Patience, Post, Recorder, Target, targets};
pub use judge::{Seen, assert_right, judge};
pub use network::{Entry, Network, Seat, Wires, say_skipped};
pub use plan::{Plan, any};
pub use whole::{WHOLE_WITHIN, assert_equal_nodes, wait_until_whole};

/// Whether the tests run in full (`TALON_LONG=1`, `tests/run.sh --long`), or as a sample.
pub fn is_long() -> bool {
    std::env::var_os("TALON_LONG").is_some_and(|value| !value.is_empty() && value != "0")
}

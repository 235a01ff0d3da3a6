//! What the tests with a broken network and a stopped leader share: namespaces, clients that record, and the verdict.
//!
//! *Enters*: the binary, already built, and root for the namespaces. *Leaves*: histories and their verdicts. *Must never
//! know*: anything of Talon's inside; whatever a test sees, a user could see.

#![warn(missing_docs)]

mod cable;
mod network;

pub use network::{Network, Seat, Wires, say_skipped};

/// Whether the tests run in full (`TALON_LONG=1`, `tests/run.sh --long`), or as a sample.
pub fn is_long() -> bool {
    std::env::var_os("TALON_LONG").is_some_and(|value| !value.is_empty() && value != "0")
}

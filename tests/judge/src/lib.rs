//! The judge: what a real redis-server 7.0 answers is what Talon has to answer, to the byte.
//!
//! *Enters*: a seed, or a golden script. *Leaves*: nothing, or the shortest sequence of commands that is answered
//! otherwise. *Must never know*: anything of Talon's inside; both servers are processes behind a socket.
//!
//! - [`generate`] makes random sequences of commands, [`arguments`] the odd words in them.
//! - [`Pair`] sends them to both servers, [`agree`] says what counts as the same reply, [`shrink`] finds the shortest
//!   sequence that still differs.
//! - [`deviations`] lists where Talon means to differ, and is tested too.

#![warn(missing_docs)]

pub mod agree;
pub mod arguments;
pub mod commands;
pub mod deviations;
pub mod generate;
pub mod pair;
pub mod random;
pub mod scripts;
pub mod shrink;

pub use pair::{Mismatch, Pair, Step};

/// Whether the long rounds are wanted: `TALON_LONG=1`.
pub fn is_long() -> bool {
    std::env::var_os("TALON_LONG").is_some_and(|value| value != "0" && !value.is_empty())
}

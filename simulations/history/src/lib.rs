//! The judge: what clients did, written down as a history, and whether a correct Talon can have answered so.
//!
//! *Enters*: calls with the times at which they were made and answered on one true clock, and what was answered, from
//! any driver: simulated worlds, real processes. *Leaves*: a [`Verdict`] of each check, with the operations that break
//! the promise. *Must never know*: how Talon does it. It shares no code with it, only the rules.
//!
//! - [`history`]: the operations, a line for people each, and JSON lines.
//! - [`wire`]: actions as words for RESP, and replies as outcomes.
//! - [`model`]: the actions, carried out one after the other with the replicated clock.
//! - [`linear`]: linearizability of each key, with keys that end.
//! - [`once`]: what is sent again is done once.
//! - [`atomic`]: keys that are written together are seen together.
//! - [`counters`]: I11. [`durable`]: I7. [`session`]: positions, I4 and I5.

pub mod action;
pub mod atomic;
pub mod counters;
pub mod durable;
pub mod history;
pub mod linear;
pub mod model;
pub mod once;
mod parts;
pub mod session;
mod verdict;
pub mod wire;
mod word;

pub use action::{Action, Condition, Deadline, Ttl};
pub use history::{Consistency, History, Operation, Outcome, Reply};
pub use model::Model;
pub use verdict::{Verdict, Violation};
pub use wire::Value;
pub use word::Word;

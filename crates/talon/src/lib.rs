//! Talon.
#![warn(missing_docs)]

mod hash;
pub mod machine;
mod state;
mod view;

pub use hash::state_hash;
pub use machine::{Content, Entry, Machine, OpenError};
pub use state::{AppliedState, FORMAT_VERSION};
pub use view::{ReadOutcome, ReadView};

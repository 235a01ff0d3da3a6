//! Commands on strings.

mod get;
mod set;

pub use get::GET;
pub use set::SET;

use crate::command::Command;

/// The rows of this family.
pub static ROWS: &[&Command] = &[&GET, &SET];

//! Commands that only Talon has.

use crate::command::Command;

/// The rows of this family.
pub static ROWS: &[&Command] = &[];

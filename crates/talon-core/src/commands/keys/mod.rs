//! Commands on any key.

use crate::command::Command;

/// The rows of this family.
pub static ROWS: &[&Command] = &[];

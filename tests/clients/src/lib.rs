//! What the tests of unmodified clients share: clients installed once with the versions that are pinned, programs that
//! write with them, and the judge of what they were told.
//!
//! *Enters*: the scripts in `programs/`, `python3`, `node` and `npm`. *Leaves*: verdicts with their figures. *Must never
//! know*: anything of Talon's inside.

#![warn(missing_docs)]

mod installed;
mod outcomes;
mod program;
mod table;

pub use installed::{Runner, node, program, python};
pub use outcomes::{Outcome, Verdict, judge};
pub use program::{Program, run};
pub use table::table;

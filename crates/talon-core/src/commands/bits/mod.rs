//! Commands on the bits of strings: bit 0 is the highest one of the first byte.

mod bitcount;
mod bitfield;
mod bitfield_ro;
mod bitop;
mod bitpos;
mod fields;
mod getbit;
mod part;
mod place;
mod setbit;

pub use bitcount::BITCOUNT;
pub use bitfield::BITFIELD;
pub use bitfield_ro::BITFIELD_RO;
pub use bitop::BITOP;
pub use bitpos::BITPOS;
pub use getbit::GETBIT;
pub use setbit::SETBIT;

use crate::command::Command;

/// The rows of this family.
pub static ROWS: &[&Command] = &[&SETBIT, &GETBIT, &BITCOUNT, &BITPOS, &BITOP, &BITFIELD, &BITFIELD_RO];

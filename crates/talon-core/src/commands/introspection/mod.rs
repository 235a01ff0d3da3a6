//! What Redis tells about how a key is held: the subcommands of OBJECT and MEMORY.

mod memory_help;
mod memory_usage;
mod object_encoding;
mod object_freq;
mod object_help;
mod object_idletime;
mod object_refcount;

pub use memory_help::MEMORY_HELP;
pub use memory_usage::MEMORY_USAGE;
pub use object_encoding::OBJECT_ENCODING;
pub use object_freq::OBJECT_FREQ;
pub use object_help::OBJECT_HELP;
pub use object_idletime::OBJECT_IDLETIME;
pub use object_refcount::OBJECT_REFCOUNT;

use crate::command::{Command, Container, Facts, Group, KeySpec};

/// The rows of this family.
pub static ROWS: &[&Command] =
    &[&OBJECT_ENCODING, &OBJECT_FREQ, &OBJECT_IDLETIME, &OBJECT_REFCOUNT, &OBJECT_HELP, &MEMORY_USAGE, &MEMORY_HELP];

/// `OBJECT`
pub static OBJECT: Container = Container {
    facts: Facts {
        name: "object",
        arity: -2,
        flags: &[],
        keys: KeySpec::NONE,
        group: Group::Generic,
        summary: "Tells how the value of a key is held.",
        since: "2.2.3",
        complexity: "Depends on subcommand.",
    },
    rows: &[&OBJECT_ENCODING, &OBJECT_FREQ, &OBJECT_IDLETIME, &OBJECT_REFCOUNT, &OBJECT_HELP],
};

/// `MEMORY`
pub static MEMORY: Container = Container {
    facts: Facts {
        name: "memory",
        arity: -2,
        flags: &[],
        keys: KeySpec::NONE,
        group: Group::Server,
        summary: "Tells how much memory a key takes.",
        since: "4.0.0",
        complexity: "Depends on subcommand.",
    },
    rows: &[&MEMORY_USAGE, &MEMORY_HELP],
};

//! `MEMORY HELP`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::introspection::MEMORY;
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static MEMORY_HELP: Command = Command {
    id: 131,
    kind: Kind::Read,
    facts: Facts {
        name: "memory|help",
        arity: 2,
        flags: &[Flag::Readonly],
        keys: KeySpec::NONE,
        group: Group::Server,
        summary: "Lists the subcommands.",
        since: "4.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(_transaction: &mut Transaction<'_>, _args: &[Bytes]) -> Result<Reply, Error> {
    Ok(MEMORY.help())
}

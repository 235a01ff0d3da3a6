//! `OBJECT HELP`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::introspection::OBJECT;
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static OBJECT_HELP: Command = Command {
    id: 129,
    kind: Kind::Read,
    facts: Facts {
        name: "object|help",
        arity: 2,
        flags: &[Flag::Readonly],
        keys: KeySpec::NONE,
        group: Group::Generic,
        summary: "Lists the subcommands.",
        since: "6.2.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(_transaction: &mut Transaction<'_>, _args: &[Bytes]) -> Result<Reply, Error> {
    Ok(OBJECT.help())
}

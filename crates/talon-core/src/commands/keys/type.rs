//! `TYPE key`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static TYPE: Command = Command {
    id: 104,
    kind: Kind::Read,
    facts: Facts {
        name: "type",
        arity: 2,
        flags: &[Flag::Readonly, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::Generic,
        summary: "Returns the type of the value of a key: string, or none if it is missing.",
        since: "1.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    Ok(Reply::Simple(if transaction.exists(&args[0])? { "string" } else { "none" }))
}

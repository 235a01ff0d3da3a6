//! `OBJECT REFCOUNT key`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static OBJECT_REFCOUNT: Command = Command {
    id: 128,
    kind: Kind::Read,
    facts: Facts {
        name: "object|refcount",
        arity: 3,
        flags: &[Flag::Readonly],
        keys: KeySpec::SECOND,
        group: Group::Generic,
        summary: "Returns 1 for every key: no value is shared by several.",
        since: "2.2.3",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    Ok(if transaction.exists(&args[1])? { Reply::Integer(1) } else { Reply::Null })
}

//! `OBJECT IDLETIME key`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static OBJECT_IDLETIME: Command = Command {
    id: 127,
    kind: Kind::Read,
    facts: Facts {
        name: "object|idletime",
        arity: 3,
        flags: &[Flag::Readonly],
        keys: KeySpec::SECOND,
        group: Group::Generic,
        summary: "Returns 0 for every key: no access times are kept.",
        since: "2.2.3",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    Ok(if transaction.exists(&args[1])? { Reply::Integer(0) } else { Reply::Null })
}

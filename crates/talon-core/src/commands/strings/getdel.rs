//! `GETDEL key`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static GETDEL: Command = Command {
    id: 11,
    kind: Kind::Write,
    facts: Facts {
        name: "getdel",
        arity: 2,
        flags: &[Flag::Write, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Returns the value of a key and removes the key.",
        since: "6.2.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let Some(record) = transaction.get(&args[0])? else { return Ok(Reply::Null) };
    transaction.delete(&args[0])?;
    Ok(Reply::Bulk(record.value))
}

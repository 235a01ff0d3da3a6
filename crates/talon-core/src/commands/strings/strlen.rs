//! `STRLEN key`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static STRLEN: Command = Command {
    id: 13,
    kind: Kind::Read,
    facts: Facts {
        name: "strlen",
        arity: 2,
        flags: &[Flag::Readonly, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Returns the length of the value of a key, 0 if it is missing.",
        since: "2.2.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let length = transaction.get(&args[0])?.map_or(0, |record| record.value.len());
    Ok(Reply::Integer(length as i64))
}

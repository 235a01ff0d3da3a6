//! `GET key`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static GET: Command = Command {
    id: 1,
    kind: Kind::Read,
    facts: Facts {
        name: "get",
        arity: 2,
        flags: &[Flag::Readonly, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Returns the value of a key.",
        since: "1.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    Ok(Reply::from(transaction.get(&args[0])?.map(|record| record.value)))
}

//! `GETSET key value`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static GETSET: Command = Command {
    id: 9,
    kind: Kind::Write,
    facts: Facts {
        name: "getset",
        arity: 3,
        flags: &[Flag::Write, Flag::Denyoom, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Stores a value under a key and returns the one before.",
        since: "1.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let old = transaction.get(&args[0])?;
    transaction.put(&args[0], args[1].clone(), 0)?;
    Ok(Reply::from(old.map(|record| record.value)))
}

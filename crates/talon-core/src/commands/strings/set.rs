//! `SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static SET: Command = Command {
    id: 2,
    kind: Kind::Write,
    facts: Facts {
        name: "set",
        arity: -3,
        flags: &[Flag::Write, Flag::Denyoom],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Sets the string value of a key, ignoring its type. The key is created if it doesn't exist.",
        since: "1.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    transaction.put(&args[0], args[1].clone(), 0)?;
    Ok(Reply::Ok)
}

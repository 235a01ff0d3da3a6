//! `PERSIST key`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static PERSIST: Command = Command {
    id: 113,
    kind: Kind::Write,
    facts: Facts {
        name: "persist",
        arity: 2,
        flags: &[Flag::Write, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::Generic,
        summary: "Lets a key stay for ever.",
        since: "2.2.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    match transaction.get(&args[0])? {
        Some(record) if record.expire_at_ms != 0 => {
            transaction.put(&args[0], record.value, 0)?;
            Ok(Reply::flag(true))
        }
        _ => Ok(Reply::flag(false)),
    }
}

//! `POSITION`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static POSITION: Command = Command {
    id: 205,
    kind: Kind::Read,
    facts: Facts {
        name: "position",
        arity: 1,
        flags: &[Flag::Readonly, Flag::Fast],
        keys: KeySpec::NONE,
        group: Group::Talon,
        summary: "Returns which state a read is answered from: the index of its last log entry, and its clock T in Unix milliseconds.",
        since: "0.1.0",
        complexity: "O(1)",
    },
    execute,
};

/// Within `MULTI` it speaks for all reads of that transaction.
fn execute(transaction: &mut Transaction<'_>, _args: &[Bytes]) -> Result<Reply, Error> {
    let number = |number: u64| Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    Ok(Reply::Array(vec![number(transaction.position()), number(transaction.clock_ms())]))
}

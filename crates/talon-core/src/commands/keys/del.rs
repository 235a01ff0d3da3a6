//! `DEL key [key ...]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static DEL: Command = Command {
    id: 100,
    kind: Kind::Write,
    facts: Facts {
        name: "del",
        arity: -2,
        flags: &[Flag::Write],
        keys: KeySpec::ALL,
        group: Group::Generic,
        summary: "Removes keys.",
        since: "1.0.0",
        complexity: "O(N) where N is the number of keys that will be removed.",
    },
    execute,
};

pub(super) fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let mut removed = 0;
    for key in args {
        removed += i64::from(transaction.delete(key)?);
    }
    Ok(Reply::Integer(removed))
}

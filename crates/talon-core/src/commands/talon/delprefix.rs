//! `DELPREFIX prefix`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::{Transaction, prefix_end};

/// The row.
pub static DELPREFIX: Command = Command {
    id: 200,
    kind: Kind::Write,
    facts: Facts {
        name: "delprefix",
        arity: 2,
        flags: &[Flag::Write],
        keys: KeySpec::FIRST,
        group: Group::Talon,
        summary: "Removes all keys that begin with a prefix, all at once, and returns how many there were.",
        since: "0.1.0",
        complexity: "O(N) where N is the number of keys that begin with the prefix.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let removed = transaction.delete_range(&args[0], prefix_end(&args[0]).as_deref())?;
    Ok(Reply::Integer(removed as i64))
}

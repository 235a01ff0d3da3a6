//! `COUNTPREFIX prefix`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::range::count;
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static COUNTPREFIX: Command = Command {
    id: 201,
    kind: Kind::Read,
    facts: Facts {
        name: "countprefix",
        arity: 2,
        flags: &[Flag::Readonly],
        keys: KeySpec::FIRST,
        group: Group::Talon,
        summary: "Counts the keys that begin with a prefix.",
        since: "0.1.0",
        complexity: "O(N) where N is the number of keys that begin with the prefix.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    count(transaction, &args[0])
}

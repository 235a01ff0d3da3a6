//! `INCR key`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::strings::counter::add;
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static INCR: Command = Command {
    id: 17,
    kind: Kind::Write,
    facts: Facts {
        name: "incr",
        arity: 2,
        flags: &[Flag::Write, Flag::Denyoom, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Adds one to the integer under a key; a missing key counts as 0.",
        since: "1.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    add(transaction, &args[0], 1)
}

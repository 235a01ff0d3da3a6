//! `INCRBY key increment`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::strings::counter::add;
use crate::error::Error;
use crate::numbers::integer;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static INCRBY: Command = Command {
    id: 18,
    kind: Kind::Write,
    facts: Facts {
        name: "incrby",
        arity: 3,
        flags: &[Flag::Write, Flag::Denyoom, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Adds an integer to the one under a key; a missing key counts as 0.",
        since: "1.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    add(transaction, &args[0], integer(&args[1])?)
}

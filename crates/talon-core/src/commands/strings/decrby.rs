//! `DECRBY key decrement`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::strings::counter::add;
use crate::error::{Error, Refusal};
use crate::numbers::integer;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static DECRBY: Command = Command {
    id: 20,
    kind: Kind::Write,
    facts: Facts {
        name: "decrby",
        arity: 3,
        flags: &[Flag::Write, Flag::Denyoom, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Takes an integer from the one under a key; a missing key counts as 0.",
        since: "1.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let decrement = integer(&args[1])?;
    let increment = decrement.checked_neg().ok_or(Refusal::new("ERR decrement would overflow"))?;
    add(transaction, &args[0], increment)
}

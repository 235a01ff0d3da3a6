//! `RENAMENX key newkey`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::keys::rename::rename;
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static RENAMENX: Command = Command {
    id: 115,
    kind: Kind::Write,
    facts: Facts {
        name: "renamenx",
        arity: 3,
        flags: &[Flag::Write, Flag::Fast],
        keys: KeySpec::FIRST_TWO,
        group: Group::Generic,
        summary: "Gives a key another name, unless that is taken.",
        since: "1.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    Ok(Reply::flag(rename(transaction, &args[0], &args[1], false)?))
}

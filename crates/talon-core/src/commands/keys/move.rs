//! `MOVE key database`: refused as by a Redis server with one database.

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::keys::database::{SAME_OBJECT, check, index};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static MOVE: Command = Command {
    id: 123,
    kind: Kind::Write,
    facts: Facts {
        name: "move",
        arity: 3,
        flags: &[Flag::Write, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::Generic,
        summary: "Is always refused: there is one database, and so no other one to move a key to.",
        since: "1.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(_transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    check(index(&args[1])?)?;
    Err(SAME_OBJECT.into())
}

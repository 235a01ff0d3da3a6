//! `talon.mark`: changes nothing; a place in the log at which every node computes its state hash.

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static MARK: Command = Command {
    id: 901,
    kind: Kind::Internal,
    facts: Facts {
        name: "talon.mark",
        arity: 1,
        flags: &[Flag::Write, Flag::Fast],
        keys: KeySpec::NONE,
        group: Group::Talon,
        summary: "A mark in the log.",
        since: "0.1.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(_transaction: &mut Transaction<'_>, _args: &[Bytes]) -> Result<Reply, Error> {
    Ok(Reply::Ok)
}

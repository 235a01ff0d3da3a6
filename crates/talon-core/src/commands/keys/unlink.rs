//! `UNLINK key [key ...]`: DEL under another name, for nothing here is freed slowly.

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static UNLINK: Command = Command {
    id: 101,
    kind: Kind::Write,
    facts: Facts {
        name: "unlink",
        arity: -2,
        flags: &[Flag::Write, Flag::Fast],
        keys: KeySpec::ALL,
        group: Group::Generic,
        summary: "Removes keys, as DEL does.",
        since: "4.0.0",
        complexity: "O(1) for each key removed.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    super::del::execute(transaction, args)
}

//! `PEXPIRETIME key`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::keys::expiry::show;
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static PEXPIRETIME: Command = Command {
    id: 112,
    kind: Kind::Read,
    facts: Facts {
        name: "pexpiretime",
        arity: 2,
        flags: &[Flag::Readonly, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::Generic,
        summary: "Returns the Unix time in milliseconds at which a key ends.",
        since: "7.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    show(transaction, &args[0], |expiry| expiry.at_ms)
}

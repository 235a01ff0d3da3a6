//! `TTL key`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::keys::expiry::{seconds, show};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static TTL: Command = Command {
    id: 109,
    kind: Kind::Read,
    facts: Facts {
        name: "ttl",
        arity: 2,
        flags: &[Flag::Readonly, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::Generic,
        summary: "Returns how many seconds a key still has.",
        since: "1.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    show(transaction, &args[0], |expiry| seconds(expiry.left_ms))
}

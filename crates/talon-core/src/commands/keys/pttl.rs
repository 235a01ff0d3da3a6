//! `PTTL key`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::keys::expiry::show;
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static PTTL: Command = Command {
    id: 110,
    kind: Kind::Read,
    facts: Facts {
        name: "pttl",
        arity: 2,
        flags: &[Flag::Readonly, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::Generic,
        summary: "Returns how many milliseconds a key still has.",
        since: "2.6.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    show(transaction, &args[0], |expiry| expiry.left_ms)
}

//! `EXPIREAT key unix-seconds [NX | XX | GT | LT]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::deadline::{Base, Unit};
use crate::commands::keys::expiry::change;
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static EXPIREAT: Command = Command {
    id: 107,
    kind: Kind::Write,
    facts: Facts {
        name: "expireat",
        arity: -3,
        flags: &[Flag::Write, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::Generic,
        summary: "Lets a key end at a Unix time in seconds.",
        since: "1.2.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    change(transaction, args, Unit::Seconds, Base::Epoch, "expireat")
}

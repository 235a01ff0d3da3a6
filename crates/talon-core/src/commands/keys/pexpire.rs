//! `PEXPIRE key milliseconds [NX | XX | GT | LT]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::deadline::{Base, Unit};
use crate::commands::keys::expiry::change;
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static PEXPIRE: Command = Command {
    id: 106,
    kind: Kind::Write,
    facts: Facts {
        name: "pexpire",
        arity: -3,
        flags: &[Flag::Write, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::Generic,
        summary: "Lets a key end after so many milliseconds.",
        since: "2.6.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    change(transaction, args, Unit::Milliseconds, Base::Now, "pexpire")
}

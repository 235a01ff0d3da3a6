//! `PSETEX key milliseconds value`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::deadline::{Base, Unit, deadline_ms};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static PSETEX: Command = Command {
    id: 8,
    kind: Kind::Write,
    facts: Facts {
        name: "psetex",
        arity: 4,
        flags: &[Flag::Write, Flag::Denyoom],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Stores a value under a key that ends after so many milliseconds.",
        since: "2.6.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let expire_at_ms = deadline_ms(transaction, &args[1], Unit::Milliseconds, Base::Now, "psetex")?;
    transaction.put(&args[0], args[2].clone(), expire_at_ms)?;
    Ok(Reply::Ok)
}

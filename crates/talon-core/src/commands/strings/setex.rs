//! `SETEX key seconds value`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::deadline::{Base, Unit, deadline_ms};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static SETEX: Command = Command {
    id: 7,
    kind: Kind::Write,
    facts: Facts {
        name: "setex",
        arity: 4,
        flags: &[Flag::Write, Flag::Denyoom],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Stores a value under a key that ends after so many seconds.",
        since: "2.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let expire_at_ms = deadline_ms(transaction, &args[1], Unit::Seconds, Base::Now, "setex")?;
    transaction.put(&args[0], args[2].clone(), expire_at_ms)?;
    Ok(Reply::Ok)
}

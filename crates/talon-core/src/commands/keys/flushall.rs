//! `FLUSHALL [ASYNC | SYNC]`: at once in either case, and atomic.

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::{Error, SYNTAX};
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static FLUSHALL: Command = Command {
    id: 121,
    kind: Kind::Write,
    facts: Facts {
        name: "flushall",
        arity: -1,
        flags: &[Flag::Write],
        keys: KeySpec::NONE,
        group: Group::Server,
        summary: "Removes all keys.",
        since: "1.0.0",
        complexity: "O(N) where N is the number of keys.",
    },
    execute,
};

pub(super) fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    match args {
        [] => {}
        [mode] if mode.eq_ignore_ascii_case(b"SYNC") || mode.eq_ignore_ascii_case(b"ASYNC") => {}
        _ => return Err(SYNTAX.into()),
    }
    transaction.delete_all()?;
    Ok(Reply::Ok)
}

//! `FLUSHDB [ASYNC | SYNC]`: FLUSHALL under another name, for there is one database only.

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static FLUSHDB: Command = Command {
    id: 122,
    kind: Kind::Write,
    facts: Facts {
        name: "flushdb",
        arity: -1,
        flags: &[Flag::Write],
        keys: KeySpec::NONE,
        group: Group::Server,
        summary: "Removes all keys, as FLUSHALL does.",
        since: "1.0.0",
        complexity: "O(N) where N is the number of keys.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    super::flushall::execute(transaction, args)
}

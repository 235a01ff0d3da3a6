//! `DBSIZE`: counts by a scan, in constant memory; nothing is kept per key, so that writes cost nothing for it.

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::range::count;
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static DBSIZE: Command = Command {
    id: 120,
    kind: Kind::Read,
    facts: Facts {
        name: "dbsize",
        arity: 1,
        flags: &[Flag::Readonly, Flag::Fast],
        keys: KeySpec::NONE,
        group: Group::Server,
        summary: "Returns the number of keys that have not ended.",
        since: "1.0.0",
        complexity: "O(N) where N is the number of keys.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, _args: &[Bytes]) -> Result<Reply, Error> {
    count(transaction, b"")
}

//! `SCANPREFIX prefix offset limit`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::range::{list, natural, pair};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static SCANPREFIX: Command = Command {
    id: 203,
    kind: Kind::Read,
    facts: Facts {
        name: "scanprefix",
        arity: 4,
        flags: &[Flag::Readonly],
        keys: KeySpec::FIRST,
        group: Group::Talon,
        summary: "Returns keys that begin with a prefix, in order, each in a pair with its value.",
        since: "0.1.0",
        complexity: "O(N+M) where N is the offset and M the number of keys returned.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let (offset, limit) = (natural(&args[1])?, natural(&args[2])?);
    list(transaction, &args[0], offset, limit, |key, record| Some(pair(key, record)))
}

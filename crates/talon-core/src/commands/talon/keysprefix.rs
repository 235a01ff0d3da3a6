//! `KEYSPREFIX prefix [offset limit]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::range::{list, natural};
use crate::error::{Error, SYNTAX};
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static KEYSPREFIX: Command = Command {
    id: 202,
    kind: Kind::Read,
    facts: Facts {
        name: "keysprefix",
        arity: -2,
        flags: &[Flag::Readonly],
        keys: KeySpec::FIRST,
        group: Group::Talon,
        summary: "Returns the keys that begin with a prefix, in order; some of them with an offset and a limit.",
        since: "0.1.0",
        complexity: "O(N+M) where N is the offset and M the number of keys returned.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let (offset, limit) = match args {
        [_] => (0, usize::MAX),
        [_, offset, limit] => (natural(offset)?, natural(limit)?),
        _ => return Err(SYNTAX.into()),
    };
    list(transaction, &args[0], offset, limit, |key, _| Some(Reply::Bulk(key.clone())))
}

//! `EXISTS key [key ...]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static EXISTS: Command = Command {
    id: 102,
    kind: Kind::Read,
    facts: Facts {
        name: "exists",
        arity: -2,
        flags: &[Flag::Readonly, Flag::Fast],
        keys: KeySpec::ALL,
        group: Group::Generic,
        summary: "Counts which of the keys exist; one that is named twice counts twice.",
        since: "1.0.0",
        complexity: "O(N) where N is the number of keys to check.",
    },
    execute,
};

pub(super) fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let keys: Vec<&[u8]> = args.iter().map(|key| &key[..]).collect();
    let found = transaction.get_many(&keys)?.iter().flatten().count();
    Ok(Reply::Integer(found as i64))
}

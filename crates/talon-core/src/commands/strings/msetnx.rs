//! `MSETNX key value [key value ...]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::strings::mset::{check_pairs, put_pairs};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static MSETNX: Command = Command {
    id: 5,
    kind: Kind::Write,
    facts: Facts {
        name: "msetnx",
        arity: -3,
        flags: &[Flag::Write, Flag::Denyoom],
        keys: KeySpec::PAIRS,
        group: Group::String,
        summary: "Stores values under several keys, unless one of the keys exists.",
        since: "1.0.1",
        complexity: "O(N) where N is the number of keys to set.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    check_pairs("msetnx", args)?;
    for [key, _] in args.as_chunks::<2>().0 {
        if transaction.exists(key)? {
            return Ok(Reply::flag(false));
        }
    }
    put_pairs(transaction, args)?;
    Ok(Reply::flag(true))
}

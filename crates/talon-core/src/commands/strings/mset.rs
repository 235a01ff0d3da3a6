//! `MSET key value [key value ...]`

use bytes::Bytes;

use crate::command::wrong_arity;
use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::{Error, Refusal};
use crate::reply::Reply;
use crate::transaction::{Transaction, check_sizes};

/// The row.
pub static MSET: Command = Command {
    id: 4,
    kind: Kind::Write,
    facts: Facts {
        name: "mset",
        arity: -3,
        flags: &[Flag::Write, Flag::Denyoom],
        keys: KeySpec::PAIRS,
        group: Group::String,
        summary: "Stores values under several keys, all at once.",
        since: "1.0.1",
        complexity: "O(N) where N is the number of keys to set.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    check_pairs("mset", args)?;
    put_pairs(transaction, args)?;
    Ok(Reply::Ok)
}

/// Refuses if a key has no value, or anything is too large: no pair may be written before it is known that all can be.
pub(super) fn check_pairs(name: &str, args: &[Bytes]) -> Result<(), Refusal> {
    let (pairs, rest) = args.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(wrong_arity(name));
    }
    pairs.iter().try_for_each(|[key, value]| check_sizes(key, value.len()))
}

/// Stores pairs that were checked.
pub(super) fn put_pairs(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<(), Error> {
    args.as_chunks::<2>().0.iter().try_for_each(|[key, value]| transaction.put(key, value.clone(), 0))
}

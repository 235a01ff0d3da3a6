//! `DELPREFIX prefix [LIMIT count]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::range::natural;
use crate::error::{Error, SYNTAX};
use crate::reply::Reply;
use crate::transaction::{Transaction, prefix_end};

/// The row.
pub static DELPREFIX: Command = Command {
    id: 200,
    kind: Kind::Write,
    facts: Facts {
        name: "delprefix",
        arity: -2,
        flags: &[Flag::Write],
        keys: KeySpec::FIRST,
        group: Group::Talon,
        summary: "Removes the keys that begin with a prefix, or the first of them up to a limit, all at once, and returns how many.",
        since: "0.1.0",
        complexity: "O(N) where N is the number of keys that are removed.",
    },
    execute,
};

/// The limit counts living keys. Those that have ended and lie before the last one that goes, go too.
fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let (prefix, limit) = match args {
        [prefix] => (prefix, None),
        [prefix, option, limit] if option.eq_ignore_ascii_case(b"LIMIT") => (prefix, Some(natural(limit)?)),
        _ => return Err(SYNTAX.into()),
    };
    let mut until = prefix_end(prefix);
    if let Some(limit) = limit {
        if limit == 0 {
            return Ok(Reply::Integer(0));
        }
        let (mut keys, mut last) = (0, None);
        transaction.scan(prefix, until.as_deref(), |key, _| {
            keys += 1;
            last = (keys == limit).then(|| key.clone());
            last.is_none()
        })?;
        // The smallest key above the last one.
        until = last.map(|key| [&key[..], &[0]].concat()).or(until);
    }
    let removed = transaction.delete_range(prefix, until.as_deref())?;
    Ok(Reply::Integer(removed as i64))
}

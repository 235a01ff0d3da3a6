//! `GETRANGE key start end`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::numbers::integer;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static GETRANGE: Command = Command {
    id: 14,
    kind: Kind::Read,
    facts: Facts {
        name: "getrange",
        arity: 4,
        flags: &[Flag::Readonly],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Returns a part of the value of a key; places below 0 count from the end.",
        since: "2.4.0",
        complexity: "O(N) where N is the length of the returned string.",
    },
    execute,
};

pub(super) fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let (start, end) = (integer(&args[1])?, integer(&args[2])?);
    let value = transaction.get(&args[0])?.map(|record| record.value).unwrap_or_default();
    Ok(Reply::Bulk(part(&value, start, end)))
}

/// The bytes from `start` to `end`, both included, both counted from the end if they are below 0.
fn part(value: &Bytes, start: i64, end: i64) -> Bytes {
    let length = value.len() as i64;
    let place = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    // Two places before the beginning would both be moved to it.
    if start < 0 && end < 0 && start > end {
        return Bytes::new();
    }
    let (start, end) = (place(start).max(0), place(end).max(0).min(length - 1));
    if start > end { Bytes::new() } else { value.slice(start as usize..=end as usize) }
}

//! `APPEND key value`

use bytes::{BufMut, Bytes, BytesMut};

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::{Error, Refusal};
use crate::limits::VALUE_BYTES_MAX;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static APPEND: Command = Command {
    id: 12,
    kind: Kind::Write,
    facts: Facts {
        name: "append",
        arity: 3,
        flags: &[Flag::Write, Flag::Denyoom, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Adds bytes at the end of the value of a key, which is made if it is missing.",
        since: "2.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let (key, tail) = (&args[0], &args[1]);
    let Some(record) = transaction.get(key)? else {
        transaction.put(key, tail.clone(), 0)?;
        return Ok(Reply::Integer(tail.len() as i64));
    };
    let length = checked_length(record.value.len(), tail.len())?;
    let mut value = BytesMut::with_capacity(length);
    value.put_slice(&record.value);
    value.put_slice(tail);
    transaction.put(key, value.freeze(), record.expire_at_ms)?;
    Ok(Reply::Integer(length as i64))
}

/// The length of a value after something was written into it at `offset`.
///
/// # Errors
/// Redis's words for a value that grows too large; the limit is Talon's own.
pub(super) fn checked_length(offset: usize, written: usize) -> Result<usize, Refusal> {
    match offset.checked_add(written) {
        Some(length) if length <= VALUE_BYTES_MAX => Ok(length),
        _ => Err(Refusal::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)")),
    }
}

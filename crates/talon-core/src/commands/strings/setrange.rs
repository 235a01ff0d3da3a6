//! `SETRANGE key offset value`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::grow::grown;
use crate::commands::strings::append::checked_length;
use crate::error::{Error, Refusal};
use crate::numbers::integer;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static SETRANGE: Command = Command {
    id: 16,
    kind: Kind::Write,
    facts: Facts {
        name: "setrange",
        arity: 4,
        flags: &[Flag::Write, Flag::Denyoom],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Writes over a part of the value of a key, which grows with zero bytes if it is too short.",
        since: "2.2.0",
        complexity: "O(N) where N is the length of the value afterwards.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let (key, part) = (&args[0], &args[2]);
    let offset = integer(&args[1])?;
    let offset = usize::try_from(offset).map_err(|_| Refusal::new("ERR offset is out of range"))?;
    let record = transaction.get(key)?;
    let (old, expire_at_ms) = record.map_or((Bytes::new(), 0), |record| (record.value, record.expire_at_ms));
    if part.is_empty() {
        return Ok(Reply::Integer(old.len() as i64));
    }
    let end = checked_length(offset, part.len())?;
    let mut value = grown(&old, end);
    value[offset..end].copy_from_slice(part);
    let length = value.len();
    transaction.put(key, value.freeze(), expire_at_ms)?;
    Ok(Reply::Integer(length as i64))
}

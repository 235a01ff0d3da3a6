//! `MEMORY USAGE key [SAMPLES count]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::{Error, SYNTAX};
use crate::numbers::integer;
use crate::reply::Reply;
use crate::transaction::Transaction;
use crate::value::HEADER_BYTES;

/// The row.
pub static MEMORY_USAGE: Command = Command {
    id: 130,
    kind: Kind::Read,
    facts: Facts {
        name: "memory|usage",
        arity: -3,
        flags: &[Flag::Readonly],
        keys: KeySpec::SECOND,
        group: Group::Server,
        summary: "Returns how many bytes a key takes with its value, its header and its row in the expiry index.",
        since: "4.0.0",
        complexity: "O(1)",
    },
    execute,
};

/// The key, the value and its header; with an expiry the row of the index too, which is the expiry and the key. What the
/// storage takes beside, or saves by compressing, is not in it. `SAMPLES` is read and has no meaning for strings.
fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let (key, mut options) = (&args[1], &args[2..]);
    while let [option, rest @ ..] = options {
        let [count, rest @ ..] = rest else { return Err(SYNTAX.into()) };
        if !option.eq_ignore_ascii_case(b"SAMPLES") || integer(count)? < 0 {
            return Err(SYNTAX.into());
        }
        options = rest;
    }
    let Some(record) = transaction.get(key)? else { return Ok(Reply::Null) };
    let row = key.len() + HEADER_BYTES + record.value.len();
    let index_row = if record.expire_at_ms == 0 { 0 } else { HEADER_BYTES + key.len() };
    Ok(Reply::Integer((row + index_row) as i64))
}

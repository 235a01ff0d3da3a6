//! `OBJECT ENCODING key`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::numbers::parse_integer;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static OBJECT_ENCODING: Command = Command {
    id: 125,
    kind: Kind::Read,
    facts: Facts {
        name: "object|encoding",
        arity: 3,
        flags: &[Flag::Readonly],
        keys: KeySpec::SECOND,
        group: Group::Generic,
        summary: "Returns how Redis would hold the value of a key: int, embstr or raw.",
        since: "2.2.3",
        complexity: "O(1)",
    },
    execute,
};

/// The longest value that Redis holds in one piece with its header.
const EMBEDDED_BYTES_MAX: usize = 44;

/// Talon holds all values alike; the answer is what Redis picks for such a value when it is set as a whole.
fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let Some(record) = transaction.get(&args[1])? else { return Ok(Reply::Null) };
    Ok(Reply::bulk(if parse_integer(&record.value).is_some() {
        "int"
    } else if record.value.len() <= EMBEDDED_BYTES_MAX {
        "embstr"
    } else {
        "raw"
    }))
}

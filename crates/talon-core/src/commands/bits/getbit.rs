//! `GETBIT key offset`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::bits::place::{bit_at, bit_offset};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static GETBIT: Command = Command {
    id: 24,
    kind: Kind::Read,
    facts: Facts {
        name: "getbit",
        arity: 3,
        flags: &[Flag::Readonly, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::Bitmap,
        summary: "Returns one bit of the value of a key; bits beyond its end are 0.",
        since: "2.2.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let offset = bit_offset(&args[1])?;
    let value = transaction.get(&args[0])?.map(|record| record.value).unwrap_or_default();
    Ok(Reply::flag(bit_at(&value, offset)))
}

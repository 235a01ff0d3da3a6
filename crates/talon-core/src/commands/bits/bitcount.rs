//! `BITCOUNT key [start end [BYTE | BIT]]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::bits::part::{Unit, bits_of, count_ones};
use crate::error::{Error, SYNTAX};
use crate::numbers::integer;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static BITCOUNT: Command = Command {
    id: 25,
    kind: Kind::Read,
    facts: Facts {
        name: "bitcount",
        arity: -2,
        flags: &[Flag::Readonly],
        keys: KeySpec::FIRST,
        group: Group::Bitmap,
        summary: "Counts the bits that are set in the value of a key, or in a part of it.",
        since: "2.6.0",
        complexity: "O(N) where N is the length of the part.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    // The key comes first: a missing one is answered before bad arguments are noticed, as in Redis 7.0.
    let Some(record) = transaction.get(&args[0])? else { return Ok(Reply::Integer(0)) };
    let value = record.value;
    let (start, end, unit) = match &args[1..] {
        [] => (0, -1, None),
        [start, end] => (integer(start)?, integer(end)?, None),
        [start, end, unit] => (integer(start)?, integer(end)?, Some(unit)),
        _ => return Err(SYNTAX.into()),
    };
    // Two places before the beginning would both be moved to it. As in Redis, this comes before the unit is read.
    if start < 0 && end < 0 && start > end {
        return Ok(Reply::Integer(0));
    }
    let unit = unit.map_or(Ok(Unit::Byte), |unit| Unit::parse(unit))?;
    let ones = bits_of(&value, start, end, unit).map_or(0, |bits| count_ones(&value, bits));
    Ok(Reply::Integer(ones as i64))
}

//! `BITPOS key 0|1 [start [end [BYTE | BIT]]]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::bits::part::{Unit, bits_of, first_bit};
use crate::error::{Error, Refusal, SYNTAX};
use crate::numbers::integer;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static BITPOS: Command = Command {
    id: 26,
    kind: Kind::Read,
    facts: Facts {
        name: "bitpos",
        arity: -3,
        flags: &[Flag::Readonly],
        keys: KeySpec::FIRST,
        group: Group::Bitmap,
        summary: "Finds the first bit that is set, or clear, in the value of a key, or in a part of it.",
        since: "2.8.7",
        complexity: "O(N) where N is the length of the part.",
    },
    execute,
};

/// What is answered when there is none.
const NONE: Reply = Reply::Integer(-1);

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let bit = match integer(&args[1])? {
        0 => false,
        1 => true,
        _ => return Err(Refusal::new("ERR The bit argument must be 1 or 0.").into()),
    };
    // A missing key is zero bits without end, whatever the other arguments are, as in Redis 7.0.
    let Some(record) = transaction.get(&args[0])? else { return Ok(if bit { NONE } else { Reply::Integer(0) }) };
    let value = record.value;
    // In the order in which Redis finds fault with them.
    let (start, end, unit) = match &args[2..] {
        [] => (0, None, Unit::Byte),
        [start] => (integer(start)?, None, Unit::Byte),
        [start, end] => (integer(start)?, Some(integer(end)?), Unit::Byte),
        [start, end, unit] => {
            let (start, unit) = (integer(start)?, Unit::parse(unit)?);
            (start, Some(integer(end)?), unit)
        }
        _ => return Err(SYNTAX.into()),
    };
    let Some(bits) = bits_of(&value, start, end.unwrap_or(-1), unit) else { return Ok(NONE) };
    Ok(match first_bit(&value, bit, bits) {
        Some(place) => Reply::Integer(place as i64),
        // Unless the client named the end, zero bits follow the value.
        None if !bit && end.is_none() => Reply::Integer(value.len() as i64 * 8),
        None => NONE,
    })
}

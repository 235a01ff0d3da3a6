//! `SETBIT key offset 0|1`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::bits::place::{bit_at, bit_offset};
use crate::commands::grow::grown;
use crate::error::{Error, Refusal};
use crate::numbers::parse_integer;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static SETBIT: Command = Command {
    id: 23,
    kind: Kind::Write,
    facts: Facts {
        name: "setbit",
        arity: 4,
        flags: &[Flag::Write, Flag::Denyoom],
        keys: KeySpec::FIRST,
        group: Group::Bitmap,
        summary: "Sets or clears one bit of the value of a key, which grows with zero bytes if it is too short.",
        since: "2.2.0",
        complexity: "O(N) where N is the length of the value afterwards.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let (key, offset) = (&args[0], bit_offset(&args[1])?);
    let bit = match parse_integer(&args[2]) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(Refusal::new("ERR bit is not an integer or out of range").into()),
    };
    let (old, expire_at_ms) =
        transaction.get(key)?.map_or((Bytes::new(), 0), |record| (record.value, record.expire_at_ms));
    let was = bit_at(&old, offset);
    let place = offset / 8;
    // As in Redis, what changes nothing is no write.
    if was != bit || old.len() <= place {
        let mut value = grown(&old, place + 1);
        let mask = 0x80 >> (offset % 8);
        if bit {
            value[place] |= mask
        } else {
            value[place] &= !mask
        }
        transaction.put(key, value.freeze(), expire_at_ms)?;
    }
    Ok(Reply::flag(was))
}

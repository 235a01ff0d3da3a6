//! `BITFIELD key [GET type offset | [OVERFLOW WRAP | SAT | FAIL] SET type offset value | INCRBY type offset increment] ...`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::bits::fields::{Action, parse, written_bytes};
use crate::commands::grow::grown;
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static BITFIELD: Command = Command {
    id: 28,
    kind: Kind::Write,
    facts: Facts {
        name: "bitfield",
        arity: -2,
        flags: &[Flag::Write, Flag::Denyoom],
        keys: KeySpec::FIRST,
        group: Group::Bitmap,
        summary: "Reads and changes integers of any width at any bit of the value of a key, which grows with zero bytes if it is too short.",
        since: "3.2.0",
        complexity: "O(N) where N is the length of the value afterwards.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let key = &args[0];
    let operations = parse(&args[1..])?;
    let (old, expire_at_ms) =
        transaction.get(key)?.map_or((Bytes::new(), 0), |record| (record.value, record.expire_at_ms));
    let Some(length) = written_bytes(&operations)? else {
        return Ok(Reply::Array(operations.iter().map(|operation| operation.get(&old)).collect()));
    };
    // As in Redis, the value grows even if all overflow and fail; else what changes nothing is no write.
    let mut changed = old.len() < length;
    let mut value = grown(&old, length);
    let mut replies = Vec::with_capacity(operations.len());
    for operation in &operations {
        replies.push(match operation.action {
            Action::Get => operation.get(&value),
            Action::Set(_) | Action::Add(_) => operation.change(&mut value, &mut changed),
        });
    }
    if changed {
        transaction.put(key, value.freeze(), expire_at_ms)?;
    }
    Ok(Reply::Array(replies))
}

//! `talon.keyspace`: what `INFO` says of the keys, in one scan.

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static KEYSPACE: Command = Command {
    id: 903,
    kind: Kind::InternalRead,
    facts: Facts {
        name: "talon.keyspace",
        arity: 1,
        flags: &[Flag::Readonly],
        keys: KeySpec::NONE,
        group: Group::Talon,
        summary: "Counts the live keys and those of them that will end, with the average time they have left in milliseconds.",
        since: "0.1.0",
        complexity: "O(N) where N is the number of keys.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, _args: &[Bytes]) -> Result<Reply, Error> {
    let now_ms = transaction.now_ms();
    let (mut keys, mut ending, mut left_ms) = (0, 0, 0u128);
    transaction.scan(b"", None, |_, record| {
        keys += 1;
        if record.expire_at_ms > 0 {
            ending += 1;
            left_ms += u128::from(record.expire_at_ms.saturating_sub(now_ms));
        }
        true
    })?;
    let average_ms = i64::try_from(left_ms / u128::from(u64::max(ending, 1))).unwrap_or(i64::MAX);
    Ok(Reply::Array(vec![Reply::Integer(keys), Reply::Integer(ending as i64), Reply::Integer(average_ms)]))
}

//! `talon.purge up-to-ms keys-max`: removes keys that have ended.

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::range::natural;
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static PURGE: Command = Command {
    id: 900,
    kind: Kind::Internal,
    facts: Facts {
        name: "talon.purge",
        arity: 3,
        flags: &[Flag::Write],
        keys: KeySpec::NONE,
        group: Group::Talon,
        summary: "Removes keys that have ended, the earliest first, and returns how many.",
        since: "0.1.0",
        complexity: "O(N) where N is the number of keys removed.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let (up_to_ms, keys_max) = (natural(&args[0])?, natural(&args[1])?);
    let ended = transaction.ended_keys(up_to_ms as u64, keys_max)?;
    for key in &ended {
        transaction.delete(key)?;
    }
    Ok(Reply::Integer(ended.len() as i64))
}

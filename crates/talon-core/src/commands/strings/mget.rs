//! `MGET key [key ...]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::room::ReplyRoom;
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static MGET: Command = Command {
    id: 3,
    kind: Kind::Read,
    facts: Facts {
        name: "mget",
        arity: -2,
        flags: &[Flag::Readonly, Flag::Fast],
        keys: KeySpec::ALL,
        group: Group::String,
        summary: "Returns the values of several keys.",
        since: "1.0.0",
        complexity: "O(N) where N is the number of keys to retrieve.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let mut room = ReplyRoom::new();
    let keys: Vec<&[u8]> = args.iter().map(|key| &key[..]).collect();
    let records = transaction.get_many(&keys)?;
    for record in records.iter().flatten() {
        room.take(record.value.len())?;
    }
    Ok(Reply::Array(records.into_iter().map(|record| Reply::from(record.map(|record| record.value))).collect()))
}

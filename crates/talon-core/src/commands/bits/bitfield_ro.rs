//! `BITFIELD_RO key [GET type offset ...]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::bits::fields::{Action, parse};
use crate::error::{Error, Refusal};
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static BITFIELD_RO: Command = Command {
    id: 29,
    kind: Kind::Read,
    facts: Facts {
        name: "bitfield_ro",
        arity: -2,
        flags: &[Flag::Readonly, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::Bitmap,
        summary: "Reads integers of any width at any bit of the value of a key.",
        since: "6.0.0",
        complexity: "O(N) where N is the number of integers.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let operations = parse(&args[1..])?;
    if operations.iter().any(|operation| operation.action != Action::Get) {
        return Err(Refusal::new("ERR BITFIELD_RO only supports the GET subcommand").into());
    }
    let value = transaction.get(&args[0])?.map(|record| record.value).unwrap_or_default();
    Ok(Reply::Array(operations.iter().map(|operation| operation.get(&value)).collect()))
}

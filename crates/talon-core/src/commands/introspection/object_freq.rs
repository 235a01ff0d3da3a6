//! `OBJECT FREQ key`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::{Error, Refusal};
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static OBJECT_FREQ: Command = Command {
    id: 126,
    kind: Kind::Read,
    facts: Facts {
        name: "object|freq",
        arity: 3,
        flags: &[Flag::Readonly],
        keys: KeySpec::SECOND,
        group: Group::Generic,
        summary: "Is refused, as by Redis without an LFU policy: no access counts are kept.",
        since: "4.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    if !transaction.exists(&args[1])? {
        return Ok(Reply::Null);
    }
    Err(Refusal::new(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
         between policies at runtime LRU and LFU data will take some time to adjust.",
    )
    .into())
}

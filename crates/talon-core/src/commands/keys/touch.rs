//! `TOUCH key [key ...]`: EXISTS under another name, for Talon keeps no access times.

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static TOUCH: Command = Command {
    id: 103,
    kind: Kind::Read,
    facts: Facts {
        name: "touch",
        arity: -2,
        flags: &[Flag::Readonly, Flag::Fast],
        keys: KeySpec::ALL,
        group: Group::Generic,
        summary: "Counts which of the keys exist, as EXISTS does.",
        since: "3.2.1",
        complexity: "O(N) where N is the number of keys that will be touched.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    super::exists::execute(transaction, args)
}

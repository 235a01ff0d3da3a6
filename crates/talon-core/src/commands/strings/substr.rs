//! `SUBSTR key start end`: the old name of GETRANGE.

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static SUBSTR: Command = Command {
    id: 15,
    kind: Kind::Read,
    facts: Facts {
        name: "substr",
        arity: 4,
        flags: &[Flag::Readonly],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "The old name of GETRANGE.",
        since: "1.0.0",
        complexity: "O(N) where N is the length of the returned string.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    super::getrange::execute(transaction, args)
}

//! `KEYS pattern`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::range::list;
use crate::error::Error;
use crate::glob::Glob;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static KEYS: Command = Command {
    id: 118,
    kind: Kind::Read,
    facts: Facts {
        name: "keys",
        arity: 2,
        flags: &[Flag::Readonly],
        keys: KeySpec::NONE,
        group: Group::Generic,
        summary: "Returns all keys that match a pattern, in order.",
        since: "1.0.0",
        complexity: "O(N) where N is the number of keys that begin as the pattern does before its first wildcard.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let glob = Glob::new(&args[0]);
    let prefix = glob.literal_prefix();
    list(transaction, &prefix, 0, usize::MAX, |key, _| glob.matches(key).then(|| Reply::Bulk(key.clone())))
}

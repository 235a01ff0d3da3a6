//! `DISKUSAGE [PREFIX prefix]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::{Error, SYNTAX};
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static DISKUSAGE: Command = Command {
    id: 204,
    kind: Kind::Read,
    facts: Facts {
        name: "diskusage",
        arity: -1,
        flags: &[Flag::Readonly],
        keys: KeySpec::NONE,
        group: Group::Talon,
        summary: "Returns about how many bytes the keys take on disk, all or those that begin with a prefix.",
        since: "0.1.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let prefix: &[u8] = match args {
        [] => b"",
        [option, prefix] if option.eq_ignore_ascii_case(b"PREFIX") => prefix,
        _ => return Err(SYNTAX.into()),
    };
    let bytes = transaction.disk_bytes(prefix)?;
    Ok(Reply::Integer(i64::try_from(bytes).unwrap_or(i64::MAX)))
}

//! `RENAME key newkey`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::{Error, NO_SUCH_KEY};
use crate::reply::Reply;
use crate::transaction::{Transaction, check_sizes};

/// The row.
pub static RENAME: Command = Command {
    id: 114,
    kind: Kind::Write,
    facts: Facts {
        name: "rename",
        arity: 3,
        flags: &[Flag::Write],
        keys: KeySpec::FIRST_TWO,
        group: Group::Generic,
        summary: "Gives a key another name, over whatever had it; the TTL goes along.",
        since: "1.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    rename(transaction, &args[0], &args[1], true)?;
    Ok(Reply::Ok)
}

/// Whether the key was given its new name. It is not if the name is its own, or taken and `replace` is false.
pub(super) fn rename(
    transaction: &mut Transaction<'_>,
    key: &Bytes,
    new_key: &Bytes,
    replace: bool,
) -> Result<bool, Error> {
    let record = transaction.get(key)?.ok_or(NO_SUCH_KEY)?;
    if key == new_key || (!replace && transaction.exists(new_key)?) {
        return Ok(false);
    }
    check_sizes(new_key, record.value.len())?;
    transaction.delete(key)?;
    transaction.put(new_key, record.value, record.expire_at_ms)?;
    Ok(true)
}

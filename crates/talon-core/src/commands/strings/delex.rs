//! `DELEX key [IFEQ comparison | IFNE comparison]`

use bytes::Bytes;

use crate::command::wrong_arity;
use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::strings::options::Condition;
use crate::error::{Error, SYNTAX};
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static DELEX: Command = Command {
    id: 30,
    kind: Kind::Write,
    facts: Facts {
        name: "delex",
        arity: -2,
        flags: &[Flag::Write, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Removes a key, if wished only when it has a given value, or another one.",
        since: "8.4.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let key = &args[0];
    let allowed = match args {
        [_] => true,
        [_, name, value] => {
            let condition = Condition::comparison(name, value).ok_or(SYNTAX)?;
            transaction.get(key)?.is_some_and(|record| condition.allows(Some(&record)))
        }
        _ => return Err(wrong_arity("delex").into()),
    };
    Ok(Reply::flag(allowed && transaction.delete(key)?))
}

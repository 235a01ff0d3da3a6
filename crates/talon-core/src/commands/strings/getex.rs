//! `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::strings::options::{Expiry, Form, Options};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static GETEX: Command = Command {
    id: 10,
    kind: Kind::Write,
    facts: Facts {
        name: "getex",
        arity: -2,
        flags: &[Flag::Write, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Returns the value of a key and changes when the key ends.",
        since: "6.2.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let key = &args[0];
    let options = Options::parse(&args[1..], Form::Getex)?;
    // The key comes first: a missing one is answered before a bad time is noticed, as in Redis.
    let Some(record) = transaction.get(key)? else { return Ok(Reply::Null) };
    let value = record.value.clone();
    match options.expiry.deadline_ms(transaction, "getex")? {
        Some(expire_at_ms) if expire_at_ms <= transaction.clock_ms() => {
            transaction.delete(key)?;
        }
        Some(expire_at_ms) => transaction.put(key, record.value, expire_at_ms)?,
        None if options.expiry == Expiry::Persist && record.expire_at_ms != 0 => {
            transaction.put(key, record.value, 0)?
        }
        None => {}
    }
    Ok(Reply::Bulk(value))
}

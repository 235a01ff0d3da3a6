//! `COPY source destination [DB 0] [REPLACE]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::keys::database::{SAME_OBJECT, check, index};
use crate::error::{Error, Refusal, SYNTAX};
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static COPY: Command = Command {
    id: 116,
    kind: Kind::Write,
    facts: Facts {
        name: "copy",
        arity: -3,
        flags: &[Flag::Write, Flag::Denyoom],
        keys: KeySpec::FIRST_TWO,
        group: Group::Generic,
        summary: "Copies a key with its value and TTL.",
        since: "6.2.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let (source, destination) = (&args[0], &args[1]);
    let replace = parse(&args[2..])?;
    if source == destination {
        return Err(SAME_OBJECT.into());
    }
    let Some(record) = transaction.get(source)? else { return Ok(Reply::flag(false)) };
    if !replace && transaction.exists(destination)? {
        return Ok(Reply::flag(false));
    }
    transaction.put(destination, record.value, record.expire_at_ms)?;
    Ok(Reply::flag(true))
}

/// Whether `REPLACE` was given. There is one database only, number 0.
fn parse(mut args: &[Bytes]) -> Result<bool, Refusal> {
    let mut replace = false;
    while let [option, rest @ ..] = args {
        args = rest;
        if option.eq_ignore_ascii_case(b"REPLACE") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"DB")
            && let [number, rest @ ..] = rest
        {
            check(index(number)?)?;
            args = rest;
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(replace)
}

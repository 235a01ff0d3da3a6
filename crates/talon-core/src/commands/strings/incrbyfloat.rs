//! `INCRBYFLOAT key increment`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::{Error, NOT_A_FLOAT, Refusal};
use crate::extended::Extended;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static INCRBYFLOAT: Command = Command {
    id: 21,
    kind: Kind::Write,
    facts: Facts {
        name: "incrbyfloat",
        arity: 3,
        flags: &[Flag::Write, Flag::Denyoom, Flag::Fast],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Adds a float to the one under a key; a missing key counts as 0.",
        since: "2.6.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let key = &args[0];
    let record = transaction.get(key)?;
    let old =
        record.as_ref().map_or(Some(Extended::ZERO), |record| Extended::parse(&record.value)).ok_or(NOT_A_FLOAT)?;
    let increment = Extended::parse(&args[1]).ok_or(NOT_A_FLOAT)?;
    let sum = old.plus(increment).print();
    let sum = Bytes::from(sum.ok_or(Refusal::new("ERR increment would produce NaN or Infinity"))?);
    transaction.put(key, sum.clone(), record.map_or(0, |record| record.expire_at_ms))?;
    Ok(Reply::Bulk(sum))
}

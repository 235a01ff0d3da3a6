//! `SWAPDB 0 0`: as a Redis server with one database answers it.

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::keys::database::{check, index};
use crate::error::{Error, Refusal};
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static SWAPDB: Command = Command {
    id: 124,
    kind: Kind::Write,
    facts: Facts {
        name: "swapdb",
        arity: 3,
        flags: &[Flag::Write, Flag::Fast],
        keys: KeySpec::NONE,
        group: Group::Server,
        summary: "Swaps two databases; there is one only, number 0, so nothing changes.",
        since: "4.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(_transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let one = index(&args[0]).map_err(|_| Refusal::new("ERR invalid first DB index"))?;
    let other = index(&args[1]).map_err(|_| Refusal::new("ERR invalid second DB index"))?;
    check(one)?;
    check(other)?;
    Ok(Reply::Ok)
}

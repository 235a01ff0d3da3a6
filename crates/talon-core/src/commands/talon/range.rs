//! `talon.range prefix after count keys|pairs`: one page of a streamed scan.

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::range::{natural, pair};
use crate::error::{Error, SYNTAX};
use crate::limits::{SCAN_BYTES_MAX, SCAN_KEYS_MAX};
use crate::reply::Reply;
use crate::transaction::{Transaction, prefix_end};

/// The row.
pub static RANGE: Command = Command {
    id: 902,
    kind: Kind::InternalRead,
    facts: Facts {
        name: "talon.range",
        arity: 5,
        flags: &[Flag::Readonly],
        keys: KeySpec::NONE,
        group: Group::Talon,
        summary: "Returns one page of the keys that begin with a prefix, or of pairs of key and value.",
        since: "0.1.0",
        complexity: "O(N) where N is the number of keys returned.",
    },
    execute,
};

/// The page begins behind the key `after`, or at the start if that is empty. It may hold fewer than `count`, for it is
/// bounded by [`SCAN_KEYS_MAX`] and [`SCAN_BYTES_MAX`] too; only an empty page is the end. It never ends with the empty
/// key, which would mean the start again: then it holds one key more.
fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let (prefix, after) = (&args[0], &args[1]);
    let count = natural(&args[2])?.min(SCAN_KEYS_MAX);
    let pairs = match args[3].as_ref() {
        b"keys" => false,
        b"pairs" => true,
        _ => return Err(SYNTAX.into()),
    };
    // The smallest key above the last one.
    let from = if after.is_empty() { prefix.to_vec() } else { [&after[..], &[0]].concat().max(prefix.to_vec()) };
    let (mut page, mut bytes, mut only_empty) = (Vec::new(), 0, true);
    transaction.scan(&from, prefix_end(prefix).as_deref(), |key, record| {
        if !only_empty && (page.len() >= count || bytes >= SCAN_BYTES_MAX) {
            return false;
        }
        only_empty = key.is_empty();
        bytes += key.len();
        if pairs {
            bytes += record.value.len();
            page.push(pair(key, record));
        } else {
            page.push(Reply::Bulk(key.clone()));
        }
        true
    })?;
    Ok(Reply::Array(page))
}

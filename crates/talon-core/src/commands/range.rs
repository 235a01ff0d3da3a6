//! Walks over the keys that begin with a prefix, for the commands that list or count them.

use bytes::Bytes;

use crate::commands::room::ReplyRoom;
use crate::error::{Error, Refusal};
use crate::numbers::integer;
use crate::reply::Reply;
use crate::transaction::{Transaction, prefix_end};
use crate::value::Record;

/// The number of live keys that begin with `prefix`.
pub(super) fn count(transaction: &mut Transaction<'_>, prefix: &[u8]) -> Result<Reply, Error> {
    let mut keys = 0;
    transaction.scan(prefix, prefix_end(prefix).as_deref(), |_, _| {
        keys += 1;
        true
    })?;
    Ok(Reply::Integer(keys))
}

/// What `show` makes of the live records whose keys begin with `prefix`: `offset` of them skipped, `limit` at most.
pub(super) fn list(
    transaction: &mut Transaction<'_>,
    prefix: &[u8],
    offset: usize,
    limit: usize,
    mut show: impl FnMut(&Bytes, &Record) -> Option<Reply>,
) -> Result<Reply, Error> {
    let (mut skip, mut found, mut room, mut refusal) = (offset, Vec::new(), ReplyRoom::new(), None);
    transaction.scan(prefix, prefix_end(prefix).as_deref(), |key, record| {
        if found.len() >= limit {
            return false;
        }
        if skip > 0 {
            skip -= 1;
            return true;
        }
        if let Some(reply) = show(key, record) {
            let bytes = if let Reply::Array(_) = reply { key.len() + record.value.len() } else { key.len() };
            refusal = room.take(bytes).err();
            found.push(reply);
        }
        refusal.is_none()
    })?;
    match refusal {
        Some(refusal) => Err(refusal.into()),
        None => Ok(Reply::Array(found)),
    }
}

/// A key and its value.
pub(super) fn pair(key: &Bytes, record: &Record) -> Reply {
    Reply::Array(vec![Reply::Bulk(key.clone()), Reply::Bulk(record.value.clone())])
}

/// Reads an argument that has to be an integer of at least zero.
pub(super) fn natural(arg: &[u8]) -> Result<usize, Refusal> {
    let number = integer(arg)?;
    usize::try_from(number).map_err(|_| Refusal::new("ERR value is out of range, must be positive"))
}

//! What INCR, INCRBY, DECR and DECRBY have in common.

use bytes::Bytes;

use crate::error::{Error, Refusal};
use crate::numbers::integer;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// Adds to the integer under a key, which keeps its TTL; a missing key counts as 0.
pub(super) fn add(transaction: &mut Transaction<'_>, key: &Bytes, increment: i64) -> Result<Reply, Error> {
    let record = transaction.get(key)?;
    let old = record.as_ref().map_or(Ok(0), |record| integer(&record.value))?;
    let new = old.checked_add(increment).ok_or(Refusal::new("ERR increment or decrement would overflow"))?;
    transaction.put(key, Bytes::from(new.to_string()), record.map_or(0, |record| record.expire_at_ms))?;
    Ok(Reply::Integer(new))
}

//! What the commands that change or show when a key ends have in common.

use bytes::Bytes;

use crate::command::printed;
use crate::commands::deadline::{Base, Unit, invalid_expire_time};
use crate::error::{Error, Refusal};
use crate::numbers::integer;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// Carries out `EXPIRE key amount [NX | XX | GT | LT]` and its kin: a time that has passed removes the key.
pub(super) fn change(
    transaction: &mut Transaction<'_>,
    args: &[Bytes],
    unit: Unit,
    base: Base,
    name: &str,
) -> Result<Reply, Error> {
    let conditions = Conditions::parse(&args[2..])?;
    let amount = integer(&args[1])?;
    let expire_at_ms = unit
        .to_ms(amount)
        .and_then(|amount_ms| amount_ms.checked_add(base.at_ms(transaction)))
        .ok_or_else(|| invalid_expire_time(name))?;
    let key = &args[0];
    let Some(record) = transaction.get(key)? else { return Ok(Reply::flag(false)) };
    if !conditions.allow(record.expire_at_ms, expire_at_ms) {
        return Ok(Reply::flag(false));
    }
    match u64::try_from(expire_at_ms) {
        Ok(expire_at_ms) if expire_at_ms > transaction.clock_ms() => {
            transaction.put(key, record.value, expire_at_ms)?;
        }
        _ => {
            transaction.delete(key)?;
        }
    }
    Ok(Reply::flag(true))
}

/// Under which conditions the end of a key may change.
#[derive(Default)]
struct Conditions {
    only_without: bool,
    only_with: bool,
    only_later: bool,
    only_earlier: bool,
}

impl Conditions {
    fn parse(args: &[Bytes]) -> Result<Conditions, Refusal> {
        let mut conditions = Conditions::default();
        for option in args {
            if option.eq_ignore_ascii_case(b"NX") {
                conditions.only_without = true;
            } else if option.eq_ignore_ascii_case(b"XX") {
                conditions.only_with = true;
            } else if option.eq_ignore_ascii_case(b"GT") {
                conditions.only_later = true;
            } else if option.eq_ignore_ascii_case(b"LT") {
                conditions.only_earlier = true;
            } else {
                return Err(Refusal::from_string(format!("ERR Unsupported option {}", printed(option))));
            }
        }
        if conditions.only_without && (conditions.only_with || conditions.only_later || conditions.only_earlier) {
            return Err(Refusal::new("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if conditions.only_later && conditions.only_earlier {
            return Err(Refusal::new("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// A key without an end counts as one that ends after every time.
    fn allow(&self, old_ms: u64, new_ms: i64) -> bool {
        if old_ms == 0 {
            return !self.only_with && !self.only_later;
        }
        let old_ms = i64::try_from(old_ms).unwrap_or(i64::MAX);
        let too_early = self.only_later && new_ms <= old_ms;
        let too_late = self.only_earlier && new_ms >= old_ms;
        !self.only_without && !too_early && !too_late
    }
}

/// When a key ends.
pub(super) struct Expiry {
    /// Unix ms.
    pub(super) at_ms: u64,
    /// From the reader's now.
    pub(super) left_ms: u64,
}

/// Answers what `what` makes of a key's expiry; -1 for a key without one, -2 for a missing key.
pub(super) fn show(
    transaction: &mut Transaction<'_>,
    key: &Bytes,
    what: impl FnOnce(Expiry) -> u64,
) -> Result<Reply, Error> {
    Ok(Reply::Integer(match transaction.get(key)? {
        None => -2,
        Some(record) if record.expire_at_ms == 0 => -1,
        Some(record) => {
            let at_ms = record.expire_at_ms;
            let number = what(Expiry { at_ms, left_ms: at_ms.saturating_sub(transaction.now_ms()) });
            i64::try_from(number).unwrap_or(i64::MAX)
        }
    }))
}

/// In whole seconds, as Redis rounds.
pub(super) fn seconds(ms: u64) -> u64 {
    ms.saturating_add(500) / 1000
}

//! How an argument becomes the absolute time at which a key ends.

use crate::error::Refusal;
use crate::numbers::integer;
use crate::transaction::Transaction;

/// What a time argument counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

/// What a time argument counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The replicated clock.
    Now,
    /// The Unix epoch.
    Epoch,
}

impl Unit {
    /// In milliseconds, if they fit.
    pub(super) fn to_ms(self, amount: i64) -> Option<i64> {
        match self {
            Unit::Seconds => amount.checked_mul(1000),
            Unit::Milliseconds => Some(amount),
        }
    }
}

impl Base {
    /// Where it lies, Unix ms.
    pub(super) fn at_ms(self, transaction: &Transaction<'_>) -> i64 {
        match self {
            Base::Now => i64::try_from(transaction.clock_ms()).unwrap_or(i64::MAX),
            Base::Epoch => 0,
        }
    }
}

/// Reads the time argument of the SET family, which has to be above zero; `name` is the command's.
///
/// # Errors
/// Redis's words for what is no integer, and for a time that is not above zero or too far away.
pub(super) fn deadline_ms(
    transaction: &Transaction<'_>,
    amount: &[u8],
    unit: Unit,
    base: Base,
    name: &str,
) -> Result<u64, Refusal> {
    let amount = integer(amount)?;
    unit.to_ms(amount)
        .filter(|amount_ms| *amount_ms > 0)
        .and_then(|amount_ms| amount_ms.checked_add(base.at_ms(transaction)))
        .map(i64::unsigned_abs)
        .ok_or_else(|| invalid_expire_time(name))
}

/// Redis's words for a time that cannot be.
pub(super) fn invalid_expire_time(name: &str) -> Refusal {
    Refusal::from_string(format!("ERR invalid expire time in '{name}' command"))
}

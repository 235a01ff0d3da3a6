//! Numbers of databases: there is one only, number 0.

use crate::error::Refusal;
use crate::numbers::integer;

/// Redis's words for a key that would come to where it is.
pub(super) const SAME_OBJECT: Refusal = Refusal::new("ERR source and destination objects are the same");

/// Reads a number of a database.
///
/// # Errors
/// Redis's words for what is no 32-bit integer.
pub(super) fn index(number: &[u8]) -> Result<i32, Refusal> {
    i32::try_from(integer(number)?)
        .map_err(|_| Refusal::new("ERR value is out of range, value must between -2147483648 and 2147483647"))
}

/// Whether there is a database with this number.
///
/// # Errors
/// Redis's words for one that is not there.
pub(super) fn check(index: i32) -> Result<(), Refusal> {
    if index == 0 { Ok(()) } else { Err(Refusal::new("ERR DB index is out of range")) }
}

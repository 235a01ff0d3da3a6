//! Where a bit is.

use crate::error::Refusal;
use crate::limits::VALUE_BYTES_MAX;
use crate::numbers::parse_integer;

/// Redis's words for a bit that cannot be there.
pub(super) const NO_PLACE: Refusal = Refusal::new("ERR bit offset is not an integer or out of range");

/// Reads the number of a bit. It lies within the largest value.
///
/// # Errors
/// Redis's words for what is no such number.
pub(super) fn bit_offset(arg: &[u8]) -> Result<usize, Refusal> {
    parse_integer(arg).and_then(within).ok_or(NO_PLACE)
}

/// Reads where a field of this width begins: the number of a bit, or `#n`, the number of a field.
///
/// # Errors
/// As [`bit_offset`].
pub(super) fn field_offset(arg: &[u8], bits: u32) -> Result<usize, Refusal> {
    let offset = match arg {
        [b'#', number @ ..] => parse_integer(number).and_then(|number| number.checked_mul(i64::from(bits))),
        number => parse_integer(number),
    };
    offset.and_then(within).ok_or(NO_PLACE)
}

fn within(offset: i64) -> Option<usize> {
    usize::try_from(offset).ok().filter(|offset| offset / 8 < VALUE_BYTES_MAX)
}

/// One bit; those beyond the end are 0.
pub(super) fn bit_at(value: &[u8], offset: usize) -> bool {
    value.get(offset / 8).is_some_and(|byte| byte & (0x80 >> (offset % 8)) != 0)
}

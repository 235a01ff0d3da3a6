//! The integers that BITFIELD and BITFIELD_RO work on.

use bytes::Bytes;

use crate::commands::bits::place::{NO_PLACE, field_offset};
use crate::error::{Refusal, SYNTAX};
use crate::limits::VALUE_BYTES_MAX;
use crate::numbers::{integer, parse_integer};
use crate::reply::Reply;

/// What is done when a number does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    /// Its low bits are taken.
    Wrap,
    /// The nearest number that fits is taken.
    Saturate,
    /// Nothing is written.
    Fail,
}

impl Overflow {
    fn parse(name: &[u8]) -> Result<Overflow, Refusal> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("WRAP") {
            Ok(Overflow::Wrap)
        } else if is("SAT") {
            Ok(Overflow::Saturate)
        } else if is("FAIL") {
            Ok(Overflow::Fail)
        } else {
            Err(Refusal::new("ERR Invalid OVERFLOW type specified"))
        }
    }
}

/// What is done with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Get,
    /// Answered with the old number.
    Set(i64),
    /// Answered with the new number.
    Add(i64),
}

/// An integer among the bits of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    signed: bool,
    /// 1 to 64, or to 63 without a sign.
    bits: u32,
    /// The number of its first bit.
    offset: usize,
}

/// The most bytes that a field reaches into.
const REACH_BYTES: usize = 9;

impl Field {
    fn parse(kind: &[u8], offset: &[u8]) -> Result<Field, Refusal> {
        const INVALID: Refusal = Refusal::new(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        );
        let (signed, width) = match kind {
            [b'i', width @ ..] => (true, width),
            [b'u', width @ ..] => (false, width),
            _ => return Err(INVALID),
        };
        // Redis reads it as a C string.
        let width = width.split(|byte| *byte == 0).next().unwrap_or_default();
        let bits_max = if signed { 64 } else { 63 };
        let bits = parse_integer(width).filter(|bits| (1..=bits_max).contains(bits)).ok_or(INVALID)? as u32;
        Ok(Field { signed, bits, offset: field_offset(offset, bits)? })
    }

    /// The bytes that the field is in, as far as they are there, at the front of a word; and how far the field is from the
    /// end of that word.
    fn window(&self, value: &[u8]) -> (u128, u32) {
        let mut window = [0; size_of::<u128>()];
        let bytes = value.get(self.offset / 8..).unwrap_or_default();
        let length = bytes.len().min(REACH_BYTES);
        window[..length].copy_from_slice(&bytes[..length]);
        (u128::from_be_bytes(window), u128::BITS - (self.offset % 8) as u32 - self.bits)
    }

    fn read(&self, value: &[u8]) -> i64 {
        let (window, shift) = self.window(value);
        self.wrap((window >> shift) as i64)
    }

    /// The value reaches to the field's end at least.
    fn write(&self, value: &mut [u8], number: i64) {
        let (window, shift) = self.window(value);
        let mask = ((1u128 << self.bits) - 1) << shift;
        let window = (window & !mask) | (((number as u128) << shift) & mask);
        let bytes = &mut value[self.offset / 8..];
        let length = bytes.len().min(REACH_BYTES);
        bytes[..length].copy_from_slice(&window.to_be_bytes()[..length]);
    }

    /// The number that the low bits are.
    fn wrap(&self, number: i64) -> i64 {
        let unused = i64::BITS - self.bits;
        if self.signed { number << unused >> unused } else { ((number as u64) << unused >> unused) as i64 }
    }

    /// `number + increment`, or what the field holds instead; `None` if it is to stay as it is.
    fn fit(&self, number: i128, increment: i64, overflow: Overflow) -> Option<i64> {
        let (min, max) = if self.signed {
            (-(1i128 << (self.bits - 1)), (1i128 << (self.bits - 1)) - 1)
        } else {
            (0, (1i128 << self.bits) - 1)
        };
        let sum = number + i128::from(increment);
        if (min..=max).contains(&sum) {
            return Some(sum as i64);
        }
        // Redis subtracts in 64 bits: what is far enough below zero counts as above.
        let above = sum > max || (self.bits < 64 && max - number > i128::from(i64::MAX));
        match overflow {
            Overflow::Wrap => Some(self.wrap(sum as i64)),
            Overflow::Saturate => Some(if above { max } else { min } as i64),
            Overflow::Fail => None,
        }
    }
}

/// One step of a BITFIELD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) action: Action,
    field: Field,
    overflow: Overflow,
}

impl Operation {
    /// The field's number; bits beyond the end are 0.
    pub(super) fn get(&self, value: &[u8]) -> Reply {
        Reply::Integer(self.field.read(value))
    }

    /// Writes the field; sets `changed` if that changes it.
    pub(super) fn change(&self, value: &mut [u8], changed: &mut bool) -> Reply {
        let old = self.field.read(value);
        let new = match self.action {
            Action::Get => Some(old),
            // A number for a field without a sign is read as one.
            Action::Set(number) if !self.field.signed => self.field.fit(i128::from(number as u64), 0, self.overflow),
            Action::Set(number) => self.field.fit(i128::from(number), 0, self.overflow),
            Action::Add(increment) => self.field.fit(i128::from(old), increment, self.overflow),
        };
        let Some(new) = new else { return Reply::Null };
        self.field.write(value, new);
        *changed |= new != old;
        Reply::Integer(if let Action::Add(_) = self.action { new } else { old })
    }
}

/// Reads the steps.
///
/// # Errors
/// Redis's words for the first thing that is wrong.
pub(super) fn parse(mut args: &[Bytes]) -> Result<Vec<Operation>, Refusal> {
    let (mut operations, mut overflow) = (Vec::new(), Overflow::Wrap);
    while let [name, rest @ ..] = args {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        args = match rest {
            [how, rest @ ..] if is("OVERFLOW") => {
                overflow = Overflow::parse(how)?;
                rest
            }
            [kind, offset, rest @ ..] if is("GET") => {
                operations.push(Operation { action: Action::Get, field: Field::parse(kind, offset)?, overflow });
                rest
            }
            [kind, offset, number, rest @ ..] if is("SET") || is("INCRBY") => {
                let field = Field::parse(kind, offset)?;
                let number = integer(number)?;
                let action = if is("SET") { Action::Set(number) } else { Action::Add(number) };
                operations.push(Operation { action, field, overflow });
                rest
            }
            _ => return Err(SYNTAX),
        };
    }
    Ok(operations)
}

/// How many bytes the steps write into, counted from the value's first; `None` if they all read.
///
/// # Errors
/// Redis's words for a bit that cannot be there, if a field begins in the largest value and ends behind it.
pub(super) fn written_bytes(operations: &[Operation]) -> Result<Option<usize>, Refusal> {
    let writes = operations.iter().filter(|operation| operation.action != Action::Get);
    let Some(end) = writes.map(|Operation { field, .. }| field.offset + field.bits as usize).max() else {
        return Ok(None);
    };
    let bytes = end.div_ceil(8);
    if bytes > VALUE_BYTES_MAX { Err(NO_PLACE) } else { Ok(Some(bytes)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::commands::bits::place::bit_at;
    use crate::commands::grow::grown;

    fn field() -> impl Strategy<Value = Field> {
        (any::<bool>(), 1..=64u32, 0..140usize).prop_map(|(signed, bits, offset)| Field {
            signed,
            bits: if signed { bits } else { bits.min(63) },
            offset,
        })
    }

    /// Small numbers, and those at the edges of 64 bits.
    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![-300..300i64, any::<i64>(), (i64::MAX - 3)..=i64::MAX, i64::MIN..=(i64::MIN + 3)]
    }

    /// The field bit by bit.
    fn read_slowly(field: &Field, value: &[u8]) -> i128 {
        let bits = (field.offset..).take(field.bits as usize).map(|place| bit_at(value, place));
        let number = bits.clone().fold(0i128, |number, bit| number * 2 + i128::from(bit));
        let negative = field.signed && bits.clone().next() == Some(true);
        if negative { number - (1 << field.bits) } else { number }
    }

    proptest! {
        #[test]
        fn a_field_is_its_bits(field in field(), value in prop::collection::vec(any::<u8>(), 0..24), number in number()) {
            prop_assert_eq!(i128::from(field.read(&value)), read_slowly(&field, &value));
            let before = grown(&value, (field.offset + field.bits as usize).div_ceil(8));
            let mut after = before.clone();
            field.write(&mut after, number);
            for place in 0..after.len() * 8 {
                let expected = match place.checked_sub(field.offset) {
                    Some(at) if at < field.bits as usize => number >> (field.bits as usize - 1 - at) & 1 == 1,
                    _ => bit_at(&before, place),
                };
                prop_assert_eq!(bit_at(&after, place), expected, "bit {}", place);
            }
        }

        #[test]
        fn what_does_not_fit_wraps_or_stops_at_the_edge(field in field(), old in number(), increment in number()) {
            let old = field.wrap(old);
            let (min, max) = if field.signed {
                (-(1i128 << (field.bits - 1)), (1i128 << (field.bits - 1)) - 1)
            } else {
                (0, (1i128 << field.bits) - 1)
            };
            let sum = i128::from(old) + i128::from(increment);
            let wrapped = (sum - min).rem_euclid(max - min + 1) + min;
            let fits = |overflow| field.fit(i128::from(old), increment, overflow).map(i128::from);
            prop_assert_eq!(fits(Overflow::Wrap), Some(wrapped));
            prop_assert_eq!(fits(Overflow::Saturate), Some(sum.clamp(min, max)));
            prop_assert_eq!(fits(Overflow::Fail), (wrapped == sum).then_some(sum));
        }
    }
}

//! Bits of a part of a value, counted and found a word at a time.

use std::ops::Range;

use crate::error::{Refusal, SYNTAX};

/// What the places of a part are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Byte,
    Bit,
}

impl Unit {
    pub(super) fn parse(name: &[u8]) -> Result<Unit, Refusal> {
        if name.eq_ignore_ascii_case(b"BIT") {
            Ok(Unit::Bit)
        } else if name.eq_ignore_ascii_case(b"BYTE") {
            Ok(Unit::Byte)
        } else {
            Err(SYNTAX)
        }
    }

    const fn bits(self) -> usize {
        match self {
            Unit::Byte => 8,
            Unit::Bit => 1,
        }
    }
}

/// The bits from `start` to `end`, both included, both counted from the end if they are below 0; `None` if there are none.
pub(super) fn bits_of(value: &[u8], start: i64, end: i64, unit: Unit) -> Option<Range<usize>> {
    let total = (value.len() * 8 / unit.bits()) as i64;
    let place = |at: i64| if at < 0 { (at + total).max(0) } else { at };
    let (start, end) = (place(start), place(end).min(total - 1));
    (start <= end).then(|| start as usize * unit.bits()..(end as usize + 1) * unit.bits())
}

/// How many of these bits, at least one, are set.
pub(super) fn count_ones(value: &[u8], bits: Range<usize>) -> u64 {
    let bytes = &value[bits.start / 8..bits.end.div_ceil(8)];
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    let ones = in_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
    // Those of the outer bytes that are not in the part.
    let before = bytes[0] & !(0xFF >> (bits.start % 8));
    let behind = bytes[bytes.len() - 1] & ((1u16 << (bytes.len() * 8 - (bits.end - bits.start / 8 * 8))) - 1) as u8;
    ones - u64::from(before.count_ones() + behind.count_ones())
}

/// The first of these bits, at least one, that is as wished.
pub(super) fn first_bit(value: &[u8], bit: bool, bits: Range<usize>) -> Option<usize> {
    // A set bit in it is one that is looked for.
    let wished = |byte: u8| if bit { byte } else { !byte };
    let bytes = &value[bits.start / 8..bits.end.div_ceil(8)];
    let first = wished(bytes[0]) & (0xFF >> (bits.start % 8));
    let (place, byte) = if first != 0 {
        (0, first)
    } else {
        let nothing = [if bit { 0x00 } else { 0xFF }; 8];
        let (words, _) = bytes[1..].as_chunks::<8>();
        let skipped = 1 + 8 * words.iter().take_while(|word| **word == nothing).count();
        let place = skipped + bytes[skipped..].iter().position(|byte| wished(*byte) != 0)?;
        (place, wished(bytes[place]))
    };
    let found = (bits.start / 8 + place) * 8 + byte.leading_zeros() as usize;
    (found < bits.end).then_some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::commands::bits::place::bit_at;

    /// Runs of equal bytes, so that whole words are skipped, and others between them.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let run = (prop_oneof![Just(0x00), Just(0xFF), any::<u8>()], 0..40usize);
        prop::collection::vec(run, 0..5)
            .prop_map(|runs| runs.into_iter().flat_map(|(byte, length)| vec![byte; length]).collect())
    }

    proptest! {
        #[test]
        fn words_or_bits_make_no_difference(value in value(), start in -200i64..200, end in -200i64..200, by_bits: bool) {
            let (start, end, unit) = if by_bits { (start * 5, end * 5, Unit::Bit) } else { (start, end, Unit::Byte) };
            let total = value.len() as i64 * if by_bits { 8 } else { 1 };
            let place = |at: i64| if at < 0 { (at + total).max(0) } else { at };
            let is_in = |bit: usize| {
                let at = bit as i64 / unit.bits() as i64;
                place(start) <= at && at <= place(end)
            };
            let inside: Vec<usize> = (0..value.len() * 8).filter(|bit| is_in(*bit)).collect();
            let bits = bits_of(&value, start, end, unit);
            prop_assert_eq!(bits.clone().map_or(0, |bits| bits.len()), inside.len());
            if let Some(bits) = bits {
                let ones = inside.iter().filter(|bit| bit_at(&value, **bit)).count();
                prop_assert_eq!(count_ones(&value, bits.clone()), ones as u64);
                for bit in [false, true] {
                    let first = inside.iter().copied().find(|place| bit_at(&value, *place) == bit);
                    prop_assert_eq!(first_bit(&value, bit, bits.clone()), first);
                }
            }
        }
    }
}

//! Natural numbers of any size: just what exact reading and printing of floats needs.

use std::cmp::Ordering;

const LIMB_BITS: usize = 32;

/// A natural number: limbs of 32 bits, lowest first, none of them zero at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Natural(Vec<u32>);

impl Natural {
    pub(crate) fn from_u64(number: u64) -> Natural {
        let mut natural = Natural(vec![number as u32, (number >> LIMB_BITS) as u32]);
        natural.trim();
        natural
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bits it takes; 0 for zero.
    pub(crate) fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * LIMB_BITS - top.leading_zeros() as usize)
    }

    /// `self * factor + summand`.
    pub(crate) fn multiply_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= LIMB_BITS;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
        self.trim();
    }

    pub(crate) fn multiply_by_power_of_ten(&mut self, exponent: u32) {
        for _ in 0..exponent / 9 {
            self.multiply_add(1_000_000_000, 0);
        }
        self.multiply_add(10u32.pow(exponent % 9), 0);
    }

    pub(crate) fn shifted_left(&self, bits: usize) -> Natural {
        let mut limbs = vec![0; bits / LIMB_BITS];
        let mut carry = 0u64;
        for limb in &self.0 {
            carry |= u64::from(*limb) << (bits % LIMB_BITS);
            limbs.push(carry as u32);
            carry >>= LIMB_BITS;
        }
        limbs.push(carry as u32);
        let mut natural = Natural(limbs);
        natural.trim();
        natural
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for limb in self.0.iter_mut().rev() {
            let low = *limb & 1;
            *limb = (*limb >> 1) | (carry << (LIMB_BITS - 1));
            carry = low;
        }
        self.trim();
    }

    pub(crate) fn add(&mut self, other: &Natural) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        let mut carry = 0u64;
        for (place, limb) in self.0.iter_mut().enumerate() {
            carry += u64::from(*limb) + u64::from(other.0.get(place).copied().unwrap_or(0));
            *limb = carry as u32;
            carry >>= LIMB_BITS;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
    }

    /// Takes away `other`, which must not be larger.
    pub(crate) fn subtract(&mut self, other: &Natural) {
        let mut borrow = 0i64;
        for (place, limb) in self.0.iter_mut().enumerate() {
            let difference = i64::from(*limb) - i64::from(other.0.get(place).copied().unwrap_or(0)) + borrow;
            *limb = difference as u32;
            borrow = difference >> LIMB_BITS;
        }
        debug_assert_eq!(borrow, 0, "the smaller number is taken from the larger");
        self.trim();
    }

    /// The quotient by `divisor`, and whether anything is left over. The quotient must fit into 67 bits.
    pub(crate) fn divide(mut self, divisor: &Natural) -> (u128, bool) {
        const BITS: usize = 67;
        let mut part = divisor.shifted_left(BITS - 1);
        let mut quotient = 0;
        for _ in 0..BITS {
            quotient <<= 1;
            if self >= part {
                self.subtract(&part);
                quotient |= 1;
            }
            part.halve();
        }
        (quotient, !self.is_zero())
    }

    /// Its highest 128 bits, how many bits are below them, and whether any of those is set.
    pub(crate) fn top(&self) -> (u128, usize, bool) {
        let below = self.bits().saturating_sub(128);
        let (skip, shift) = (below / LIMB_BITS, below % LIMB_BITS);
        let mut top = 0u128;
        for (place, limb) in self.0[skip.min(self.0.len())..].iter().enumerate() {
            let limb = u128::from(*limb);
            let left = place * LIMB_BITS;
            top |= if left >= shift { limb << (left - shift) } else { limb >> (shift - left) };
        }
        let lost = self.0.iter().take(skip).any(|limb| *limb != 0)
            || self.0.get(skip).is_some_and(|limb| limb & ((1u32 << shift) - 1) != 0);
        (top, below, lost)
    }

    /// In decimal.
    pub(crate) fn to_decimal(&self) -> String {
        const GROUP: u64 = 1_000_000_000;
        let mut rest = self.clone();
        let mut groups = Vec::new();
        while !rest.is_zero() {
            let mut remainder = 0u64;
            for limb in rest.0.iter_mut().rev() {
                let part = (remainder << LIMB_BITS) | u64::from(*limb);
                *limb = (part / GROUP) as u32;
                remainder = part % GROUP;
            }
            rest.trim();
            groups.push(remainder);
        }
        let mut text = groups.pop().unwrap_or(0).to_string();
        for group in groups.iter().rev() {
            text.push_str(&format!("{group:09}"));
        }
        text
    }
}

impl Ord for Natural {
    fn cmp(&self, other: &Natural) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Natural) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn natural(number: u128) -> Natural {
        let mut natural = Natural::from_u64((number >> 64) as u64).shifted_left(64);
        natural.add(&Natural::from_u64(number as u64));
        natural
    }

    proptest! {
        #[test]
        fn agrees_with_the_machine(a: u128, b: u128, shift in 0usize..60) {
            let (a, b) = (a >> shift, b >> 7);
            prop_assert_eq!(natural(a).to_decimal(), a.to_string());
            prop_assert_eq!(natural(a).bits(), 128 - a.leading_zeros() as usize);
            prop_assert_eq!(natural(a).cmp(&natural(b)), a.cmp(&b));
            let mut sum = natural(a >> 1);
            sum.add(&natural(b));
            prop_assert_eq!(sum, natural((a >> 1) + b));
            let mut difference = natural(a.max(b));
            difference.subtract(&natural(a.min(b)));
            prop_assert_eq!(difference, natural(a.abs_diff(b)));
            let divisor = (b >> 60).max(1);
            if a / divisor < 1 << 67 {
                prop_assert_eq!(natural(a).divide(&natural(divisor)), (a / divisor, a % divisor != 0));
            }
        }

        #[test]
        fn the_top_holds_the_highest_bits(a in 1u128.., shift in 0usize..500) {
            let shifted = natural(a).shifted_left(shift);
            let (top, below, lost) = shifted.top();
            prop_assert_eq!(below, (shifted.bits()).saturating_sub(128));
            prop_assert!(!lost, "only zeros are below");
            prop_assert_eq!(natural(top).shifted_left(below), shifted.clone());
            let mut odd = shifted.shifted_left(1);
            odd.add(&Natural::from_u64(1));
            prop_assert_eq!(odd.top().2, odd.bits() > 128);
        }
    }
}

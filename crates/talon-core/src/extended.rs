//! The floats of INCRBYFLOAT. Redis computes them in the 80-bit format of x86 (`long double`) and stores 17 digits
//! behind the point. Other machines have other formats, and a reply must be the same on every node, so the format is
//! carried out here in integers: reading, adding and printing give the digits that Redis gives on x86-64.
//!
//! The format: a sign, 64 bits of mantissa, values from about 3.6e-4951 to 1.2e4932, rounded to nearest, ties to even.

use crate::big::Natural;

const MANTISSA_BITS: i32 = 64;
/// The exponent of the lowest bit of the smallest values.
const EXPONENT_MIN: i32 = -16_445;
/// No value has a bit of this weight or above.
const EXPONENT_END: i32 = 16_384;
/// Redis reads no longer text as a float.
const TEXT_BYTES_END: usize = 5 * 1024;
/// Redis's digits behind the point.
const FRACTION_DIGITS: u32 = 17;
const FRACTION_SCALE: u128 = 10u128.pow(FRACTION_DIGITS);

/// A float in the 80-bit format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extended {
    /// `mantissa · 2^exponent`; zero has the mantissa zero.
    Finite {
        /// Below zero.
        negative: bool,
        /// All significant bits.
        mantissa: u64,
        /// The weight of the mantissa's lowest bit.
        exponent: i32,
    },
    /// Too large for the format, or named so (`inf`). Its sign does not matter: nothing is done with it.
    Infinite,
}

impl Extended {
    /// Zero.
    pub const ZERO: Extended = Extended::Finite { negative: false, mantissa: 0, exponent: 0 };

    /// Reads what C's `strtold` reads, as far as Redis lets it: decimal or hexadecimal, with or without a point and an
    /// exponent, or `inf`; no spaces, no NaN, and nothing that is too large or too small for the format.
    pub fn parse(text: &[u8]) -> Option<Extended> {
        if text.len() >= TEXT_BYTES_END {
            return None;
        }
        let (negative, magnitude) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if magnitude.eq_ignore_ascii_case(b"inf") || magnitude.eq_ignore_ascii_case(b"infinity") {
            return Some(Extended::Infinite);
        }
        let (value, is_zero) = match magnitude {
            [b'0', b'x' | b'X', digits @ ..] => {
                let (digits, exponent) = read_digits(digits, 16)?;
                (from_natural(negative, &digits, exponent), digits.is_zero())
            }
            digits => {
                let (digits, exponent) = read_digits(digits, 10)?;
                (from_decimal(negative, &digits, exponent), digits.is_zero())
            }
        };
        match value {
            Extended::Finite { mantissa, .. } if mantissa != 0 || is_zero => Some(value),
            _ => None,
        }
    }

    /// The sum, rounded to the format.
    pub fn plus(self, other: Extended) -> Extended {
        let (
            Extended::Finite { negative, mantissa, exponent },
            Extended::Finite { negative: other_negative, mantissa: other_mantissa, exponent: other_exponent },
        ) = (self, other)
        else {
            return Extended::Infinite;
        };
        if mantissa == 0 {
            return other;
        }
        if other_mantissa == 0 {
            return self;
        }
        let low = exponent.min(other_exponent);
        let mut sum = Natural::from_u64(mantissa).shifted_left((exponent - low) as usize);
        let mut summand = Natural::from_u64(other_mantissa).shifted_left((other_exponent - low) as usize);
        if negative == other_negative {
            sum.add(&summand);
            return from_natural(negative, &sum, low);
        }
        if sum >= summand {
            sum.subtract(&summand);
            from_natural(negative, &sum, low)
        } else {
            summand.subtract(&sum);
            from_natural(other_negative, &summand, low)
        }
    }

    /// As Redis prints it: 17 digits behind the point, less the zeros at the end. `None` if it is infinite.
    pub fn print(self) -> Option<String> {
        let Extended::Finite { negative, mantissa, exponent } = self else { return None };
        let text = if exponent >= 0 {
            Natural::from_u64(mantissa).shifted_left(exponent as usize).to_decimal()
        } else {
            let scaled = divide_to_even(u128::from(mantissa) * FRACTION_SCALE, exponent.unsigned_abs());
            let (whole, fraction) = (scaled / FRACTION_SCALE, scaled % FRACTION_SCALE);
            let text = format!("{whole}.{fraction:0width$}", width = FRACTION_DIGITS as usize);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        Some(if negative && text != "0" { format!("-{text}") } else { text })
    }
}

/// `number / 2^bits`, rounded to nearest, ties to even. `number` is below 2^127.
fn divide_to_even(number: u128, bits: u32) -> u128 {
    if bits >= 128 {
        return 0;
    }
    let quotient = number >> bits;
    let rest = number & ((1 << bits) - 1);
    let half = 1 << (bits - 1);
    quotient + u128::from(rest > half || (rest == half && quotient & 1 == 1))
}

/// Reads digits with at most one point among them, and an exponent (`e` for decimal, `p` for hexadecimal) behind them:
/// the digits as one number, and the power (of 10, or of 2) that it is to be multiplied by.
fn read_digits(text: &[u8], radix: u32) -> Option<(Natural, i32)> {
    let mut number = Natural::from_u64(0);
    let (mut digits, mut behind_point, mut point) = (0, 0i32, false);
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        if *byte == b'.' && !point {
            point = true;
        } else if let Some(digit) = char::from(*byte).to_digit(radix) {
            number.multiply_add(radix, digit);
            digits += 1;
            behind_point += i32::from(point);
        } else {
            break;
        }
        rest = tail;
    }
    if digits == 0 {
        return None;
    }
    let mark = if radix == 16 { b'p' } else { b'e' };
    let power = match rest {
        [] => 0,
        [byte, exponent @ ..] if byte.to_ascii_lowercase() == mark => read_exponent(exponent)?,
        _ => return None,
    };
    let power_a_digit = if radix == 16 { 4 } else { 1 };
    Some((number, power - behind_point * power_a_digit))
}

/// Reads an exponent. One that is beyond everything, whatever the digits before it are, may come out smaller.
fn read_exponent(text: &[u8]) -> Option<i32> {
    const BEYOND: i32 = 100_000;
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut exponent = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        exponent = (exponent * 10 + i32::from(digit - b'0')).min(BEYOND);
    }
    Some(if negative { -exponent } else { exponent })
}

/// `digits · 10^power`, rounded to the format.
fn from_decimal(negative: bool, digits: &Natural, power: i32) -> Extended {
    // Beyond these no number of digits that fits into the text brings the value back into the format's range.
    const POWER_MAX: i32 = 5_000;
    const POWER_MIN: i32 = -11_000;
    if digits.is_zero() || power < POWER_MIN {
        return Extended::Finite { negative, mantissa: 0, exponent: 0 };
    }
    if power > POWER_MAX {
        return Extended::Infinite;
    }
    if power >= 0 {
        let mut product = digits.clone();
        product.multiply_by_power_of_ten(power.unsigned_abs());
        return from_natural(negative, &product, 0);
    }
    let mut ten = Natural::from_u64(1);
    ten.multiply_by_power_of_ten(power.unsigned_abs());
    // A quotient of 66 or 67 bits holds the mantissa and enough below it to round.
    let shift = 66 + ten.bits() as i32 - digits.bits() as i32;
    let (quotient, left_over) = if shift >= 0 {
        digits.shifted_left(shift as usize).divide(&ten)
    } else {
        digits.clone().divide(&ten.shifted_left(shift.unsigned_abs() as usize))
    };
    round(negative, quotient, left_over, -shift)
}

/// `number · 2^exponent`, rounded to the format.
fn from_natural(negative: bool, number: &Natural, exponent: i32) -> Extended {
    let (top, below, lost) = number.top();
    round(negative, top, lost, exponent.saturating_add(below as i32))
}

/// `number · 2^exponent`, and a little more if `more`, rounded to the format. With `more`, `number` has at least two bits
/// more than a mantissa.
fn round(negative: bool, number: u128, more: bool, exponent: i32) -> Extended {
    let bits = 128 - number.leading_zeros() as i32;
    let drop = (bits - MANTISSA_BITS).max(EXPONENT_MIN.saturating_sub(exponent)).max(0);
    let (mut mantissa, mut exponent) = if drop == 0 {
        (number, exponent)
    } else if drop > 128 {
        (0, 0)
    } else {
        let quotient = if drop == 128 { 0 } else { number >> drop };
        let rest = if drop == 128 { number } else { number & ((1 << drop) - 1) };
        let half = 1u128 << (drop - 1);
        let up = rest > half || (rest == half && (more || quotient & 1 == 1));
        (quotient + u128::from(up), exponent + drop)
    };
    if mantissa >> MANTISSA_BITS != 0 {
        mantissa >>= 1;
        exponent += 1;
    }
    if mantissa == 0 {
        return Extended::Finite { negative, mantissa: 0, exponent: 0 };
    }
    if exponent.saturating_add(128 - mantissa.leading_zeros() as i32) > EXPONENT_END {
        return Extended::Infinite;
    }
    Extended::Finite { negative, mantissa: mantissa as u64, exponent }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn print(text: &str) -> Option<String> {
        Extended::parse(text.as_bytes()).and_then(Extended::print)
    }

    fn sum(a: &str, b: &str) -> Option<String> {
        Extended::parse(a.as_bytes())?.plus(Extended::parse(b.as_bytes())?).print()
    }

    #[test]
    fn sums_have_redis_s_digits() {
        // Each as redis-server 7.0 on x86-64 answers it.
        for (a, b, expected) in [
            ("10.50", "0.1", "10.6"),
            ("0.1", "0.2", "0.3"),
            ("3.0e3", "200", "3200"),
            ("1", "-1", "0"),
            ("0", "-0.0000000000000000001", "0"),
            ("1e18", "0.5", "1000000000000000000.5"),
            ("1e19", "0.7", "10000000000000000001"),
            ("0x1p3", "0x.8", "8.5"),
            ("3.14159265358979323846", "0", "3.14159265358979324"),
        ] {
            assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} + {b}");
        }
    }

    #[test]
    fn the_edges_of_the_format() {
        let largest = print("1.18973149535723176502e4932");
        assert_eq!(largest.map(|digits| digits.len()), Some(4933));
        assert_eq!(Extended::parse(b"1.18973149535723176509e4932"), None, "too large");
        assert_eq!(print("1e-4949").as_deref(), Some("0"));
        assert_eq!(
            Extended::parse(b"3.7e-4951"),
            Some(Extended::Finite { negative: false, mantissa: 1, exponent: -16_445 })
        );
        assert_eq!(Extended::parse(b"1e-4951"), None, "too small");
        assert_eq!(Extended::parse(b"0e-9999999999999"), Some(Extended::ZERO));
        assert_eq!(Extended::parse(b"1e99999999999999"), None);
        assert_eq!(sum("1.1e4932", "1.1e4932"), None, "the sum is infinite");
        assert_eq!(sum("inf", "-inf"), None);
        let zeros = "0".repeat(5_000);
        assert_eq!(print(&format!("0.{zeros}1e5001")).as_deref(), Some("1"));
        assert_eq!(print(&format!("1{zeros}e-5000")).as_deref(), Some("1"));
        assert_eq!(print(&"1".repeat(5_120)), None, "as long as Redis's buffer");
    }

    #[test]
    fn what_is_no_float() {
        for text in
            ["", "-", ".", "e5", "1e", "1e+", " 1", "1 ", "1x", "0x", "0x.p1", "nan", "-nan", "infinit", "--1", "1.2.3"]
        {
            assert_eq!(Extended::parse(text.as_bytes()), None, "{text:?}");
        }
        for (text, printed) in
            [("+5", "5"), ("5.", "5"), (".5", "0.5"), ("007", "7"), ("1E2", "100"), ("-0", "0"), ("0XaP-1", "5")]
        {
            assert_eq!(print(text).as_deref(), Some(printed), "{text:?}");
        }
    }

    proptest! {
        #[test]
        // Larger ones need more than the 64 bits: -185.366 prints as -185.36600000000000001, in Redis too.
        fn short_decimals_add_up_exactly(a in -4_000i64..4_000, b in -4_000i64..4_000) {
            let text = |thousandths: i64| format!("{}{}.{:03}", if thousandths < 0 { "-" } else { "" }, thousandths.abs() / 1000, thousandths.abs() % 1000);
            let expected = text(a + b).trim_end_matches('0').trim_end_matches('.').to_owned();
            let expected = if expected == "-0" { "0".to_owned() } else { expected };
            prop_assert_eq!(sum(&text(a), &text(b)), Some(expected));
        }

        #[test]
        fn every_double_is_read_exactly(number in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL) {
            // All of its digits.
            let text = format!("{number:.1074}");
            let Some(Extended::Finite { negative, mantissa, exponent }) = Extended::parse(text.as_bytes()) else {
                return Err(TestCaseError::fail("not read"));
            };
            prop_assert_eq!(negative, number < 0.0);
            let zeros = mantissa.trailing_zeros();
            prop_assert_eq!((mantissa >> zeros) as f64 * pow2(exponent + zeros as i32), number.abs());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+]?[0-9a-fxpe.+-]{0,24}") {
            if let Some(value) = Extended::parse(text.as_bytes()) {
                // As in IEEE 754, -0 and 0 add up to 0.
                let expected = if value == Extended::parse(b"-0").expect("a number") { Extended::ZERO } else { value };
                prop_assert_eq!(value.plus(Extended::ZERO), expected);
            }
        }
    }

    /// A power of two as a double, subnormal ones included.
    fn pow2(exponent: i32) -> f64 {
        if exponent < -1000 { 2f64.powi(-1000) * 2f64.powi(exponent + 1000) } else { 2f64.powi(exponent) }
    }
}

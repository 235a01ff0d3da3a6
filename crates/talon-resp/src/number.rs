//! Numbers as Redis prints them. (How it reads them: [`talon_core::numbers`].)

use bytes::{BufMut, BytesMut};

/// Appends the line of a mark and a number in decimal.
pub(crate) fn put_line(out: &mut BytesMut, mark: u8, number: i64) {
    // The mark, up to 20 characters of the number, the end of the line.
    let mut line = *b".....................\r\n";
    let mut at = line.len() - 2;
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        line[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        line[at] = b'-';
    }
    at -= 1;
    line[at] = mark;
    out.put_slice(&line[at..]);
}

/// A float the way C's `%.17g` prints it, which is how Redis sends doubles; `inf`, `-inf` and `nan` in words.
pub fn format_double(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf".to_owned() } else { "-inf".to_owned() };
    }
    // 17 significant digits: one before the point and 16 behind it.
    let scientific = format!("{number:.16e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let Ok(exponent) = exponent.parse::<i32>() else { return scientific };
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |mantissa| ("-", mantissa));
    let digits = mantissa.replace('.', "");
    let digits = digits.trim_end_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    if !(-4..17).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{point}{rest}e{exponent_sign}{:02}", exponent.abs());
    }
    if exponent < 0 {
        let zeros = "0".repeat((-exponent - 1) as usize);
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        let zeros = "0".repeat(whole - digits.len());
        return format!("{sign}{digits}{zeros}");
    }
    let (whole, fraction) = digits.split_at(whole);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use talon_core::numbers::parse_integer;

    #[test]
    fn integers_print_and_read_back() {
        for number in [0, 1, -1, 10, 99, 100, i64::MAX, i64::MIN] {
            let mut out = BytesMut::new();
            put_line(&mut out, b':', number);
            assert_eq!(out, format!(":{number}\r\n").as_bytes());
            assert_eq!(parse_integer(&out[1..out.len() - 2]), Some(number));
        }
    }

    #[test]
    fn doubles_print_as_c_does() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.10000000000000001"),
            (2.3, "2.2999999999999998"),
            (100.0, "100"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.5e300, "1.5000000000000001e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (12345678901234567.0, "12345678901234568"),
        ] {
            assert_eq!(format_double(number), text);
        }
    }
}

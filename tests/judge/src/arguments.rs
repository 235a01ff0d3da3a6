//! Words that commands are made of: the plain ones, and those that break things.

use bytes::Bytes;

use crate::random::Random;

/// The keys of all sequences: few, so that commands meet each other's keys.
#[rustfmt::skip]
pub const KEYS: &[&[u8]] = &[
    b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"k:1", b"k:2", b"k:10", b"", b"with space", b"\xff\xfe\x00\r\n", b"{t}x",
    b"K:1", b"*[a]?\\",
];

#[rustfmt::skip]
const VALUES: &[&[u8]] = &[
    b"", b"0", b"1", b"-1", b"10", b"007", b"+5", b" 5", b"5 ", b"-0", b"9223372036854775807", b"9223372036854775806",
    b"-9223372036854775808", b"9223372036854775808", b"1.5", b"3.0e3", b"0x10", b"inf", b"nan", b"-inf", b"1e400", b".5",
    b"5.", b"hello", b"Hello World", b"\x00", b"\x00\x01\xff", b"\r\n", b"\xc3\xbc", b"ohmytext", b"mynewtext",
    b"123456789012345678", b"0.1", b"1e-20", b"4.9e-324", b"1.7976931348623157e308",
];

#[rustfmt::skip]
const INTEGERS: &[&[u8]] = &[
    b"0", b"1", b"-1", b"2", b"3", b"5", b"-3", b"10", b"100", b"-100", b"255", b"2147483647", b"2147483648",
    b"-2147483649", b"4294967296", b"9223372036854775807", b"-9223372036854775808", b"-9223372036854775807",
    b"9223372036854775808", b"-9223372036854775809", b"18446744073709551616", b"", b" 1", b"1 ", b"+1", b"01", b"-0",
    b"1.0", b"abc", b"1e3", b"0x1", b"\x001", b"99999999999999999999999999999999",
];

#[rustfmt::skip]
const FLOATS: &[&[u8]] = &[
    b"0", b"1", b"-1", b"1.5", b"-2.25", b"0.1", b"3.0e3", b"1e-5", b"5e-18", b"1e17", b"1e18", b"123456789.123456789",
    b"inf", b"-inf", b"+inf", b"nan", b"1e309", b"1e4932", b"1e5000", b"-1e4932", b"abc", b"", b" 1", b"1 ", b"0x1p3",
    b".5", b"5.", b".", b"1e", b"--1", b"1_000", b"9007199254740993", b"0.30000000000000004", b"1e-4950",
];

/// Times that every server judges the same way whenever it is asked: not above zero, no number, or too large.
#[rustfmt::skip]
const BAD_TIMES: &[&[u8]] = &[
    b"0", b"-1", b"-100", b"-9223372036854775808", b"9223372036854775807", b"9223372036854775", b"-9223372036854775",
    b"-9223372036854776", b"92233720368547758", b"9223372036854775808", b"abc", b"", b"1.5", b" 10", b"10 ",
    b"-9223372036854775807",
];

#[rustfmt::skip]
const PATTERNS: &[&[u8]] = &[
    b"*", b"**", b"?", b"??", b"a*", b"*a", b"k:*", b"k:?", b"[a-c]", b"[^a]", b"[c-a]", b"[a", b"[]", b"[^]", b"\\a",
    b"\\", b"", b"\\*[[]a]?\\\\", b"*\xff*", b"[\\]]", b"[a\\", b"K:1", b"*:*1*", b"a*a*a*a*b", b"[-]", b"[a-]",
];

#[rustfmt::skip]
const FIELD_TYPES: &[&[u8]] = &[
    b"u64", b"i65", b"u0", b"i0", b"i-1", b"u", b"", b"8", b"U8", b"I8", b"u08", b"u8 ", b"x8", b"i8\x00x", b"u8x", b"#8",
    b"i9223372036854775809",
];

#[rustfmt::skip]
const JUNK: &[&[u8]] = &[
    b"NX", b"xx", b"Gt", b"LT", b"EX", b"px", b"EXAT", b"PXAT", b"KEEPTTL", b"persist", b"GET", b"REPLACE", b"DB", b"LEN",
    b"IDX", b"MINMATCHLEN", b"MATCH", b"COUNT", b"TYPE", b"foo", b"", b"0", b"-1", b"a", b"\x00", b"ASYNC", b"SYNC",
    b"BIT", b"BYTE", b"OVERFLOW", b"FAIL", b"sat", b"u8", b"#1", b"SAMPLES",
];

/// A key.
pub fn key(random: &mut Random) -> Bytes {
    Bytes::from_static(random.pick(KEYS))
}

/// A value: mostly one of the list, else some bytes.
pub fn value(random: &mut Random) -> Bytes {
    match random.below(10) {
        0 => (0..random.below(300)).map(|_| random.number() as u8).collect(),
        1 => (0..random.below(40)).map(|_| random.pick(b"abc")).collect(),
        2 => Bytes::from((random.number() as i64 >> random.below(64)).to_string()),
        _ => Bytes::from_static(random.pick(VALUES)),
    }
}

/// An integer, or what is none.
pub fn integer(random: &mut Random) -> Bytes {
    Bytes::from_static(random.pick(INTEGERS))
}

/// A place in a value: mostly near its ends.
pub fn place(random: &mut Random) -> Bytes {
    if random.percent(80) { Bytes::from((random.below(60) as i64 - 30).to_string()) } else { integer(random) }
}

/// Where SETRANGE begins: not far, or beyond what is allowed.
pub fn offset(random: &mut Random) -> Bytes {
    match random.below(10) {
        0 => integer_without_room(random),
        1 => Bytes::from_static(b"16777216"),
        _ => Bytes::from(random.below(200).to_string()),
    }
}

/// The number of a bit: not far, or beyond what is allowed.
pub fn bit_offset(random: &mut Random) -> Bytes {
    match random.below(20) {
        // No number of the list is a bit between the first few and the last that may be.
        0 => integer(random),
        1 => Bytes::from_static(b"134217728"),
        _ => Bytes::from(random.below(300).to_string()),
    }
}

/// The type of a field of BITFIELD, or what is none.
pub fn field_type(random: &mut Random) -> Bytes {
    match random.below(20) {
        0 => Bytes::from_static(random.pick(FIELD_TYPES)),
        1..=3 => Bytes::from_static(random.pick(&["i64", "u63", "i63", "i1", "u1", "u62"]).as_bytes()),
        _ => Bytes::from(format!("{}{}", random.pick(&["i", "u"]), 1 + random.below(40))),
    }
}

/// Where a field begins: a bit, or the number of a field. None whose bit needs more than 64 bits, for there Redis wraps around.
pub fn field_offset(random: &mut Random) -> Bytes {
    if random.percent(70) { bit_offset(random) } else { Bytes::from(format!("#{}", random.below(14) as i64 - 1)) }
}

/// A number for a field: mostly near the edges of the small ones.
pub fn field_number(random: &mut Random) -> Bytes {
    match random.below(4) {
        0 => integer(random),
        1 => Bytes::from((random.number() as i64 >> random.below(64)).to_string()),
        _ => Bytes::from((random.below(600) as i64 - 300).to_string()),
    }
}

/// An integer that, as an offset, asks for little room or for more than there may be.
fn integer_without_room(random: &mut Random) -> Bytes {
    let found = integer(random);
    if found == "255" || found.len() > 3 || found.len() < 3 { found } else { Bytes::from_static(b"-1") }
}

/// A float, or what is none.
pub fn float(random: &mut Random) -> Bytes {
    Bytes::from_static(random.pick(FLOATS))
}

/// A pattern for keys.
pub fn pattern(random: &mut Random) -> Bytes {
    Bytes::from_static(random.pick(PATTERNS))
}

/// A time that is refused, or has always passed.
pub fn bad_time(random: &mut Random) -> Bytes {
    Bytes::from_static(random.pick(BAD_TIMES))
}

/// Anything that does not belong where it stands, and never a time that could pass while the test runs.
pub fn junk(random: &mut Random) -> Bytes {
    Bytes::from_static(random.pick(JUNK))
}

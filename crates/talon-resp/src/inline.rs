//! Inline requests: a line of words, quoted as Redis's people do by hand over telnet.
//!
//! Words are parted by white space. `"…"` knows `\n \r \t \b \a \xHH` and `\` before any other byte for that byte;
//! `'…'` knows only `\'`. A closing quote must be followed by white space or the end.

use std::ops::Range;

use bytes::Bytes;

/// The words of a line without its line end; `None` when its quotes do not close. A NUL byte ends the line.
pub fn split_line(line: &[u8]) -> Option<Vec<Bytes>> {
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    // All words share one allocation.
    let mut text = Vec::with_capacity(line.len());
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut rest = line;
    loop {
        let spaces = rest.iter().position(|byte| !is_space(*byte)).unwrap_or(rest.len());
        rest = &rest[spaces..];
        if rest.is_empty() {
            break;
        }
        let start = text.len();
        rest = take_word(rest, &mut text)?;
        words.push(start..text.len());
    }
    let text = Bytes::from(text);
    Some(words.into_iter().map(|word| text.slice(word)).collect())
}

/// C's `isspace`, which counts the vertical tab too.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0B
}

/// Appends one word to `text` and returns what follows it.
fn take_word<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return Some(rest),
            [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some(rest),
            [b'"', after @ ..] => return closed(take_double_quoted(after, text)?),
            [b'\'', after @ ..] => return closed(take_single_quoted(after, text)?),
            [byte, after @ ..] => {
                text.push(*byte);
                rest = after;
            }
        }
    }
}

/// What follows a closing quote must not be glued to it.
fn closed(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|byte| is_space(*byte)).then_some(rest)
}

fn take_double_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                text.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            [b'\\', escaped, after @ ..] => {
                text.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                text.push(*byte);
                rest = after;
            }
        }
    }
}

fn take_single_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'\'', after @ ..] => return Some(after),
            [b'\\', b'\'', after @ ..] => {
                text.push(b'\'');
                rest = after;
            }
            [byte, after @ ..] => {
                text.push(*byte);
                rest = after;
            }
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<Vec<u8>>> {
        split_line(line.as_bytes()).map(|words| words.iter().map(|word| word.to_vec()).collect())
    }

    #[test]
    fn words_are_parted_by_white_space() {
        assert_eq!(words("set  a\tb "), Some(vec![b"set".to_vec(), b"a".to_vec(), b"b".to_vec()]));
        assert_eq!(words("   "), Some(vec![]));
        assert_eq!(words(""), Some(vec![]));
    }

    #[test]
    fn quotes_hold_anything() {
        assert_eq!(
            words(r#"set "a b" 'c "d' "\x41\n\"\q" 'it\'s \n'"#),
            Some(vec![b"set".to_vec(), b"a b".to_vec(), b"c \"d".to_vec(), b"A\n\"q".to_vec(), b"it's \\n".to_vec()])
        );
        assert_eq!(words(r#"foo"bar" """#), Some(vec![b"foobar".to_vec(), b"".to_vec()]));
    }

    #[test]
    fn quotes_that_do_not_close_are_refused() {
        for line in [r#"set "a"#, "set 'a", r#"set "a"b"#, "set 'a'b", r#""\"#, "get \"a\0b\""] {
            assert_eq!(words(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_nul_ends_the_line() {
        assert_eq!(words("get a\0b c"), Some(vec![b"get".to_vec(), b"a".to_vec()]));
    }
}

//! The text of commands and replies, as redis-cli has it.

use bytes::Bytes;

use crate::reply::Reply;

/// Splits a command line into words; `None` if its quotes or escapes are wrong.
pub fn split_words(line: &str) -> Option<Vec<Bytes>> {
    let mut words = Vec::new();
    let mut rest = line.as_bytes();
    loop {
        while let [b' ', tail @ ..] = rest {
            rest = tail;
        }
        match rest {
            [] => return Some(words),
            [b'"', tail @ ..] => {
                let (word, tail) = unquote(tail)?;
                words.push(Bytes::from(word));
                // A quoted word ends where its quote does.
                if !matches!(tail, [] | [b' ', ..]) {
                    return None;
                }
                rest = tail;
            }
            _ => {
                let length = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
                words.push(Bytes::copy_from_slice(&rest[..length]));
                rest = &rest[length..];
            }
        }
    }
}

/// Reads up to the closing quote: the bytes, and what is behind it.
fn unquote(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        let byte;
        (byte, rest) = match rest {
            [b'"', tail @ ..] => return Some((word, tail)),
            [b'\\', b'x', high, low, tail @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                ((digit(high)? * 16 + digit(low)?) as u8, tail)
            }
            [b'\\', escaped, tail @ ..] => {
                let byte = match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'a' => 7,
                    b'b' => 8,
                    b'"' | b'\\' => *escaped,
                    _ => return None,
                };
                (byte, tail)
            }
            [b'\\'] | [] => return None,
            [byte, tail @ ..] => (*byte, tail),
        };
        word.push(byte);
    }
}

fn quote(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for byte in bytes {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            7 => text.push_str("\\a"),
            8 => text.push_str("\\b"),
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

/// A reply as text, in lines without a line end behind the last. See [`crate::script`] for how it looks.
pub fn render(reply: &Reply) -> String {
    match reply {
        Reply::Ok => "OK".to_owned(),
        Reply::Simple(text) => (*text).to_owned(),
        Reply::Integer(number) => format!("(integer) {number}"),
        Reply::Bulk(bytes) => quote(bytes),
        Reply::Null | Reply::NullArray => "(nil)".to_owned(),
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => render_items(items.iter()),
        Reply::Map(pairs) => render_items(pairs.iter().flat_map(|(key, value)| [key, value])),
        Reply::Double(number) => format!("(double) {number}"),
        Reply::Boolean(yes) => format!("({yes})"),
        Reply::Verbatim(text) => quote(text.as_bytes()),
        Reply::Error(refusal) => format!("(error) {}", refusal.line()),
    }
}

/// Each item behind its number; the further lines of an item that has several are set in below its first.
fn render_items<'a>(items: impl Iterator<Item = &'a Reply> + Clone) -> String {
    let count = items.clone().count();
    if count == 0 {
        return "(empty array)".to_owned();
    }
    let width = count.to_string().len();
    let mut lines = Vec::new();
    for (place, item) in items.enumerate() {
        let mut head = format!("{:>width$}) ", place + 1);
        for line in render(item).lines() {
            lines.push(format!("{head}{line}"));
            head = " ".repeat(head.len());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_and_quotes() {
        let words = |line| split_words(line).map(|words| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>());
        assert_eq!(words("SET  a \"\" "), Some(vec![b"SET".to_vec(), b"a".to_vec(), Vec::new()]));
        assert_eq!(words(r#"a"b "\x00\n""#), Some(vec![b"a\"b".to_vec(), vec![0, 10]]));
        for wrong in ["\"a", "\"a\"b", r#""\q""#, r#""\x0"#, r#""\x0g""#, "\"\\"] {
            assert_eq!(words(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn replies_of_every_kind() {
        let nested = Reply::Array(vec![
            Reply::Array(vec![Reply::Integer(1), Reply::Null]),
            Reply::Array(Vec::new()),
            Reply::Map(vec![(Reply::bulk("a"), Reply::Ok)]),
            Reply::Simple("string"),
            Reply::Error(crate::error::SYNTAX),
        ]);
        let text = "1) 1) (integer) 1\n   2) (nil)\n2) (empty array)\n3) 1) \"a\"\n   2) OK\n4) string\n5) (error) ERR syntax error";
        assert_eq!(render(&nested), text);
        assert_eq!(render(&Reply::Boolean(true)), "(true)");
        assert_eq!(render(&Reply::Double(1.5)), "(double) 1.5");
        let ten = Reply::Array(vec![Reply::NullArray; 10]);
        assert!(render(&ten).starts_with(" 1) (nil)\n 2) "), "{}", render(&ten));
    }

    proptest! {
        #[test]
        fn what_is_quoted_reads_back(bytes: Vec<u8>) {
            let words = split_words(&quote(&bytes)).map(|words| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>());
            prop_assert_eq!(words, Some(vec![bytes]));
        }
    }
}

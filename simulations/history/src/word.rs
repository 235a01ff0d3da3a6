//! Short bytes: keys and values. Shown and stored as text, with what is not printable escaped.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key or a value.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(Bytes);

impl Word {
    /// The bytes, to be kept without a copy.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// As an integer, if it is one in the one form that Redis takes for one.
    pub fn integer(&self) -> Option<i64> {
        let text = std::str::from_utf8(&self.0).ok()?;
        let number: i64 = text.parse().ok()?;
        (number.to_string() == text).then_some(number)
    }

    fn unescaped(text: &str) -> Option<Word> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'\\' {
                bytes.push(byte);
                continue;
            }
            bytes.push(match rest.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let mut digit = || char::from(rest.next()?).to_digit(16);
                    u8::try_from(digit()? * 16 + digit()?).ok()?
                }
                other => other,
            });
        }
        Some(Word(bytes.into()))
    }
}

impl Deref for Word {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Word(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Word {
    fn from(text: String) -> Self {
        Word(text.into())
    }
}

impl From<&[u8]> for Word {
    fn from(bytes: &[u8]) -> Self {
        Word(Bytes::copy_from_slice(bytes))
    }
}

impl From<Vec<u8>> for Word {
    fn from(bytes: Vec<u8>) -> Self {
        Word(bytes.into())
    }
}

impl From<Bytes> for Word {
    fn from(bytes: Bytes) -> Self {
        Word(bytes)
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Word::unescaped(&text).ok_or_else(|| D::Error::custom(format!("a broken escape in {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_text() {
        let all: Vec<u8> = (0..=255).collect();
        let word = Word::from(all);
        let json = serde_json::to_string(&word).expect("text");
        assert_eq!(serde_json::from_str::<Word>(&json).expect("the same"), word);
        assert!(serde_json::from_str::<Word>(r#""\\x1""#).is_err(), "half an escape");
    }

    #[test]
    fn an_integer_has_one_form() {
        assert_eq!(Word::from("-12").integer(), Some(-12));
        for not in ["+1", "01", "-0", "", " 1", "1.0", "9223372036854775808"] {
            assert_eq!(Word::from(not).integer(), None, "{not:?}");
        }
    }
}

//! Redis's glob patterns over bytes: `*`, `?`, `[abc]`, `[^a-z]`, `\x`.
//!
//! A pattern is read once and matched many times. Matching never recurses, and takes at most (pattern × key) steps:
//! when something behind a star fails, only the *last* star has to take one more byte, because whatever an
//! earlier star could take instead, the last one can take as well.

use crate::limits::KEY_BYTES_MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// This byte.
    Byte(u8),
    /// Any one byte.
    Any,
    /// One byte of a set: a bit for each.
    Class(Box<[u64; 4]>),
    /// Any bytes, or none.
    Star,
}

/// A pattern, ready to match.
#[derive(Clone, Debug)]
pub struct Glob {
    /// No two stars follow each other. `None`: longer than any key, so nothing matches.
    tokens: Option<Vec<Token>>,
    /// The pattern is exactly `*`.
    everything: bool,
}

impl Glob {
    /// Reads a pattern. Every pattern is valid: an unfinished `[` ends with the pattern, a `\` at the end is itself.
    pub fn new(pattern: &[u8]) -> Glob {
        let mut tokens = Vec::new();
        let mut bytes_min = 0;
        let mut rest = pattern;
        while let [byte, tail @ ..] = rest {
            rest = tail;
            let token = match byte {
                b'*' => Token::Star,
                b'?' => Token::Any,
                b'[' => {
                    let (class, tail) = read_class(rest);
                    rest = tail;
                    Token::Class(Box::new(class))
                }
                b'\\' => match rest {
                    [escaped, tail @ ..] => {
                        rest = tail;
                        Token::Byte(*escaped)
                    }
                    [] => Token::Byte(b'\\'),
                },
                literal => Token::Byte(*literal),
            };
            if token != Token::Star {
                bytes_min += 1;
            } else if tokens.last() == Some(&Token::Star) {
                continue;
            }
            if bytes_min > KEY_BYTES_MAX {
                return Glob { tokens: None, everything: false };
            }
            tokens.push(token);
        }
        Glob { tokens: Some(tokens), everything: pattern == b"*" }
    }

    /// Whether the pattern is exactly `*`.
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// What every match begins with.
    pub fn literal_prefix(&self) -> Vec<u8> {
        let tokens = self.tokens.as_deref().unwrap_or_default();
        tokens.iter().map_while(|token| if let Token::Byte(byte) = token { Some(*byte) } else { None }).collect()
    }

    /// Whether `text` matches as a whole.
    ///
    /// One oddity is Redis's: the empty text matches the pattern `*` and the empty one, but not `**`.
    pub fn matches(&self, text: &[u8]) -> bool {
        let mut steps_left = usize::MAX;
        self.matches_within(text, &mut steps_left).unwrap_or(false)
    }

    /// The same where it must not take long: `None` if this many steps do not tell. A step looks at one byte; those that were taken are
    /// taken off.
    pub fn matches_within(&self, text: &[u8], steps_left: &mut usize) -> Option<bool> {
        let Some(tokens) = &self.tokens else { return Some(false) };
        if text.is_empty() {
            return Some(tokens.is_empty() || self.everything);
        }
        let (mut token_place, mut text_place) = (0, 0);
        // Behind the last star: the token, and the byte where that token was tried last.
        let mut retry = None;
        while text_place < text.len() {
            *steps_left = steps_left.checked_sub(1)?;
            match tokens.get(token_place) {
                Some(Token::Star) => {
                    token_place += 1;
                    if token_place == tokens.len() {
                        return Some(true);
                    }
                    retry = Some((token_place, text_place));
                    continue;
                }
                Some(token) if token.takes(text[text_place]) => {
                    token_place += 1;
                    text_place += 1;
                    continue;
                }
                _ => {}
            }
            let Some((behind_star, tried)) = retry else { return Some(false) };
            retry = Some((behind_star, tried + 1));
            (token_place, text_place) = (behind_star, tried + 1);
        }
        Some(tokens[token_place..].iter().all(|token| *token == Token::Star))
    }
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Token::Byte(literal) => *literal == byte,
            Token::Any | Token::Star => true,
            Token::Class(bits) => bits[usize::from(byte) / 64] >> (byte % 64) & 1 == 1,
        }
    }
}

/// Reads a class behind its `[`: its bytes as bits, and what follows it.
fn read_class(pattern: &[u8]) -> ([u64; 4], &[u8]) {
    let mut bits = [0u64; 4];
    let mut include = |byte: u8| bits[usize::from(byte) / 64] |= 1 << (byte % 64);
    let (inverted, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    loop {
        // The order of these matters: `[a-]` is a range up to `]`, and goes on behind it.
        rest = match rest {
            [b'\\', escaped, tail @ ..] => {
                include(*escaped);
                tail
            }
            [] => break,
            [b']', tail @ ..] => {
                rest = tail;
                break;
            }
            [start, b'-', end, tail @ ..] => {
                (*start.min(end)..=*start.max(end)).for_each(&mut include);
                tail
            }
            [byte, tail @ ..] => {
                include(*byte);
                tail
            }
        };
    }
    if inverted {
        bits = bits.map(|bits| !bits);
    }
    (bits, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::new(pattern.as_bytes()).matches(text.as_bytes())
    }

    #[test]
    fn patterns_of_every_kind() {
        for (pattern, text) in [
            ("h?llo", "hallo"),
            ("h*llo", "hllo"),
            ("h*llo", "heeeello"),
            ("h[ae]llo", "hello"),
            ("h[^e]llo", "hallo"),
            ("h[b-a]llo", "hallo"),
            ("a*b*c", "aXbXbc"),
            ("\\*", "*"),
            ("a\\", "a\\"),
            ("[\\]]", "]"),
            ("[abc", "c"),
            ("[a-]", "a"),
            ("[a-]", "^"),
            ("[^", "x"),
            ("x[^]", "xy"),
            ("[a-", "-"),
            ("a***", "a"),
            ("", ""),
            ("*", ""),
        ] {
            assert!(matches(pattern, text), "{pattern} should match {text}");
        }
        for (pattern, text) in [
            ("h?llo", "hllo"),
            ("h[^e]llo", "hello"),
            ("\\*", "x"),
            ("[]", "]"),
            ("[", "["),
            ("a", "ab"),
            ("ab", "a"),
            ("", "a"),
            ("**", ""),
            ("*?", ""),
            ("*a", "ab"),
        ] {
            assert!(!matches(pattern, text), "{pattern} should not match {text}");
        }
    }

    #[test]
    fn the_literal_prefix_ends_at_the_first_wildcard() {
        for (pattern, prefix) in [("user:*", "user:"), ("a\\*b?", "a*b"), ("*", ""), ("[a]b", ""), ("plain", "plain")] {
            assert_eq!(Glob::new(pattern.as_bytes()).literal_prefix(), prefix.as_bytes());
        }
    }

    #[test]
    fn many_stars_over_a_long_key_are_quick() {
        let glob = Glob::new(format!("{}b", "a*".repeat(100)).as_bytes());
        let key = vec![b'a'; KEY_BYTES_MAX];
        let started = Instant::now();
        assert!(!glob.matches(&key));
        assert!(started.elapsed() < Duration::from_secs(1), "took {:?}", started.elapsed());
    }

    #[test]
    fn a_pattern_longer_than_any_key_matches_nothing() {
        let text = vec![b'a'; KEY_BYTES_MAX + 1];
        assert!(!Glob::new(&text).matches(&text));
        assert!(Glob::new(&text[1..]).matches(&text[1..]));
        let mut stars = vec![b'*'; 1_000_000];
        stars.extend_from_slice(b"a");
        assert!(Glob::new(&stars).matches(b"bca"));
    }

    /// What the tokens mean, in the most direct words.
    fn slow(tokens: &[Token], text: &[u8]) -> bool {
        match tokens {
            [] => text.is_empty(),
            [Token::Star, rest @ ..] => (0..=text.len()).any(|taken| slow(rest, &text[taken..])),
            [token, rest @ ..] => text.first().is_some_and(|byte| token.takes(*byte)) && slow(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_slow_reference(pattern in "[ab*?\\\\\\[\\]^-]{0,12}", text in "[ab\\]-]{1,10}") {
            let glob = Glob::new(pattern.as_bytes());
            let tokens = glob.tokens.clone().unwrap_or_default();
            prop_assert_eq!(glob.matches(text.as_bytes()), slow(&tokens, text.as_bytes()));
            if glob.matches(text.as_bytes()) {
                prop_assert!(text.as_bytes().starts_with(&glob.literal_prefix()));
            }
        }

        #[test]
        fn any_bytes_are_a_pattern(pattern: Vec<u8>, text: Vec<u8>) {
            let glob = Glob::new(&pattern);
            let _ = glob.matches(&text);
            prop_assert!(glob.literal_prefix().len() <= pattern.len());
        }
    }
}

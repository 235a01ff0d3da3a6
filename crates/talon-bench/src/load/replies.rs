//! Replies over RESP, looked at as they come: which are complete, and what kind each is. Nothing is kept, however long a reply is.

/// What a reply is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Null.
    Missing,
    /// An error, in its words.
    Error(String),
    /// Anything else, with the number of strings in it.
    Present(u64),
}

/// Reads replies out of bytes in any pieces.
#[derive(Debug, Default)]
pub struct Replies {
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// The bytes of a string, and its line's end, that are to be passed over.
    passing: usize,
    /// The values that the present reply still lacks; 0 between two replies.
    lacking: u64,
    strings: u64,
    begun: Option<Answer>,
}

impl Replies {
    /// Looks at further bytes; `each` is told of every reply that they complete.
    ///
    /// # Errors
    /// If they are no replies.
    pub fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(Answer)) -> Result<(), String> {
        loop {
            if self.passing > 0 {
                let passed = self.passing.min(bytes.len());
                bytes = &bytes[passed..];
                self.passing -= passed;
                if self.passing > 0 {
                    return Ok(());
                }
                self.value_ends(&mut each);
            }
            let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
                self.line.extend_from_slice(bytes);
                return Ok(());
            };
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            if self.line.is_empty() {
                self.line(line, &mut each)?;
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.line(&whole, &mut each)?;
                // Its room is used again.
                whole.clear();
                self.line = whole;
            }
        }
    }

    fn line(&mut self, line: &[u8], each: &mut impl FnMut(Answer)) -> Result<(), String> {
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        let Some((mark, rest)) = line.split_first() else { return Err("an empty line".into()) };
        let length = || {
            let number = std::str::from_utf8(rest).ok().and_then(|text| text.parse::<i64>().ok());
            number.ok_or_else(|| format!("no length: {}", String::from_utf8_lossy(line)))
        };
        let is_first = self.lacking == 0;
        if is_first {
            (self.lacking, self.strings, self.begun) = (1, 0, None);
        }
        match mark {
            b'$' | b'=' => match usize::try_from(length()?) {
                Ok(bytes) => {
                    self.strings += 1;
                    self.passing = bytes + 2;
                    return Ok(());
                }
                Err(_) => self.note(is_first, Answer::Missing),
            },
            b'*' | b'~' | b'>' | b'%' => match u64::try_from(length()?) {
                Ok(items) => self.lacking += items * if *mark == b'%' { 2 } else { 1 },
                Err(_) => self.note(is_first, Answer::Missing),
            },
            b'_' => self.note(is_first, Answer::Missing),
            b'-' => self.note(is_first, Answer::Error(String::from_utf8_lossy(rest).into_owned())),
            b'+' | b':' | b',' | b'#' | b'(' => {}
            _ => return Err(format!("no reply: {}", String::from_utf8_lossy(line))),
        }
        self.value_ends(each);
        Ok(())
    }

    fn note(&mut self, is_first: bool, answer: Answer) {
        if is_first {
            self.begun = Some(answer);
        }
    }

    fn value_ends(&mut self, each: &mut impl FnMut(Answer)) {
        self.lacking -= 1;
        if self.lacking == 0 {
            each(self.begun.take().unwrap_or(Answer::Present(self.strings)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_apart_in_any_pieces() {
        let text = b"+OK\r\n$-1\r\n$5\r\na\r\nbc\r\n:7\r\n-ERR no\r\n*2\r\n*2\r\n$1\r\na\r\n$0\r\n\r\n$-1\r\n*0\r\n*-1\r\n%1\r\n+a\r\n_\r\n";
        let wanted = [
            Answer::Present(0),
            Answer::Missing,
            Answer::Present(1),
            Answer::Present(0),
            Answer::Error("ERR no".into()),
            Answer::Present(2),
            Answer::Present(0),
            Answer::Missing,
            Answer::Present(0),
        ];
        for piece in 1..text.len() {
            let (mut replies, mut seen) = (Replies::default(), Vec::new());
            for bytes in text.chunks(piece) {
                replies.read(bytes, |answer| seen.push(answer)).unwrap();
            }
            assert_eq!(seen, wanted, "in pieces of {piece}");
        }
        assert!(Replies::default().read(b"what\r\n", |_| {}).is_err());
    }
}

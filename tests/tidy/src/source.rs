//! A Rust file as the rules see it: lines with their comments cut off, and whether they are test code.

/// One line.
pub struct Line<'a> {
    /// As it stands.
    pub whole: &'a str,
    /// Without what follows `//`.
    pub code: &'a str,
    /// Whether it is compiled for tests only.
    pub is_test: bool,
}

/// One file.
pub struct Source<'a> {
    /// Its lines.
    pub lines: Vec<Line<'a>>,
}

impl<'a> Source<'a> {
    /// Splits a file. Test code is what lives in a folder or file of tests, and what follows a `#[cfg(test)]` at the
    /// left margin that opens a module, up to the brace that closes it at the left margin.
    pub fn new(path: &str, text: &'a str) -> Source<'a> {
        let all_test = path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/benches/");
        let mut lines = Vec::new();
        let (mut attribute, mut inside) = (false, false);
        for whole in text.lines() {
            let code = whole.split("//").next().unwrap_or_default();
            let opens = attribute && code.starts_with("mod ") && code.trim_end().ends_with('{');
            inside |= opens;
            lines.push(Line { whole, code, is_test: all_test || attribute || inside });
            if inside && code.starts_with('}') {
                inside = false;
            }
            // Other attributes may stand between `#[cfg(test)]` and its item.
            attribute = code.starts_with("#[cfg(test)]") || (attribute && code.starts_with("#["));
        }
        Source { lines }
    }

    /// Whether line `number` (from 0) or the one above it allows `text`, with a reason.
    pub fn allows(&self, number: usize, text: &str) -> bool {
        let wanted = format!("tidy: allow {text}: ");
        let above = number.checked_sub(1).and_then(|above| self.lines.get(above));
        self.lines.get(number).into_iter().chain(above).any(|line| line.whole.contains(&wanted))
    }
}

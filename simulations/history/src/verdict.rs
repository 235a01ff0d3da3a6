//! What a check says.

use std::fmt;
use std::path::PathBuf;

use crate::Operation;

/// What one check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// How many things were checked and decided.
    pub checked: u64,
    /// What cannot have been.
    pub violations: Vec<Violation>,
    /// How many things could not be decided in the time given. They are no success.
    pub undecided: u64,
}

impl Verdict {
    /// Whether nothing is wrong, as far as it was decided.
    pub fn held(&self) -> bool {
        self.violations.is_empty()
    }

    /// Adds another verdict to this one.
    pub fn add(&mut self, other: Verdict) {
        self.checked += other.checked;
        self.violations.extend(other.violations);
        self.undecided += other.undecided;
    }

    pub(crate) fn violation<'a>(&mut self, what: String, operations: impl IntoIterator<Item = &'a Operation>) {
        let mut operations: Vec<Operation> = operations.into_iter().cloned().collect();
        operations.sort_by_key(|operation| operation.id);
        operations.dedup_by_key(|operation| operation.id);
        self.violations.push(Violation { what, operations, picture: None });
    }
}

/// Something that cannot have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong, in words.
    pub what: String,
    /// The operations that show it, as few as could be found.
    pub operations: Vec<Operation>,
    /// Where the picture was written, if one was.
    pub picture: Option<PathBuf>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        for operation in &self.operations {
            write!(f, "\n  {operation}")?;
        }
        match &self.picture {
            Some(picture) => write!(f, "\n  picture: {}", picture.display()),
            None => Ok(()),
        }
    }
}

//! What must always hold, one invariant a file. Some are judged as it happens, the others at the end, on the clients' history and the
//! ledger of what the nodes applied.

pub mod atomic;
mod case;
pub mod fresh;
pub mod i01;
pub mod i02;
pub mod i03;
pub mod i04;
pub mod i05;
pub mod i06;
pub mod i07;
pub mod i08;
pub mod i09;
pub mod i10;
pub mod i11;
pub mod i12;
pub mod i13;
pub mod linearizable;
pub mod once;
pub mod watched;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use talon_history::{Operation, Verdict};

pub use case::{Case, Matched};

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "`words` says each one")]
pub enum Invariant {
    I1,
    I2,
    I3,
    I4,
    I5,
    I6,
    I7,
    I8,
    I9,
    I10,
    I11,
    I12,
    I13,
    Linearizable,
    Atomic,
    Once,
    Watched,
    Fresh,
    NoPanic,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Invariant; 19] = [
        Invariant::I1,
        Invariant::I2,
        Invariant::I3,
        Invariant::I4,
        Invariant::I5,
        Invariant::I6,
        Invariant::I7,
        Invariant::I8,
        Invariant::I9,
        Invariant::I10,
        Invariant::I11,
        Invariant::I12,
        Invariant::I13,
        Invariant::Linearizable,
        Invariant::Atomic,
        Invariant::Once,
        Invariant::Watched,
        Invariant::Fresh,
        Invariant::NoPanic,
    ];

    /// What it says.
    pub fn words(self) -> &'static str {
        match self {
            Invariant::I1 => "same position, same state",
            Invariant::I2 => "T never decreases",
            Invariant::I3 => "a read is what the state it names answers",
            Invariant::I4 => "nil stays nil in a session",
            Invariant::I5 => "a time left never grows without a write",
            Invariant::I6 => "nothing ends before its time",
            Invariant::I7 => "an acknowledged write survives, and is done once",
            Invariant::I8 => "nothing ends late in a healthy cluster",
            Invariant::I9 => "a purge removes only what has ended",
            Invariant::I10 => "all of these with clocks that are wrong",
            Invariant::I11 => "counters count",
            Invariant::I12 => "one leader a term, and entries stay",
            Invariant::I13 => "whole again 30 s after the faults",
            Invariant::Linearizable => "every key is linearizable",
            Invariant::Atomic => "what is written together is seen together",
            Invariant::Once => "what is sent again under its number is done once",
            Invariant::Watched => "a transaction goes ahead only if what it watched is untouched",
            Invariant::Fresh => "a read is no older than was asked for",
            Invariant::NoPanic => "no task panics",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invariant::Linearizable => out.write_str("linearizable"),
            Invariant::Atomic => out.write_str("atomic"),
            Invariant::Once => out.write_str("once"),
            Invariant::Watched => out.write_str("watched"),
            Invariant::Fresh => out.write_str("fresh"),
            Invariant::NoPanic => out.write_str("no panic"),
            numbered => write!(out, "{numbered:?}"),
        }
    }
}

/// A violation, as a judge finds it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was violated.
    pub invariant: Invariant,
    /// What happened, in words.
    pub what: String,
    /// The log index it is about, if it is about one.
    pub index: Option<u64>,
    /// The operations that show it.
    pub operations: Vec<Operation>,
    /// A picture of the history.
    pub picture: Option<PathBuf>,
}

impl Finding {
    /// Seen at a log index.
    pub fn at(invariant: Invariant, index: u64, what: String) -> Finding {
        Finding { invariant, what, index: Some(index), operations: Vec::new(), picture: None }
    }

    /// Seen in operations.
    pub fn of(invariant: Invariant, what: String, operations: Vec<Operation>) -> Finding {
        Finding { invariant, what, index: None, operations, picture: None }
    }
}

/// How many findings are kept of each invariant: one cause often shows a thousand times.
const FINDINGS_MAX: usize = 10;

/// What was checked, and what was found.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// How often each invariant was checked.
    pub checked: BTreeMap<Invariant, u64>,
    /// What could not be decided within its bound of time.
    pub undecided: u64,
    /// How often each invariant was violated.
    pub violated: BTreeMap<Invariant, u64>,
    /// The first violations of each.
    pub findings: Vec<Finding>,
}

impl Score {
    /// Counts a check.
    pub fn check(&mut self, invariant: Invariant, holds: bool, finding: impl FnOnce() -> Finding) {
        self.count(invariant, 1);
        if !holds {
            self.violate(finding());
        }
    }

    /// Counts checks that held.
    pub fn count(&mut self, invariant: Invariant, checks: u64) {
        *self.checked.entry(invariant).or_default() += checks;
    }

    /// Takes a violation down.
    pub fn violate(&mut self, finding: Finding) {
        let violated = self.violated.entry(finding.invariant).or_default();
        *violated += 1;
        if *violated <= FINDINGS_MAX as u64 {
            self.findings.push(finding);
        }
    }

    /// Takes over what a check of the history said.
    pub fn take(&mut self, invariant: Invariant, verdict: Verdict) {
        self.count(invariant, verdict.checked);
        self.undecided += verdict.undecided;
        for violation in verdict.violations {
            let talon_history::Violation { what, operations, picture } = violation;
            self.violate(Finding { invariant, what, index: None, operations, picture });
        }
    }
}

/// All judgements that are made at the end.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    i02::judge(case, score);
    i03::judge(case, score);
    i04::judge(case, score);
    i05::judge(case, score);
    i06::judge(case, score);
    i07::judge(case, score);
    i08::judge(case, score);
    i11::judge(case, score);
    i13::judge(case, score);
    linearizable::judge(case, score);
    atomic::judge(case, score);
    once::judge(case, score);
    watched::judge(case, score);
    fresh::judge(case, score);
    // It counts the others.
    i10::judge(case, score);
}

//! What came of the damage, as a table.

use std::collections::BTreeMap;
use std::fmt;

use crate::harm::{FileKind, Harm};

/// How a node answered to damage. Wrong data is none of these: it ends the test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did not start, and said this.
    Refused(String),
    /// It started, and stopped with these words when it read the place.
    Stopped(String),
    /// It said this, got from its peers what it lacked, and ended equal to them.
    Repaired(String),
    /// It needed nothing and ended equal to its peers.
    Harmless,
}

#[derive(Clone, Debug, Default)]
struct Row {
    refused: u64,
    stopped: u64,
    repaired: u64,
    harmless: u64,
    /// One example of each message.
    messages: BTreeMap<&'static str, String>,
}

/// All verdicts so far.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rows: BTreeMap<FileKind, Row>,
}

impl Report {
    /// Takes one in.
    pub fn add(&mut self, harm: &Harm, verdict: &Verdict) {
        let row = self.rows.entry(harm.kind).or_default();
        let (count, what, message) = match verdict {
            Verdict::Refused(message) => (&mut row.refused, "refused", Some(message)),
            Verdict::Stopped(message) => (&mut row.stopped, "stopped", Some(message)),
            Verdict::Repaired(message) => (&mut row.repaired, "repaired", Some(message)),
            Verdict::Harmless => (&mut row.harmless, "harmless", None),
        };
        *count += 1;
        if let Some(message) = message {
            row.messages.entry(what).or_insert_with(|| format!("{message} [{harm}]"));
        }
    }

    /// How many places have been tried.
    pub fn places(&self) -> u64 {
        self.rows.values().map(|row| row.refused + row.stopped + row.repaired + row.harmless).sum()
    }

    /// How many nodes refused to start, or stopped.
    pub fn noticed(&self) -> u64 {
        self.rows.values().map(|row| row.refused + row.stopped).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<26} {:>6} {:>8} {:>8} {:>9} {:>9}",
            "file", "places", "refused", "stopped", "repaired", "harmless"
        )?;
        let mut sum = Row::default();
        for (kind, row) in &self.rows {
            write_row(out, kind.name(), row)?;
            sum.refused += row.refused;
            sum.stopped += row.stopped;
            sum.repaired += row.repaired;
            sum.harmless += row.harmless;
        }
        write_row(out, "together", &sum)?;
        for (kind, row) in &self.rows {
            for (what, message) in &row.messages {
                writeln!(out, "{}, {what}: {message}", kind.name())?;
            }
        }
        Ok(())
    }
}

fn write_row(out: &mut fmt::Formatter<'_>, name: &str, row: &Row) -> fmt::Result {
    let places = row.refused + row.stopped + row.repaired + row.harmless;
    writeln!(
        out,
        "{name:<26} {places:>6} {:>8} {:>8} {:>9} {:>9}",
        row.refused, row.stopped, row.repaired, row.harmless
    )
}

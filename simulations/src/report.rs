//! What came of a run, for people and for whoever adds runs up.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::{Deserialize, Serialize};

use crate::faults::{FaultCount, FaultKind};
use crate::invariants::Invariant;
use crate::plan::Plan;

/// All of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What was done.
    pub plan: Plan,
    /// The trace's hash, in hex.
    pub trace: String,
    /// How many events are in the trace.
    pub events: u64,
    /// How long it took, simulated ms.
    pub simulated_ms: u64,
    /// How many operations were acknowledged, refused, and of unknown fate.
    pub operations: [u64; 3],
    /// How many entries were committed.
    pub entries: u64,
    /// How many terms had a leader.
    pub leaders: u64,
    /// The faults.
    pub faults: BTreeMap<FaultKind, FaultCount>,
    /// How often each invariant was checked.
    pub checked: BTreeMap<Invariant, u64>,
    /// How often each invariant was violated.
    pub violated: BTreeMap<Invariant, u64>,
    /// What could not be decided within its bound of time.
    pub undecided: u64,
    /// What was violated, the first of each.
    pub violations: Vec<Violation>,
    /// The command that does all this again.
    pub reproduce: String,
}

/// A violated invariant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// What happened, in words.
    pub what: String,
    /// The operations that show it, a line each.
    pub operations: Vec<String>,
    /// What the log holds around it, a line an entry.
    pub ledger: Vec<String>,
    /// A picture of the history, a file.
    pub picture: Option<String>,
}

impl Report {
    /// Whether nothing was violated.
    pub fn held(&self) -> bool {
        self.violated.is_empty()
    }
}

/// The command that runs a plan.
pub fn command(plan: &Plan) -> String {
    let mut command = format!("simulate --seed {} --minutes {}", plan.seed, plan.duration_s.div_ceil(60));
    if plan.scenario != "swarm" {
        command += &format!(" --scenario {}", plan.scenario);
    }
    command += &format!(" --clients {}", plan.clients);
    if let Some(bug) = &plan.planted {
        command += &format!(" --plant {bug}");
    }
    command
}

/// A table in the house's looks: numbers to the right.
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(head.to_vec());
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// The table of what was done to the nodes.
pub fn faults(counts: &BTreeMap<FaultKind, FaultCount>) -> Table {
    let mut table = table(&["fault", "happened", "hit"]);
    for (kind, count) in counts {
        table.add_row([format!("{kind:?}"), count.happened.to_string(), count.hit.to_string()]);
    }
    table
}

/// The table of what was checked.
pub fn invariants(checked: &BTreeMap<Invariant, u64>, violated: &BTreeMap<Invariant, u64>) -> Table {
    let mut table = table(&["invariant", "checked", "violated", "says"]);
    if let Some(says) = table.column_mut(3) {
        says.set_cell_alignment(CellAlignment::Left);
    }
    for invariant in Invariant::ALL {
        let count = |counts: &BTreeMap<Invariant, u64>| counts.get(&invariant).copied().unwrap_or(0).to_string();
        table.add_row([invariant.to_string(), count(checked), count(violated), invariant.words().to_owned()]);
    }
    table
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "VIOLATED {} ({}): {}", self.invariant, self.invariant.words(), self.what)?;
        self.operations.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        if !self.ledger.is_empty() {
            writeln!(out, "  the log around it:")?;
        }
        self.ledger.iter().try_for_each(|line| writeln!(out, "    {line}"))?;
        self.picture.iter().try_for_each(|picture| writeln!(out, "  picture: {picture}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [acknowledged, refused, unknown] = self.operations;
        let Plan { seed, scenario, voters, clients, .. } = &self.plan;
        let seconds = self.simulated_ms / 1000;
        writeln!(out, "seed {seed}, scenario {scenario}: {voters} voters and {clients} clients for {seconds} s")?;
        writeln!(out, "operations: {acknowledged} acknowledged, {refused} refused, {unknown} of unknown fate")?;
        writeln!(out, "entries: {}, leaders: {}, events: {}", self.entries, self.leaders, self.events)?;
        if !self.faults.is_empty() {
            writeln!(out, "{}", faults(&self.faults))?;
        }
        writeln!(out, "{}", invariants(&self.checked, &self.violated))?;
        if self.undecided > 0 {
            writeln!(out, "undecided: {}", self.undecided)?;
        }
        self.violations.iter().try_for_each(|violation| writeln!(out, "\n{violation}"))?;
        if !self.held() {
            writeln!(out, "again: {}", self.reproduce)?;
        }
        Ok(())
    }
}

//! What came of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::faults::{FaultCount, FaultKind};
use crate::plan::Plan;

/// All of it, for people and for whoever adds runs up.
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
    pub checked: BTreeMap<String, u64>,
    /// What could not be decided within its bound of time.
    pub undecided: u64,
    /// What was violated.
    pub violations: Vec<Violation>,
}

/// A violated invariant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Violation {
    /// `I1` and so on.
    pub invariant: String,
    /// What happened, in words.
    pub what: String,
    /// The operations that show it, a line each.
    pub operations: Vec<String>,
    /// A picture of the history, a file.
    pub picture: Option<String>,
}

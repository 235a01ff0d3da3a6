//! What a run does, decided by its seed before it begins.

use serde::{Deserialize, Serialize};
use talon_core::planted::Bug;
use talon_core::random::SplitMix64;

use crate::faults::FaultKind;
use crate::workloads::WorkloadKind;

/// How long the cluster has to become whole after the last fault, simulated s (I13).
pub const QUIET_S: u64 = 30;

/// The plan of a run. The same plan gives the same run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Decides everything that this plan does not say.
    pub seed: u64,
    /// How long the run takes, the quiet phase at its end included, simulated s.
    pub duration_s: u64,
    /// The scenario's name; `swarm` = the seed chooses.
    pub scenario: String,
    /// How many nodes form the cluster.
    pub voters: u64,
    /// How many more machines there are, for nodes that are added.
    pub spares: u64,
    /// How many clients there are.
    pub clients: u32,
    /// How long a message takes at least and at most, µs.
    pub latency_us: (u64, u64),
    /// The faults that may happen, with their weights.
    pub faults: Vec<(FaultKind, u32)>,
    /// How long there is peace between two faults on average, ms.
    pub fault_interval_ms: u64,
    /// What the clients do: client n does the n-th of these, and so on in turns.
    pub workloads: Vec<WorkloadKind>,
    /// Keys of each workload.
    pub keys: u64,
    /// The log's bytes before a checkpoint; small ones make followers need checkpoints.
    pub log_bytes_before_checkpoint: u64,
    /// How much log is kept for followers that lag, bytes.
    pub log_bytes_max: u64,
    /// The bug that is planted, if any.
    pub planted: Option<String>,
}

impl Plan {
    /// The plan that the seed chooses: a few kinds of faults and workloads of all there are, so that each run is lopsided in its own way.
    pub fn swarm(seed: u64, duration_s: u64, clients: Option<u32>) -> Plan {
        let mut random = SplitMix64(seed ^ 0x5EED);
        let mut below = |count: u64| random.draw() % count;
        let mut faults: Vec<(FaultKind, u32)> =
            FaultKind::ALL.iter().filter_map(|kind| (below(3) == 0).then(|| (*kind, 1 + below(4) as u32))).collect();
        if faults.is_empty() {
            faults.push((FaultKind::ALL[below(FaultKind::ALL.len() as u64) as usize], 1));
        }
        let mut workloads: Vec<WorkloadKind> = WorkloadKind::ALL.to_vec();
        for place in (1..workloads.len()).rev() {
            workloads.swap(place, below(place as u64 + 1) as usize);
        }
        Plan {
            seed,
            duration_s,
            scenario: "swarm".to_owned(),
            voters: if below(4) == 0 { 5 } else { 3 },
            spares: 1,
            clients: clients.unwrap_or(5 + below(5) as u32),
            latency_us: (100 + below(400), 1_000 + below(8_000)),
            faults,
            fault_interval_ms: 1_000 + below(6_000),
            workloads,
            keys: 3 + below(10),
            log_bytes_before_checkpoint: 8 << (10 + below(4)),
            log_bytes_max: 16 << (10 + below(4)),
            planted: None,
        }
    }

    /// The planted bug.
    pub fn bug(&self) -> Option<Bug> {
        let name = self.planted.as_deref()?;
        Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name)
    }

    /// When the quiet phase begins, simulated s.
    pub fn quiet_from_s(&self) -> u64 {
        self.duration_s.saturating_sub(QUIET_S + 5)
    }
}

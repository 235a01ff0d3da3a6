//! What a run does, decided by its seed before it begins.

use serde::{Deserialize, Serialize};
use talon_core::planted::Bug;
use talon_core::random::SplitMix64;

use crate::faults::FaultKind;
use crate::workloads::WorkloadKind;

/// How long the cluster has to become whole after the last fault, simulated s (I13).
pub const QUIET_S: u64 = 30;

/// Work that mostly reads from any node, from whatever state it is in.
const READ_ANYWHERE: [WorkloadKind; 3] = [WorkloadKind::Groups, WorkloadKind::Expiries, WorkloadKind::Sessions];

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
    /// How long a sync of a disk takes at most while all is well, µs.
    pub sync_us_max: u64,
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
    /// Clocks that are wrong from the start until the quiet phase.
    pub wrong_clocks: Vec<WrongClock>,
    /// Whether nodes that do not lead have the leader carry out writes (`writes_on_follower = "forward"`), and clients send them to any node.
    pub forwards: bool,
    /// The bug that is planted, if any.
    pub planted: Option<String>,
}

/// A node's clocks that are wrong from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongClock {
    /// Whose.
    pub node: u64,
    /// By how much the wall clock is ahead, ms; negative: behind.
    pub wall_ms: i64,
    /// By how many parts in a million both clocks run too fast; negative: too slow.
    pub fast_ppm: i64,
}

/// A scenario: its name, and what it is in a line.
pub type Scenario = (&'static str, &'static str);

/// Scenarios that are more than one kind of fault.
const OWN: [Scenario; 9] = [
    ("swarm", "the seed chooses a few kinds of faults of all there are, and everything else"),
    ("healthy", "nothing goes wrong at all: what only holds in a healthy cluster must hold"),
    (
        "leader-restore",
        "all machines lose their power again and again; with openraft's leader restore on, a restarted leader gave the log ids of a tail \
         that it had lost to other entries, and states diverged",
    ),
    ("wrong-clocks", "clocks of a minority are wrong from the start, jump and drift, while leadership moves"),
    (
        "few-clocks",
        "clocks of a minority are wrong, and nodes that have just started have heard few others when they lead: T does not follow them back",
    ),
    ("pauses", "machines stand still, and leadership moves: nobody may read by a lease that is over"),
    (
        "late-replies",
        "leaders are cut off or stand still, and replies from before come late: they are no word about later requests",
    ),
    (
        "forwarded",
        "clients send writes to any node, which has the leader carry them out, while links and processes fail and leadership moves",
    ),
    ("restarts", "processes are killed and start again at once, also while they elect and hand over"),
];

/// All scenarios.
pub fn scenarios() -> Vec<Scenario> {
    OWN.into_iter().chain(FaultKind::ALL.into_iter().map(FaultKind::words)).collect()
}

impl Plan {
    /// The plan that the seed chooses: a few kinds of faults and workloads of all there are, so that each run is lopsided in its own way.
    pub fn swarm(seed: u64, duration_s: u64, clients: Option<u32>) -> Plan {
        let mut random = SplitMix64(seed ^ 0x5EED);
        let mut below = |count: u64| random.draw() % count;
        let voters = if below(4) == 0 { 5 } else { 3 };
        let mut workloads: Vec<WorkloadKind> = WorkloadKind::ALL.to_vec();
        for place in (1..workloads.len()).rev() {
            workloads.swap(place, below(place as u64 + 1) as usize);
        }
        let mut plan = Plan {
            seed,
            duration_s,
            scenario: "swarm".to_owned(),
            voters,
            spares: 1,
            clients: clients.unwrap_or(5 + below(5) as u32),
            latency_us: (100 + below(400), 1_000 + below(8_000)),
            sync_us_max: 500 << below(6),
            faults: Vec::new(),
            fault_interval_ms: 500 + below(8) * below(1_000),
            workloads,
            keys: 3 + below(10),
            log_bytes_before_checkpoint: 8 << (10 + below(4)),
            log_bytes_max: 16 << (10 + below(4)),
            wrong_clocks: Vec::new(),
            forwards: false,
            planted: None,
        };
        let kinds = match below(16) {
            0 => 0,
            drawn => 1 + drawn % 6,
        };
        for _ in 0..kinds {
            let kind = FaultKind::ALL[below(FaultKind::ALL.len() as u64) as usize];
            if plan.faults.iter().all(|(known, _)| *known != kind) {
                plan.faults.push((kind, 1 + below(4) as u32));
            }
        }
        if plan.faults.iter().any(|(kind, _)| matches!(kind, FaultKind::FarBehind | FaultKind::CutOffBehind)) {
            plan.keep_little_log();
        }
        if kinds > 0 && below(5) == 0 {
            plan.let_clocks_be_wrong();
        }
        plan.forwards = below(3) == 0;
        plan
    }

    /// The plan of a named scenario; what its name does not say, the seed chooses.
    pub fn scenario(name: &str, seed: u64, duration_s: u64, clients: Option<u32>) -> Option<Plan> {
        let mut plan = Plan::swarm(seed, duration_s, clients);
        let (faults, interval_ms) = match name {
            "swarm" => return Some(plan),
            "healthy" => (Vec::new(), 1_000),
            "leader-restore" => (vec![(FaultKind::PowerCutAll, 1)], 1_500),
            "wrong-clocks" => {
                (vec![(FaultKind::ClockJump, 2), (FaultKind::ClockDrift, 1), (FaultKind::Transfer, 2)], 3_000)
            }
            "few-clocks" => (
                vec![
                    (FaultKind::Crash, 4),
                    (FaultKind::Partition, 1),
                    (FaultKind::ClockJump, 1),
                    (FaultKind::Transfer, 1),
                ],
                1_500,
            ),
            "pauses" => (vec![(FaultKind::Pause, 3), (FaultKind::Transfer, 1)], 2_000),
            "cut-off-behind" => {
                (vec![(FaultKind::CutOffBehind, 4), (FaultKind::Partition, 2), (FaultKind::Crash, 2)], 1_000)
            }
            "late-replies" => (
                vec![
                    (FaultKind::SlowLinks, 4),
                    (FaultKind::Pause, 2),
                    (FaultKind::Partition, 2),
                    (FaultKind::Flapping, 1),
                ],
                800,
            ),
            "forwarded" => (
                vec![
                    (FaultKind::Partition, 3),
                    (FaultKind::Crash, 3),
                    (FaultKind::Transfer, 2),
                    (FaultKind::OneWay, 1),
                    (FaultKind::Stalled, 1),
                    (FaultKind::Pause, 1),
                ],
                1_500,
            ),
            "restarts" => (vec![(FaultKind::Crash, 4), (FaultKind::PowerCut, 2), (FaultKind::Transfer, 1)], 1_500),
            _ => {
                let kind = FaultKind::ALL.into_iter().find(|kind| kind.words().0 == name)?;
                (vec![(kind, 1)], 2_500)
            }
        };
        plan.scenario = name.to_owned();
        plan.faults = faults;
        plan.fault_interval_ms = interval_ms;
        plan.wrong_clocks.clear();
        match name {
            "wrong-clocks" | "few-clocks" => plan.let_clocks_be_wrong(),
            "forwarded" => plan.forwards = true,
            "far-behind" => plan.keep_little_log(),
            "cut-off-behind" => {
                plan.keep_little_log();
                // All there is to do, and more of what reads on any node.
                let more = plan.workloads.clone().into_iter().filter(|kind| READ_ANYWHERE.contains(kind));
                plan.workloads.extend(more.collect::<Vec<_>>());
            }
            _ => {}
        }
        Some(plan)
    }

    /// So little that whoever is away for seconds needs a checkpoint.
    fn keep_little_log(&mut self) {
        (self.log_bytes_before_checkpoint, self.log_bytes_max) = (8 << 10, 16 << 10);
    }

    /// Of a minority of the voters: with a majority's clocks wrong, nobody could tell.
    fn let_clocks_be_wrong(&mut self) {
        let mut random = SplitMix64(self.seed ^ 0xC10C);
        let first = random.below(self.voters);
        for place in 0..(self.voters - 1) / 2 {
            let hours_ms = random.below(7_200_001) as i64 - 3_600_000;
            let wall_ms = if random.below(3) == 0 { hours_ms / 1_000 } else { hours_ms };
            let fast_ppm = if random.below(2) == 0 { 0 } else { random.below(100_001) as i64 - 50_000 };
            self.wrong_clocks.push(WrongClock { node: 1 + (first + place) % self.voters, wall_ms, fast_ppm });
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

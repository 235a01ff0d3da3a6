//! I13: 30 simulated seconds after the faults stop, all nodes are equal and writes succeed.

use std::collections::BTreeMap;

use super::{Case, Finding, Invariant, Score};

/// From when on after the healing a client that keeps asking must be answered, µs.
const ANSWERED_AFTER_US: u64 = 20_000_000;
/// How often a client must have asked to be judged by it.
const ASKED_MIN: u64 = 5;

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// When the faults had stopped, simulated µs.
    pub healed_us: u64,
    /// Where each member of the cluster stood in the end.
    pub members: Vec<Standing>,
}

/// Where a member stood in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The node.
    pub node: u64,
    /// Whether it ran.
    pub runs: bool,
    /// The index of the last entry it had applied, and `T`.
    pub at: (u64, u64),
    /// The hash of its state there, if it was taken.
    pub hash: Option<String>,
}

impl Settled {
    /// What is not as it should be.
    pub fn difference(&self) -> Option<String> {
        let Some(first) = self.members.first() else { return Some("nobody is a member of the cluster".to_owned()) };
        let unlike = |one: &&Standing| {
            let same_hash = one.hash.is_none() || first.hash.is_none() || one.hash == first.hash;
            !one.runs || one.at != first.at || !same_hash
        };
        self.members.iter().find(unlike).map(|one| match one.runs {
            true => format!("node {} stands at {:?}, node {} at {:?}", first.node, first.at, one.node, one.at),
            false => format!("node {} does not run", one.node),
        })
    }
}

/// On how the run ended.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    let difference = case.settled.difference();
    score.check(Invariant::I13, difference.is_none(), || {
        let what = format!("30 s after the last fault, {}", difference.unwrap_or_default());
        Finding::of(Invariant::I13, what, Vec::new())
    });
    // Reads and writes of each client: how many were asked for, and how many answered.
    let mut asked: BTreeMap<(u32, bool), (u64, u64)> = BTreeMap::new();
    let from_us = case.settled.healed_us + ANSWERED_AFTER_US;
    for operation in case.history.operations().iter().filter(|operation| operation.called_us >= from_us) {
        let (asked, answered) = asked.entry((operation.client, operation.action.writes())).or_default();
        *asked += 1;
        *answered += u64::from(operation.reply().is_some());
    }
    for ((client, writes), (asked, answered)) in asked.into_iter().filter(|(_, (asked, _))| *asked >= ASKED_MIN) {
        score.check(Invariant::I13, answered > 0, || {
            let kind = if writes { "writes" } else { "reads" };
            let what =
                format!("20 s after the last fault and later, none of {asked} {kind} of client {client} was answered");
            let last = case.history.operations().iter().rfind(|operation| operation.client == client);
            Finding::of(Invariant::I13, what, last.into_iter().cloned().collect())
        });
    }
}

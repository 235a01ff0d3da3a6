//! What clients do.
//!
//! Clients are grouped into lanes of a few, and a lane does one kind of work at a time, for some seconds; so each kind has clients that compete
//! for its keys, and a run of minutes has them all. Keys are fresh every few seconds, so that no key gathers more than a search can decide.
//! At the end every client reads all that it touched once more, on the leader and on every other node.

mod compare;
mod counters;
mod expiries;
mod groups;
mod hand;
mod handles;
mod judging;
mod levels;
mod once;
mod prefixes;
mod registers;
mod sessions;
mod snapshots;
mod watched;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::hand::Hand;
pub use self::judging::{Checks, absolute, checks, groups, history_of, prefix};
use crate::ambient::elapsed_us;
use crate::world::World;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// Writes and reads single keys, in every way that has no end.
    Registers,
    /// Adds, and reads the sums.
    Counters,
    /// Compares and sets.
    CompareAndSet,
    /// Writes several keys at once, always the same ones together, and reads them.
    Groups,
    /// Keys that end, rewritten, persisted and renamed around their end.
    Expiries,
    /// Removes by prefix, and scans.
    Prefixes,
    /// Reads from any node in sessions that carry their position.
    Sessions,
    /// Reads several keys from one point in time, also later.
    Snapshots,
    /// Adds under `ONCE`, and sends again what was not answered.
    Once,
    /// Writes what depends on watched keys.
    Watched,
    /// Reads from any node as fresh as is asked for.
    Levels,
    /// Reads through handles that clients keep on nodes.
    Handles,
}

impl WorkloadKind {
    /// All of them.
    pub const ALL: [WorkloadKind; 12] = [
        WorkloadKind::Registers,
        WorkloadKind::Counters,
        WorkloadKind::CompareAndSet,
        WorkloadKind::Groups,
        WorkloadKind::Expiries,
        WorkloadKind::Prefixes,
        WorkloadKind::Sessions,
        WorkloadKind::Snapshots,
        WorkloadKind::Once,
        WorkloadKind::Watched,
        WorkloadKind::Levels,
        WorkloadKind::Handles,
    ];
}

/// How long a lane does one kind of work, µs.
const PHASE_US: u64 = 8_000_000;
/// How long before the end of the run the last reads begin, s.
const LAST_READS_S: u64 = 10;

/// Runs the client with this number: it works, and reads once more before the run ends.
pub async fn run(world: Arc<World>, number: u32) {
    let kinds = world.plan.workloads.clone();
    let mut hand = Hand::new(world, number);
    let mut doing = None;
    while !hand.is_over() {
        let phase = elapsed_us() / PHASE_US;
        let Some(kind) = kinds.get(hand.turn(phase) as usize % kinds.len().max(1)).copied() else { return };
        if doing != Some((phase, kind)) {
            doing = Some((phase, kind));
            hand.begin(kind);
        }
        match kind {
            WorkloadKind::Registers => registers::step(&mut hand).await,
            WorkloadKind::Counters => counters::step(&mut hand).await,
            WorkloadKind::CompareAndSet => compare::step(&mut hand).await,
            WorkloadKind::Groups => groups::step(&mut hand).await,
            WorkloadKind::Expiries => expiries::step(&mut hand).await,
            WorkloadKind::Prefixes => prefixes::step(&mut hand).await,
            WorkloadKind::Sessions => sessions::step(&mut hand).await,
            WorkloadKind::Snapshots => snapshots::step(&mut hand).await,
            WorkloadKind::Once => once::step(&mut hand).await,
            WorkloadKind::Watched => watched::step(&mut hand).await,
            WorkloadKind::Levels => levels::step(&mut hand).await,
            WorkloadKind::Handles => handles::step(&mut hand).await,
        }
        hand.rest().await;
    }
    hand.read_all().await;
}

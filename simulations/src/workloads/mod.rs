//! What clients do.

mod registers;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::world::World;

/// A kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// Writes and reads single keys.
    Registers,
}

impl WorkloadKind {
    /// All of them.
    pub const ALL: [WorkloadKind; 1] = [WorkloadKind::Registers];
}

/// Runs the client with this number until the world ends.
pub async fn run(world: Arc<World>, number: u32) {
    let kinds = &world.plan.workloads;
    let Some(kind) = kinds.get(number as usize % kinds.len().max(1)).copied() else { return };
    match kind {
        WorkloadKind::Registers => registers::run(world, number).await,
    }
}

//! What all parts of a run share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use talon_core::Database;
use talon_history::History;

use crate::ambient::elapsed_us;
use crate::host::Process;
use crate::ledger::SharedLedger;
use crate::plan::Plan;

/// How long before the end every state is hashed, s: what a node stands at in the end is to be among them.
const HASH_ALL_S: u64 = 12;

/// A run under way.
pub struct World {
    /// What it does.
    pub plan: Plan,
    /// The nodes, by their numbers from 1 on; the spare ones last.
    pub processes: Vec<Arc<Process>>,
    /// What the nodes did.
    pub ledger: SharedLedger,
    history: Mutex<History>,
    quiet: AtomicBool,
    healed_at_us: AtomicU64,
    over: AtomicBool,
}

impl World {
    /// Before it begins.
    pub fn new(plan: Plan, processes: Vec<Arc<Process>>, ledger: SharedLedger) -> World {
        World {
            plan,
            processes,
            ledger,
            history: Mutex::default(),
            quiet: AtomicBool::new(false),
            healed_at_us: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// What the clients did.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called after each tick: takes down what the judges need to know of true time.
    pub fn watch(&self) {
        let now_us = elapsed_us();
        let ledger = &mut *self.ledger.open();
        ledger.clock_errors.watch(self, now_us);
        if now_us >= self.plan.duration_s.saturating_sub(HASH_ALL_S) * 1_000_000 {
            ledger.hash_all();
        }
    }

    /// The node with this number.
    pub fn process(&self, id: u64) -> Option<&Arc<Process>> {
        self.processes.iter().find(|process| process.id == id)
    }

    /// Who leads the newest term, whether or not it still runs.
    pub fn leader(&self) -> Option<u64> {
        self.ledger.open().leaders.last_key_value().map(|(_, id)| *id)
    }

    /// Who belongs to the cluster, by the word of the node that leads now; without one, who founded it.
    pub fn members(&self) -> Vec<u64> {
        let node = self.leader().and_then(|id| self.process(id)).and_then(|process| process.node());
        let members: Vec<u64> =
            node.map(|node| node.status().members.iter().map(|m| m.id).collect()).unwrap_or_default();
        if members.is_empty() { (1..=self.plan.voters).collect() } else { members }
    }

    /// No more faults from now on, and what was wrong has been made right.
    pub fn be_quiet(&self, now_us: u64) {
        self.healed_at_us.store(now_us, Ordering::Relaxed);
        self.quiet.store(true, Ordering::Relaxed);
    }

    /// When everything was made right, simulated µs; 0 = not yet.
    pub fn healed_at_us(&self) -> u64 {
        self.healed_at_us.load(Ordering::Relaxed)
    }

    /// Whether the faults are over.
    pub fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// Clients finish what they are doing.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether clients are to end.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

//! What all parts of a run share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use talon_history::History;

use crate::host::Process;
use crate::ledger::SharedLedger;
use crate::plan::Plan;

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
            over: AtomicBool::new(false),
        }
    }

    /// What the clients did.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node with this number.
    pub fn process(&self, id: u64) -> Option<&Arc<Process>> {
        self.processes.iter().find(|process| process.id == id)
    }

    /// No more faults from now on.
    pub fn be_quiet(&self) {
        self.quiet.store(true, Ordering::Relaxed);
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

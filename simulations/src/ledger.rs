//! What all nodes have done to their states, entry by entry, as seen from outside of them; compared as it happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use talon::{Content, ReadView, state_hash};
use talon_core::Call;
use talon_raft::environment::Observer;

use crate::ambient::elapsed_us;

/// At every so many entries the whole state is hashed on every node.
const HASH_EVERY: u64 = 8;

/// One committed entry.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its term.
    pub term: u64,
    /// What it carries.
    pub content: CommittedContent,
    /// Who applied it first, and when, simulated µs.
    pub first: (u64, u64),
}

/// What a committed entry carries.
#[derive(Clone, Debug)]
pub enum CommittedContent {
    /// Nothing.
    Blank,
    /// A membership.
    Membership(Vec<u8>),
    /// Writes.
    Writes {
        /// The leader's clock, Unix ms.
        stamp_ms: u64,
        /// The proposal's number.
        seed: u64,
        /// The writes alone: reads in between are not replicated.
        calls: Vec<Call>,
    },
}

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The invariant, `I1` and so on.
    pub invariant: &'static str,
    /// What happened.
    pub what: String,
}

/// The ledger of one run.
#[derive(Default)]
pub struct Ledger {
    /// By log index.
    pub entries: BTreeMap<u64, Committed>,
    /// The clock `T` behind an entry, Unix ms.
    pub clocks: BTreeMap<u64, u64>,
    /// The state's hash behind an entry, and who computed it first.
    pub hashes: BTreeMap<u64, (u64, String)>,
    /// Who led a term.
    pub leaders: BTreeMap<u64, u64>,
    /// What each node's state stands at: index and clock.
    pub standing: BTreeMap<u64, (u64, u64)>,
    /// How often a state became a node's live one: at each start, and with each installed checkpoint.
    pub opened: BTreeMap<u64, u64>,
    /// How often each invariant was checked.
    pub checked: BTreeMap<&'static str, u64>,
    /// What was violated.
    pub broken: Vec<Broken>,
}

impl Ledger {
    fn check(&mut self, invariant: &'static str, holds: bool, what: impl FnOnce() -> String) {
        *self.checked.entry(invariant).or_default() += 1;
        if !holds && self.broken.len() < 100 {
            self.broken.push(Broken { invariant, what: what() });
        }
    }

    fn take(&mut self, node: u64, entry: &talon::Entry<'_>) {
        let term = entry.position.first_chunk::<8>().map_or(0, |term| u64::from_le_bytes(*term));
        let content = match &entry.content {
            Content::Blank => CommittedContent::Blank,
            Content::Membership(membership) => CommittedContent::Membership(membership.clone()),
            Content::Calls { stamp_ms, seed, calls } => CommittedContent::Writes {
                stamp_ms: *stamp_ms,
                seed: *seed,
                calls: calls.iter().filter(|call| call.is_write()).cloned().collect(),
            },
        };
        let index = entry.index;
        match self.entries.get(&index) {
            None => {
                let first = (node, elapsed_us());
                self.entries.insert(index, Committed { term, content, first });
            }
            Some(known) => {
                let same = known.term == term && format!("{:?}", known.content) == format!("{content:?}");
                let (known, first) = (format!("{:?} of term {}", known.content, known.term), known.first.0);
                self.check("I12", same, || {
                    format!(
                        "entry {index} was {known} on node {first}, and is {content:?} of term {term} on node {node}"
                    )
                });
            }
        }
    }

    fn stand(&mut self, node: u64, view: &ReadView, anew: bool) {
        let (index, clock_ms) = (view.index(), view.clock_ms());
        if index == 0 {
            self.standing.insert(node, (0, 0));
            return;
        }
        if let Some((before, before_ms)) = self.standing.get(&node).copied().filter(|_| !anew) {
            self.check("I2", clock_ms >= before_ms && index >= before, || {
                format!("on node {node}, T went from {before_ms} at {before} to {clock_ms} at {index}")
            });
        }
        self.standing.insert(node, (index, clock_ms));
        let known_ms = *self.clocks.entry(index).or_insert(clock_ms);
        self.check("I2", known_ms == clock_ms, || {
            format!("T at {index} is {clock_ms} on node {node}, and was {known_ms} on another one")
        });
        let below = self.clocks.range(..index).next_back().map(|(index, clock_ms)| (*index, *clock_ms));
        self.check("I2", below.is_none_or(|(_, below_ms)| below_ms <= clock_ms), || {
            format!("T at {index} is {clock_ms}, below what it was before: {below:?}")
        });
        if anew || index.is_multiple_of(HASH_EVERY) {
            let hash = match state_hash(view) {
                Ok(hash) => hash.digest,
                Err(fault) => {
                    self.check("I1", false, || format!("the state of node {node} cannot be read: {fault}"));
                    return;
                }
            };
            let (first, known) = self.hashes.entry(index).or_insert_with(|| (node, hash.clone())).clone();
            self.check("I1", known == hash, || {
                format!("the state at {index} differs: {known} on node {first}, {hash} on node {node}")
            });
        }
    }
}

/// A ledger that nodes write into. Clones share it.
#[derive(Clone, Default)]
pub struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    /// Reads it, or writes.
    pub fn open(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one node shows what it does.
    pub fn observer(&self, node: u64) -> Arc<dyn Observer> {
        Arc::new(Watching { node, ledger: self.clone() })
    }
}

struct Watching {
    node: u64,
    ledger: SharedLedger,
}

impl Observer for Watching {
    fn stops_at(&self, index: u64) -> bool {
        index.is_multiple_of(HASH_EVERY)
    }

    fn applied(&self, entries: &[talon::Entry<'_>], view: &ReadView) {
        let mut ledger = self.ledger.open();
        entries.iter().for_each(|entry| ledger.take(self.node, entry));
        ledger.stand(self.node, view, false);
    }

    fn opened(&self, view: &ReadView) {
        let mut ledger = self.ledger.open();
        *ledger.opened.entry(self.node).or_default() += 1;
        ledger.stand(self.node, view, true);
    }

    fn leads(&self, term: u64) {
        let mut ledger = self.ledger.open();
        let known = *ledger.leaders.entry(term).or_insert(self.node);
        let node = self.node;
        ledger
            .check("I12", known == node, || format!("term {term} was led by node {known}, and is led by node {node}"));
    }
}

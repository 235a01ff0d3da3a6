//! What all nodes have done to their states, entry by entry, as seen from outside of them. The invariants that can be judged as it
//! happens are.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use talon::{Content, ReadView, state_hash};
use talon_core::{Call, Request};
use talon_history::Word;
use talon_raft::environment::Observer;

use crate::ambient::elapsed_us;
use crate::invariants::{Finding, Invariant, Score, i01, i02, i09, i12};
use crate::replay::Replay;
use crate::truth::ClockErrors;

/// At every so many entries the whole state is hashed on every node.
const HASH_EVERY: u64 = 8;
/// At every so many entries the model is kept, to compare states that come later with it.
const KEEP_EVERY: u64 = 256;

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

impl CommittedContent {
    /// Whether it is the same, argument by argument.
    pub fn is(&self, other: &CommittedContent) -> bool {
        use CommittedContent::{Blank, Membership, Writes};
        match (self, other) {
            (Blank, Blank) => true,
            (Membership(one), Membership(other)) => one == other,
            (Writes { stamp_ms, seed, calls }, Writes { stamp_ms: other_ms, seed: other_seed, calls: other_calls }) => {
                let same = |(one, other)| same_call(one, other);
                let same_length = calls.len() == other_calls.len();
                (stamp_ms, seed) == (other_ms, other_seed) && same_length && calls.iter().zip(other_calls).all(same)
            }
            _ => false,
        }
    }
}

fn same_call(one: &Call, other: &Call) -> bool {
    let same = |one: &Request, other: &Request| one.command.id == other.command.id && one.args == other.args;
    match (one, other) {
        (Call::One(one), Call::One(other)) => same(one, other),
        (Call::Transaction(ones), Call::Transaction(others)) => {
            ones.len() == others.len() && ones.iter().zip(others).all(|(one, other)| same(one, other))
        }
        _ => false,
    }
}

/// The words of a command.
struct Words<'a>(&'a Request);

impl fmt::Display for Words<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.command.facts.name.to_uppercase())?;
        self.0.args.iter().try_for_each(|arg| write!(out, " {}", arg.escape_ascii()))
    }
}

impl fmt::Display for CommittedContent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommittedContent::Blank => out.write_str("blank"),
            CommittedContent::Membership(bytes) => write!(out, "membership {}", bytes.escape_ascii()),
            CommittedContent::Writes { stamp_ms, calls, .. } if calls.is_empty() => write!(out, "tick to {stamp_ms}"),
            CommittedContent::Writes { stamp_ms, calls, .. } => {
                write!(out, "stamp {stamp_ms}: ")?;
                for (place, call) in calls.iter().enumerate() {
                    out.write_str(if place > 0 { " | " } else { "" })?;
                    match call {
                        Call::One(request) => Words(request).fmt(out)?,
                        Call::Transaction(requests) => {
                            out.write_str("MULTI")?;
                            requests.iter().try_for_each(|request| write!(out, "; {}", Words(request)))?;
                        }
                    }
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Committed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, at_us) = self.first;
        write!(out, "term {}, first on node {node} at {:.6} s: {}", self.term, at_us as f64 / 1e6, self.content)
    }
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
    /// The index and the hash of the last state that was hashed on each node.
    pub last_hashes: BTreeMap<u64, (u64, String)>,
    /// How wrong the machines' clocks were.
    pub clock_errors: ClockErrors,
    /// What was judged so far.
    pub score: Score,
    /// The model behind the last entry.
    replay: Replay,
    /// The model at some places before.
    kept: BTreeMap<u64, Replay>,
    /// Why the model cannot go on.
    stuck: bool,
    hash_all: bool,
}

impl Ledger {
    /// From now on the state is hashed wherever a node's batch ends.
    pub fn hash_all(&mut self) {
        self.hash_all = true;
    }

    /// Who votes, and who else is a member, by the last membership that was committed.
    pub fn members(&self) -> (Vec<u64>, Vec<u64>) {
        let bytes = self.entries.values().rev().find_map(|entry| match &entry.content {
            CommittedContent::Membership(bytes) => Some(bytes),
            _ => None,
        });
        let numbers = |stored: &serde_json::Value| -> (Vec<u64>, Vec<u64>) {
            let membership = &stored["membership"];
            let configs = membership["configs"].as_array();
            let voters = configs.into_iter().flatten().filter_map(serde_json::Value::as_array).flatten();
            let mut voters: Vec<u64> = voters.filter_map(serde_json::Value::as_u64).collect();
            voters.sort_unstable();
            voters.dedup();
            let nodes = membership["nodes"].as_object();
            let nodes = nodes.into_iter().flat_map(|nodes| nodes.keys()).filter_map(|id| id.parse().ok()).collect();
            (voters, nodes)
        };
        bytes
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .map_or_else(Default::default, |stored| numbers(&stored))
    }

    /// The entries of some indexes, one a line.
    pub fn lines(&self, indexes: impl RangeBounds<u64>) -> Vec<String> {
        self.entries.range(indexes).map(|(index, entry)| format!("entry {index}: {entry}")).collect()
    }

    /// The entries that were first applied in a span of simulated time, µs, and name one of these keys, one a line.
    pub fn lines_about(&self, times_us: impl RangeBounds<u64>, keys: &[&Word]) -> Vec<String> {
        let names = |request: &Request| request.args.iter().any(|arg| keys.iter().any(|key| arg.starts_with(key)));
        let about = |content: &CommittedContent| match content {
            CommittedContent::Writes { calls, .. } => calls.iter().any(|call| match call {
                Call::One(request) => names(request),
                Call::Transaction(requests) => requests.iter().any(names),
            }),
            CommittedContent::Blank | CommittedContent::Membership(_) => true,
        };
        let shown = self.entries.iter().filter(|(_, entry)| times_us.contains(&entry.first.1) && about(&entry.content));
        shown.map(|(index, entry)| format!("entry {index}: {entry}")).collect()
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
        let committed = Committed { term, content, first: (node, elapsed_us()) };
        match self.entries.get(&index) {
            None => {
                self.follow(index, &committed);
                self.entries.insert(index, committed);
            }
            Some(known) => i12::same_entry(&mut self.score, index, known, &committed),
        }
    }

    /// The model goes along.
    fn follow(&mut self, index: u64, entry: &Committed) {
        if self.stuck {
            return;
        }
        if let Err(what) = self.replay.step(index, entry) {
            self.stuck = true;
            self.score.violate(Finding::at(Invariant::I3, index, what));
        } else if index.is_multiple_of(KEEP_EVERY) {
            self.kept.insert(index, self.replay.clone());
        }
    }

    /// The model behind an entry, if it has come so far.
    fn model_at(&self, index: u64) -> Option<Replay> {
        if self.stuck || self.replay.index()? < index {
            return None;
        }
        let (from, mut replay) = match self.kept.range(..=index).next_back() {
            Some((kept, replay)) => (kept + 1, replay.clone()),
            None => (0, Replay::default()),
        };
        for (index, entry) in self.entries.range(from..).take_while(|(place, _)| **place <= index) {
            replay.step(*index, entry).ok()?;
        }
        Some(replay)
    }

    fn stand(&mut self, node: u64, view: &ReadView, anew: bool) {
        let (index, clock_ms) = (view.index(), view.clock_ms());
        if view.applied().is_nothing() {
            self.standing.insert(node, (0, 0));
            return;
        }
        let before = self.standing.insert(node, (index, clock_ms)).filter(|_| !anew);
        i02::stands(&mut self.score, &mut self.clocks, node, before, (index, clock_ms));
        if !anew && !self.hash_all && !index.is_multiple_of(HASH_EVERY) {
            return;
        }
        let hash = match state_hash(view) {
            Ok(hash) => hash.digest,
            Err(fault) => {
                let what = format!("the state of node {node} cannot be read: {fault}");
                return self.score.violate(Finding::at(Invariant::I1, index, what));
            }
        };
        self.last_hashes.insert(node, (index, hash.clone()));
        let alike = self.hashes.get(&index).is_some_and(|(_, known)| *known == hash);
        i01::hashed(&mut self.score, &mut self.hashes, node, index, hash);
        // A state like one that was compared with the model need not be; one that is unlike has to say in what.
        if !alike || anew {
            let at_once = (self.replay.index() == Some(index) && !self.stuck).then(|| self.replay.clone());
            if let Some(model) = at_once.or_else(|| self.model_at(index)) {
                i09::same_rows(&mut self.score, node, view, &model);
            }
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
        let ledger = &mut *self.ledger.open();
        i12::leads(&mut ledger.score, &mut ledger.leaders, term, self.node);
    }
}

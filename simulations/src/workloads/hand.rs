//! What all kinds of work share: a client, keys that are fresh every few seconds, values that come once, and a memory of what was touched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use talon_core::random::SplitMix64;
use talon_history::{Action, Outcome, Word};
use tokio::time::sleep;

use super::once::OnceSession;
use super::{LAST_READS_S, WorkloadKind, prefix};
use crate::ambient::elapsed_us;
use crate::client::Client;
use crate::world::World;

/// How many clients share a lane at most.
const LANE_CLIENTS_MAX: u32 = 4;
/// How long keys are used, µs.
const GENERATION_US: u64 = 4_000_000;
/// How many keys one of the last reads asks for.
const LAST_READ_KEYS: usize = 12;
/// How often one of the last reads is tried.
const LAST_READ_TRIES: u32 = 5;
/// From how many of the last generations every other node is read, too.
const LAST_GENERATIONS: u64 = 6;

/// One client at work.
pub(super) struct Hand {
    pub(super) client: Client,
    pub(super) random: SplitMix64,
    pub(super) world: Arc<World>,
    kind: WorkloadKind,
    number: u32,
    written: u64,
    pub(super) once: OnceSession,
    pace_ms: u64,
    /// What was touched: kind, generation, and the keys that belong together.
    touched: BTreeMap<(WorkloadKind, u64), BTreeSet<Vec<Word>>>,
    /// Keys of which there is a write of unknown outcome. They are left alone: a few of those make the search long.
    doubtful: BTreeSet<String>,
}

impl Hand {
    pub(super) fn new(world: Arc<World>, number: u32) -> Hand {
        let mut random = SplitMix64(world.plan.seed.rotate_left(7) ^ u64::from(number));
        let client = Client::new(world.clone(), number, random.draw());
        let pace_ms = 15 + random.below(70);
        Hand {
            client,
            random,
            world,
            kind: WorkloadKind::Registers,
            number,
            written: 0,
            once: OnceSession::default(),
            pace_ms,
            touched: BTreeMap::new(),
            doubtful: BTreeSet::new(),
        }
    }

    /// Its number.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Whether it is time for the last reads.
    pub(super) fn is_over(&self) -> bool {
        elapsed_us() >= self.world.plan.duration_s.saturating_sub(LAST_READS_S) * 1_000_000
    }

    fn lanes(&self) -> u32 {
        self.world.plan.clients.div_ceil(LANE_CLIENTS_MAX).max(1)
    }

    fn lane(&self) -> u32 {
        self.number % self.lanes()
    }

    /// The lane's place in the order of kinds.
    pub(super) fn turn(&self, phase: u64) -> u64 {
        phase * u64::from(self.lanes()) + u64::from(self.lane())
    }

    /// From now on it does this kind of work.
    pub(super) fn begin(&mut self, kind: WorkloadKind) {
        self.kind = kind;
        let in_session = match kind {
            WorkloadKind::Sessions => true,
            // Expiry is judged with sessions and without: asking for the position takes another way through the node.
            WorkloadKind::Expiries => self.number.is_multiple_of(2),
            _ => false,
        };
        match in_session {
            true => self.client.begin_session(),
            false => self.client.end_session(),
        }
    }

    /// With a chance of so many in a hundred.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    /// The name of one of `count` places of the current generation; `None` if all are doubtful.
    pub(super) fn place(&mut self, count: u64) -> Option<String> {
        let start = format!("{}{}:{}:", prefix(self.kind), self.lane(), elapsed_us() / GENERATION_US);
        let free: Vec<String> = (0..count.max(1))
            .map(|place| format!("{start}{place}"))
            .filter(|place| !self.doubtful.contains(place))
            .collect();
        match free.len() as u64 {
            0 => None,
            free_count => Some(free[self.random.below(free_count) as usize].clone()),
        }
    }

    /// A value that nobody else writes.
    pub(super) fn value(&mut self) -> Word {
        self.written += 1;
        Word::from(format!("{}.{}", self.number, self.written))
    }

    /// These keys belong together, and are used now.
    pub(super) fn touch(&mut self, keys: Vec<Word>) {
        self.touched.entry((self.kind, elapsed_us() / GENERATION_US)).or_default().insert(keys);
    }

    /// Nobody knows what became of a write there.
    pub(super) fn leave(&mut self, place: &str) {
        self.doubtful.insert(place.to_owned());
    }

    /// Has an action carried out by the leader that is about this place.
    pub(super) async fn act(&mut self, place: &str, action: Action) -> Outcome {
        let outcome = self.client.carry_out(action.clone()).await;
        if action.writes() && matches!(outcome, Outcome::Unknown(_)) {
            self.leave(place);
        }
        outcome
    }

    /// Reads from any node, whatever state it is in; in a session, from one that is not behind it.
    pub(super) async fn look(&mut self, read: Action) {
        let node = self.client.someone();
        self.client.read_on(node, read).await;
    }

    /// As a program does that has other things to do, too.
    pub(super) async fn rest(&mut self) {
        // What takes its time by itself needs no rest.
        let quick = matches!(self.kind, WorkloadKind::Expiries | WorkloadKind::Sessions);
        let ms = self.random.below(if quick { self.pace_ms } else { 2 * self.pace_ms });
        sleep(Duration::from_millis(ms)).await;
    }

    /// Reads all that was touched once more, on the leader, and what was touched last on every other node.
    pub(super) async fn read_all(&mut self) {
        self.client.end_session();
        let last = elapsed_us() / GENERATION_US;
        let mut reads: Vec<(u64, Action)> = Vec::new();
        for ((_, generation), units) in &self.touched {
            let mut keys: Vec<Word> = Vec::new();
            for unit in units {
                if !keys.is_empty() && keys.len() + unit.len() > LAST_READ_KEYS {
                    reads.push((*generation, Action::Mget(std::mem::take(&mut keys))));
                }
                keys.extend(unit.iter().cloned());
            }
            reads.push((*generation, Action::Mget(keys)));
        }
        for (_, read) in &reads {
            for _ in 0..LAST_READ_TRIES {
                if self.client.carry_out(read.clone()).await.reply().is_some() {
                    break;
                }
            }
        }
        for node in self.world.members() {
            for (_, read) in reads.iter().filter(|(generation, _)| generation + LAST_GENERATIONS >= last) {
                if self.client.read_on(node, read.clone()).await.0.reply().is_none() {
                    break;
                }
            }
        }
    }
}

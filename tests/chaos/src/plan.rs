//! What clients ask for.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use talon_history::{Action, Deadline};

/// A few keys of each kind, so that clients meet on them and yet a history can be searched through.
const REGISTERS: u64 = 4;
const COUNTERS: u64 = 2;
const TIMED: u64 = 2;
/// How long timed keys live.
const LIFE_MS: std::ops::Range<u64> = 200..4000;

/// The calls of one round: every round has keys of its own, and no value is written twice.
#[derive(Clone, Debug)]
pub struct Plan {
    round: String,
    values: Arc<AtomicU64>,
}

impl Plan {
    /// For keys that begin with `round`.
    pub fn new(round: &str) -> Plan {
        Plan { round: round.to_owned(), values: Arc::new(AtomicU64::new(0)) }
    }

    /// What its keys begin with.
    pub fn round(&self) -> &str {
        &self.round
    }

    /// A value that nobody wrote before.
    pub fn new_value(&self) -> String {
        format!("v{}", self.values.fetch_add(1, Ordering::Relaxed))
    }

    /// A register's name.
    pub fn register(&self, number: u64) -> String {
        format!("{}:r{}", self.round, number % REGISTERS)
    }

    /// All keys that are not in pairs.
    pub fn keys(&self) -> Vec<String> {
        let names = |kind: &'static str, count: u64| (0..count).map(move |number| format!("{kind}{number}"));
        let all = names("r", REGISTERS).chain(names("c", COUNTERS)).chain(names("t", TIMED));
        all.map(|name| format!("{}:{name}", self.round)).collect()
    }

    /// The two keys that are only written together.
    pub fn pair(&self) -> [String; 2] {
        ["a", "b"].map(|name| format!("{}:p{name}", self.round))
    }

    /// Any call.
    pub fn any_action(&self) -> Action {
        let register = || self.register(any(REGISTERS));
        let counter = || format!("{}:c{}", self.round, any(COUNTERS));
        let timed = || format!("{}:t{}", self.round, any(TIMED));
        let life_ms = || (LIFE_MS.start + any(LIFE_MS.end - LIFE_MS.start)) as i64;
        match any(100) {
            0..24 => Action::get(register()),
            24..40 => Action::set(register(), self.new_value()),
            40..44 => Action::GetSet(register().into(), self.new_value().into()),
            44..56 => Action::incr_by(counter(), 1),
            56..64 => Action::get(counter()),
            64..72 => {
                let value = self.new_value();
                Action::Mset(self.pair().map(|key| (key.into(), value.as_str().into())).to_vec())
            }
            72..80 => Action::Mget(self.pair().map(Into::into).to_vec()),
            80..87 => Action::set_for_ms(timed(), self.new_value(), life_ms()),
            87..90 => Action::Expire(timed().into(), Deadline::AfterMs(life_ms())),
            90..92 => Action::Persist(timed().into()),
            92..95 => Action::Pttl(timed().into()),
            _ => Action::get(timed()),
        }
    }
}

/// A number from 0 to `below`, different at each call: the tests are to meet other moments at every run.
pub fn any(below: u64) -> u64 {
    RandomState::new().build_hasher().finish() % below.max(1)
}

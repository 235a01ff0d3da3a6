//! I11: acknowledged increments <= value <= acknowledged + unknown, at every reading, the last included.
//!
//! A counter is a key that nothing else than INCRBY has ever written; other keys are none of this check's business.

use std::collections::{BTreeSet, HashMap};

use crate::parts::{Deed, Touch, touches};
use crate::{Consistency, History, Operation, Reply, Verdict, Word};

/// Checks all counters. `checked` counts readings, and the answers to increments are readings too.
pub fn check(history: &History) -> Verdict {
    check_some(history, |_| true)
}

/// The same, of some counters.
pub(crate) fn check_some(history: &History, is_wanted: impl Fn(&Word) -> bool) -> Verdict {
    let mut verdict = Verdict::default();
    for (key, touches) in touches(history).into_iter().filter(|(key, _)| is_wanted(key)) {
        let is_counter = touches.iter().any(|(_, part)| matches!(part.deed, Deed::IncrBy(_)))
            && touches.iter().all(|(_, part)| matches!(part.deed, Deed::IncrBy(_)) || !part.deed.writes());
        if is_counter {
            Counter::new(&touches).check(&key, &mut verdict);
        }
    }
    verdict
}

#[derive(Clone, Copy)]
struct Reading<'a> {
    operation: &'a Operation,
    value: i64,
    /// What it added itself.
    own: i64,
}

impl Reading<'_> {
    fn is_linearizable(&self) -> bool {
        self.operation.action.writes() || self.operation.consistency == Consistency::Linearizable
    }
}

/// Sums over increments up to a time.
#[derive(Default)]
struct Sums {
    times: Vec<u64>,
    /// Of what raises, and of what lowers.
    sums: Vec<(i64, i64)>,
}

impl Sums {
    fn new(mut increments: Vec<(u64, i64)>) -> Sums {
        increments.sort_unstable();
        let mut sums = Sums::default();
        let (mut up, mut down) = (0, 0);
        for (time, by) in increments {
            up += by.max(0);
            down += by.min(0);
            sums.times.push(time);
            sums.sums.push((up, down));
        }
        sums
    }

    fn until(&self, includes: impl Fn(u64) -> bool) -> (i64, i64) {
        let count = self.times.partition_point(|time| includes(*time));
        count.checked_sub(1).map_or((0, 0), |last| self.sums[last])
    }
}

struct Counter<'a> {
    increments: Vec<(&'a Operation, i64)>,
    readings: Vec<Reading<'a>>,
}

impl<'a> Counter<'a> {
    fn new(touches: &[Touch<'a>]) -> Counter<'a> {
        let mut counter = Counter { increments: Vec::new(), readings: Vec::new() };
        for (operation, part) in touches {
            let own = match part.deed {
                // An increment that was refused as an error added nothing.
                Deed::IncrBy(_) if part.was_nothing() => continue,
                Deed::IncrBy(by) => {
                    counter.increments.push((operation, by));
                    by
                }
                _ => 0,
            };
            let value = match (&part.deed, &part.reply) {
                (Deed::IncrBy(_), Some(Reply::Int(value))) => *value,
                (Deed::Get, Some(Reply::Nil)) => 0,
                // What is no number is linear's to judge.
                (Deed::Get, Some(Reply::Bytes(value))) => match value.integer() {
                    Some(value) => value,
                    None => continue,
                },
                _ => continue,
            };
            counter.readings.push(Reading { operation, value, own });
        }
        counter
    }

    fn check(mut self, key: &Word, verdict: &mut Verdict) {
        verdict.checked += self.readings.len() as u64;
        let called = Sums::new(self.increments.iter().map(|(operation, by)| (operation.called_us, *by)).collect());
        let certain = |client: Option<u32>| {
            let of = self.increments.iter().filter(|(operation, _)| client.is_none_or(|one| one == operation.client));
            Sums::new(of.filter_map(|(operation, by)| Some((operation.certain_us()?, *by))).collect())
        };
        let certain_all = certain(None);
        let mut certain_own: HashMap<u32, Sums> = HashMap::new();
        let mut wrong = BTreeSet::new();
        for reading in &self.readings {
            let operation = reading.operation;
            let (up, down) = called.until(|time| operation.returned_us.is_none_or(|returned| time <= returned));
            let before = |time| time < operation.called_us;
            let (certain_up, certain_down) = match operation.consistency {
                _ if reading.is_linearizable() => certain_all.until(before),
                Consistency::Session => {
                    certain_own.entry(operation.client).or_insert_with(|| certain(Some(operation.client))).until(before)
                }
                _ => (0, 0),
            };
            let least = certain_up + reading.own.max(0) + down;
            let most = up + certain_down + reading.own.min(0);
            if !(least..=most).contains(&reading.value) {
                let what = format!(
                    "counter {key:?}: #{} read {}, but acknowledged increments make at least {least}, and all that \
                     were called make at most {most}",
                    operation.id, reading.value
                );
                verdict.violation(what, [operation]);
                wrong.insert(operation.id);
            }
        }
        self.readings.retain(|reading| !wrong.contains(&reading.operation.id));
        if self.increments.iter().all(|(_, by)| *by > 0) {
            self.never_falls(key, verdict);
        }
    }

    /// What is only ever raised never falls, and each increment makes a number of its own.
    fn never_falls(&mut self, key: &Word, verdict: &mut Verdict) {
        let mut made: HashMap<i64, &Operation> = HashMap::new();
        for reading in self.readings.iter().filter(|reading| reading.own > 0) {
            if let Some(other) = made.insert(reading.value, reading.operation) {
                let what = format!("counter {key:?}: two increments both made {}", reading.value);
                verdict.violation(what, [other, reading.operation]);
            }
        }
        self.readings.sort_by_key(|reading| reading.operation.called_us);
        let mut by_return: Vec<Reading<'_>> =
            self.readings.iter().filter(|reading| reading.is_linearizable()).copied().collect();
        by_return.sort_by_key(|reading| reading.operation.returned_us);
        let mut over = by_return.into_iter().peekable();
        let mut highest: Option<Reading<'_>> = None;
        let mut highest_of: HashMap<u32, Reading<'_>> = HashMap::new();
        for reading in &self.readings {
            while let Some(earlier) = over.next_if(|earlier| earlier.operation.before(reading.operation)) {
                highest = highest.filter(|highest| highest.value >= earlier.value).or(Some(earlier));
            }
            let session = reading.operation.consistency.keeps_sessions() || reading.operation.action.writes();
            let own = highest_of.get(&reading.operation.client).filter(|_| session);
            let own = own.filter(|own| own.operation.before(reading.operation));
            let high = highest.as_ref().filter(|_| reading.is_linearizable());
            if let Some(high) = [own, high].into_iter().flatten().find(|high| high.value > reading.value) {
                let what = format!("counter {key:?}: it fell from {} to {}", high.value, reading.value);
                verdict.violation(what, [high.operation, reading.operation]);
            }
            if session && own.is_none_or(|own| own.value < reading.value) {
                highest_of.insert(reading.operation.client, *reading);
            }
        }
    }
}

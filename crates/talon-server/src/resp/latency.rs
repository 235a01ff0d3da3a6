//! What `LATENCY` keeps: the longest batch of a second, for the seconds in which one was long.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::wall_clock::unix_time;

/// How many samples of an event are kept.
const SAMPLES_MAX: usize = 160;

/// What is watched, under Redis's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A batch with a command that is not `fast` by its flags.
    Command,
    /// A batch of fast commands.
    FastCommand,
}

impl Event {
    pub const fn name(self) -> &'static str {
        match self {
            Event::Command => "command",
            Event::FastCommand => "fast-command",
        }
    }
}

/// One second of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub unix_s: u64,
    pub ms: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// The oldest first.
    pub samples: VecDeque<Sample>,
    pub max_ms: u64,
}

impl Series {
    fn add(&mut self, sample: Sample) {
        self.max_ms = self.max_ms.max(sample.ms);
        match self.samples.back_mut() {
            Some(last) if last.unix_s == sample.unix_s => last.ms = last.ms.max(sample.ms),
            _ => {
                if self.samples.len() == SAMPLES_MAX {
                    self.samples.pop_front();
                }
                self.samples.push_back(sample);
            }
        }
    }
}

/// All events that happened.
#[derive(Debug, Default)]
pub(crate) struct LatencyEvents(Mutex<BTreeMap<Event, Series>>);

impl LatencyEvents {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Event, Series>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, event: Event, took: Duration) {
        let sample = Sample { unix_s: unix_time().as_secs(), ms: took.as_millis() as u64 };
        self.lock().entry(event).or_default().add(sample);
    }

    pub fn all(&self) -> BTreeMap<Event, Series> {
        self.lock().clone()
    }

    /// The event of this name, if it has happened.
    pub fn named(&self, name: &[u8]) -> Option<(Event, Series)> {
        let events = self.lock();
        let mut events = events.iter();
        events.find(|(event, _)| event.name().as_bytes() == name).map(|(event, series)| (*event, series.clone()))
    }

    /// Forgets events by name, or all; how many were forgotten.
    pub fn reset(&self, names: &[bytes::Bytes]) -> usize {
        let mut events = self.lock();
        let before = events.len();
        events.retain(|event, _| !(names.is_empty() || names.iter().any(|name| name == event.name().as_bytes())));
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_sample_and_the_oldest_go() {
        let mut series = Series::default();
        for (unix_s, ms) in [(1, 5), (1, 9), (1, 7), (2, 3)] {
            series.add(Sample { unix_s, ms });
        }
        assert_eq!(series.samples, [Sample { unix_s: 1, ms: 9 }, Sample { unix_s: 2, ms: 3 }]);
        (3..=161).for_each(|unix_s| series.add(Sample { unix_s, ms: 1 }));
        assert_eq!((series.samples.len(), series.samples[0].unix_s, series.max_ms), (160, 2, 9));
    }

    #[test]
    fn events_are_forgotten_by_name() {
        let events = LatencyEvents::default();
        events.add(Event::Command, Duration::from_millis(20));
        events.add(Event::FastCommand, Duration::from_millis(30));
        assert_eq!(events.reset(&["nosuch".into()]), 0);
        assert_eq!(events.reset(&["command".into()]), 1);
        assert!(events.named(b"command").is_none() && events.named(b"fast-command").is_some());
        assert_eq!(events.reset(&[]), 1);
        assert!(events.all().is_empty());
    }
}

//! How wrong the machines' clocks were in a run: what the bounds of I6 and I8 rest on.

use crate::world::World;

/// How often the clocks are looked at, µs.
const SAMPLE_US: u64 = 100_000;
/// How long a wrong clock may still count for a leader that has heard it, µs (`OFFSET_FRESH_MS`).
const HEARD_US: u64 = talon_raft::clock::OFFSET_FRESH_MS * 1000;
/// Over how many samples the rate of a clock is measured.
const RATE_SAMPLES: usize = 10;
/// By how much a right clock may seem to go wrong over them, ms: it is read in whole milliseconds.
const RATE_ERROR_MS: u64 = 3;

/// What the clocks showed, from time to time.
#[derive(Clone, Debug, Default)]
pub struct ClockErrors {
    samples: Vec<Sample>,
    /// Whether some clock ran too fast or too slow.
    pub drifted: bool,
    /// Whether some wall clock was wrong.
    pub wrong: bool,
    monotonic_ms: Vec<Vec<u64>>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at_us: u64,
    /// How far ahead of true time a median of a majority of clocks could be.
    ahead_ms: u64,
}

impl ClockErrors {
    /// Called after each tick; looks at the clocks when it is time.
    pub fn watch(&mut self, world: &World, now_us: u64) {
        if self.samples.last().is_some_and(|last| now_us < last.at_us + SAMPLE_US) {
            return;
        }
        let voters = world.plan.voters as usize;
        self.take(
            now_us,
            voters,
            world.processes.iter().map(|process| process.machine.clocks.wrong_ms()).collect(),
            world.processes.iter().map(|process| process.machine.clocks.monotonic_ms()).collect(),
        );
    }

    /// Takes down by how much each wall clock is wrong, and what each monotonic clock shows.
    pub fn take(&mut self, at_us: u64, voters: usize, mut wrong_ms: Vec<i64>, monotonic_ms: Vec<u64>) {
        wrong_ms.sort_unstable();
        self.wrong |= wrong_ms.iter().any(|wrong_ms| wrong_ms.abs() > 50);
        // A leader may have heard but a majority, and of these the wrong ones first; of an even count the lower median counts.
        let majority = voters / 2 + 1;
        let worst = wrong_ms.len().saturating_sub(majority) + (majority - 1) / 2;
        let ahead_ms = wrong_ms.get(worst).map_or(0, |wrong_ms| u64::try_from(*wrong_ms).unwrap_or(0));
        self.samples.push(Sample { at_us, ahead_ms });
        self.monotonic_ms.push(monotonic_ms);
        if let Some(from) = self.samples.len().checked_sub(RATE_SAMPLES + 1) {
            let passed_ms = (at_us - self.samples[from].at_us) / 1000;
            let now = &self.monotonic_ms[self.samples.len() - 1];
            let clocks = now.iter().zip(&self.monotonic_ms[from]);
            self.drifted |= clocks.into_iter().any(|(now, then)| (now - then).abs_diff(passed_ms) > RATE_ERROR_MS);
        }
    }

    /// How far ahead of true time stamps may have been led between two moments, ms.
    pub fn ahead_ms(&self, from_us: u64, to_us: u64) -> u64 {
        let from = self.samples.partition_point(|sample| sample.at_us + HEARD_US < from_us);
        let until = self.samples.partition_point(|sample| sample.at_us <= to_us);
        self.samples.get(from..until).into_iter().flatten().map(|sample| sample.ahead_ms).max().unwrap_or(0)
    }
}

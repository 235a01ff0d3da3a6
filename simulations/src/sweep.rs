//! Many seeds, added up.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::children::{Ended, Task, run_all};
use crate::faults::{FaultCount, FaultKind};
use crate::invariants::Invariant;
use crate::report::{self, Report};

/// What to do.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The first seed.
    pub from: u64,
    /// How many seeds.
    pub seeds: Bound,
    /// How long each run is, simulated minutes.
    pub minutes: u64,
    /// The scenario of all runs.
    pub scenario: String,
    /// How many runs at a time.
    pub jobs: usize,
    /// How many seeds run twice.
    pub repeat: u64,
    /// Where what shows violations goes.
    pub out: PathBuf,
}

/// When it is enough.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// So many seeds.
    Seeds(u64),
    /// So much real time.
    Time(Duration),
}

/// What came of all runs.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// How many runs there were.
    pub runs: u64,
    /// How long they were, simulated ms.
    pub simulated_ms: u64,
    /// Operations: acknowledged, refused, unknown.
    pub operations: [u64; 3],
    /// Committed entries.
    pub entries: u64,
    /// Terms that had a leader.
    pub leaders: u64,
    /// The faults.
    pub faults: BTreeMap<FaultKind, FaultCount>,
    /// How often each invariant was checked.
    pub checked: BTreeMap<Invariant, u64>,
    /// How often each was violated.
    pub violated: BTreeMap<Invariant, u64>,
    /// What could not be decided in time.
    pub undecided: u64,
    /// Runs that could not run: seed, and why.
    pub could_not: Vec<(u64, String)>,
    /// The commands that show violations, and what they show.
    pub violating: Vec<(String, Vec<String>)>,
    /// How many seeds ran twice, and those of them that did not do the same.
    pub repeated: u64,
    /// Seeds that did not do the same twice.
    pub unlike: Vec<u64>,
    traces: BTreeMap<u64, String>,
}

impl Sum {
    fn add(&mut self, task: &Task, ended: Ended) {
        let report = match ended {
            Ok(report) => report,
            Err(why) => return self.could_not.push((task.seed, why)),
        };
        if let Some(other) = self.traces.insert(task.seed, report.trace.clone()) {
            self.repeated += 1;
            if other != report.trace {
                self.unlike.push(task.seed);
            }
            return;
        }
        self.add_report(&report);
    }

    fn add_report(&mut self, report: &Report) {
        self.runs += 1;
        self.simulated_ms += report.simulated_ms;
        self.entries += report.entries;
        self.leaders += report.leaders;
        self.undecided += report.undecided;
        self.operations.iter_mut().zip(report.operations).for_each(|(sum, count)| *sum += count);
        for (kind, count) in &report.faults {
            let sum = self.faults.entry(*kind).or_default();
            sum.happened += count.happened;
            sum.hit += count.hit;
        }
        for (sum, counts) in [(&mut self.checked, &report.checked), (&mut self.violated, &report.violated)] {
            counts.iter().for_each(|(invariant, count)| *sum.entry(*invariant).or_default() += count);
        }
        if !report.held() {
            let mut shown: Vec<String> = Vec::new();
            for violation in &report.violations {
                if shown.iter().all(|line| !line.starts_with(&violation.invariant.to_string())) {
                    shown.push(format!("{}: {}", violation.invariant, violation.what));
                }
            }
            self.violating.push((report.reproduce.clone(), shown));
        }
    }

    /// The invariants that no run has ever put to the test.
    pub fn never_checked(&self) -> Vec<Invariant> {
        Invariant::ALL
            .into_iter()
            .filter(|invariant| self.checked.get(invariant).is_none_or(|count| *count == 0))
            .collect()
    }

    /// 0 held, 1 violated, 2 something could not run.
    pub fn exit_code(&self) -> u8 {
        if !self.violating.is_empty() || !self.unlike.is_empty() || !self.never_checked().is_empty() {
            1
        } else if self.could_not.is_empty() {
            0
        } else {
            2
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", report::faults(&self.faults))?;
        writeln!(out, "{}", report::invariants(&self.checked, &self.violated))?;
        let [acknowledged, refused, unknown] = self.operations;
        let hours = self.simulated_ms as f64 / 3_600_000.0;
        writeln!(
            out,
            "runs {}, simulated hours {hours:.2}, entries {}, leaders {}",
            self.runs, self.entries, self.leaders
        )?;
        writeln!(out, "operations: {acknowledged} acknowledged, {refused} refused, {unknown} of unknown fate")?;
        writeln!(out, "undecided: {}", self.undecided)?;
        writeln!(out, "seeds that ran twice: {}, with another trace: {:?}", self.repeated, self.unlike)?;
        for invariant in self.never_checked() {
            writeln!(out, "NEVER CHECKED: {invariant} ({})", invariant.words())?;
        }
        for (seed, why) in &self.could_not {
            writeln!(out, "COULD NOT RUN: seed {seed}: {why}")?;
        }
        for (command, shown) in &self.violating {
            writeln!(out, "VIOLATED: {command}")?;
            shown.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        }
        Ok(())
    }
}

/// Does it, with a progress bar.
pub fn sweep(what: &Sweep) -> Sum {
    let began = Instant::now();
    let count = match what.seeds {
        Bound::Seeds(seeds) => seeds,
        Bound::Time(_) => u64::MAX - what.from,
    };
    let in_time = |seeds: Bound| match seeds {
        Bound::Seeds(_) => true,
        Bound::Time(most) => began.elapsed() < most,
    };
    let bar = match what.seeds {
        Bound::Seeds(seeds) => ProgressBar::new(seeds + what.repeat.min(seeds)),
        Bound::Time(_) => ProgressBar::no_length(),
    };
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} runs, {msg}") {
        bar.set_style(style);
    }
    let tasks = (0..count).take_while(|_| in_time(what.seeds)).flat_map(|place| {
        let task = Task {
            seed: what.from + place,
            minutes: what.minutes,
            scenario: what.scenario.clone(),
            clients: None,
            plant: None,
            out: what.out.clone(),
        };
        std::iter::repeat_n(task, if place < what.repeat { 2 } else { 1 })
    });
    let mut sum = Sum::default();
    run_all(what.jobs, tasks, |task, ended| {
        sum.add(&task, ended);
        bar.set_message(format!("{} violated, {} could not run", sum.violating.len(), sum.could_not.len()));
        bar.inc(1);
        true
    });
    bar.finish_and_clear();
    sum
}

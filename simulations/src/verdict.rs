//! The end of a run: the nodes come to rest, the judges judge, and the report is written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use talon_history::Outcome;

use crate::ambient;
use crate::faults::{FaultCount, FaultKind};
use crate::invariants::i13::{Settled, Standing};
use crate::invariants::{Case, Finding, Invariant, judge};
use crate::ledger::Ledger;
use crate::panics;
use crate::report::{Report, Violation, command};
use crate::trace::Trace;
use crate::world::World;

/// How many entries are shown before and after the one that a violation is about.
const AROUND: u64 = 6;
/// How many entries are shown of those that came while the operations of a violation were under way.
const LINES_MAX: usize = 60;

/// Where everybody stands now.
pub fn settled(world: &World) -> Settled {
    let ledger = world.ledger.open();
    let (voters, members) = ledger.members();
    let members = if members.is_empty() { voters } else { members };
    let standing = |node: u64| {
        let at = ledger.standing.get(&node).copied().unwrap_or_default();
        let hash = ledger.last_hashes.get(&node).filter(|(index, _)| *index == at.0).map(|(_, hash)| hash.clone());
        Standing { node, runs: world.process(node).is_some_and(|process| process.node().is_some()), at, hash }
    };
    Settled { healed_us: world.healed_at_us(), members: members.into_iter().map(standing).collect() }
}

/// Judges, and writes the report; what shows a violation goes into the folder `out`, which exists. Simulated time is over: a search has its bound in real time.
///
/// # Errors
/// If `out` cannot be written to.
pub fn conclude(
    world: &World,
    trace: &Trace,
    settled: &Settled,
    faults: BTreeMap<FaultKind, FaultCount>,
    out: Option<&Path>,
) -> io::Result<Report> {
    let simulated_ms = ambient::elapsed_us() / 1000;
    ambient::end();
    let history = world.history();
    let mut ledger = world.ledger.open();
    for operation in history.operations() {
        trace.add(operation.to_string().as_bytes());
    }
    let mut score = std::mem::take(&mut ledger.score);
    let paused = faults.contains_key(&FaultKind::Pause);
    let case = Case::new(
        &world.plan,
        &history,
        &ledger.entries,
        &ledger.clocks,
        &ledger.clock_errors,
        settled,
        paused,
        out.map(Path::to_owned),
    );
    judge(&case, &mut score);
    let panics = panics::seen();
    score.count(Invariant::NoPanic, 1);
    panics.into_iter().for_each(|text| score.violate(Finding::of(Invariant::NoPanic, text, Vec::new())));
    let count = |wanted: fn(&Outcome) -> bool| {
        history.operations().iter().filter(|operation| wanted(&operation.outcome)).count() as u64
    };
    let report = Report {
        plan: world.plan.clone(),
        trace: format!("{:016x}", trace.hash()),
        events: trace.events(),
        simulated_ms,
        operations: [
            count(|outcome| matches!(outcome, Outcome::Reply(_))),
            count(|outcome| matches!(outcome, Outcome::Refused(_))),
            count(|outcome| matches!(outcome, Outcome::Unknown(_))),
        ],
        entries: ledger.entries.len() as u64,
        leaders: ledger.leaders.len() as u64,
        faults,
        checked: score.checked,
        violated: score.violated,
        undecided: score.undecided,
        violations: score.findings.into_iter().map(|finding| violation(finding, &ledger)).collect(),
        reproduce: command(&world.plan),
    };
    if let Some(out) = out.filter(|_| !report.held()) {
        fs::write(out.join("report.txt"), report.to_string())?;
        history.write_lines(&mut BufWriter::new(File::create(out.join("history.jsonl"))?))?;
        let mut lines = BufWriter::new(File::create(out.join("ledger.txt"))?);
        ledger.lines(..).iter().try_for_each(|line| writeln!(lines, "{line}"))?;
        lines.flush()?;
    }
    Ok(report)
}

fn violation(finding: Finding, ledger: &Ledger) -> Violation {
    let Finding { invariant, what, index, operations, picture } = finding;
    let lines = match index {
        Some(index) => ledger.lines(index.saturating_sub(AROUND)..=index + AROUND),
        None => {
            let from_us = operations.iter().map(|operation| operation.called_us).min();
            let until_us = operations.iter().map(|one| one.returned_us.unwrap_or(one.called_us)).max();
            let keys: Vec<_> = operations.iter().flat_map(|operation| operation.action.keys()).collect();
            from_us.zip(until_us).map(|(from, until)| ledger.lines_about(from..=until, &keys)).unwrap_or_default()
        }
    };
    Violation {
        invariant,
        what,
        operations: operations.iter().map(ToString::to_string).collect(),
        ledger: lines.into_iter().take(LINES_MAX).collect(),
        picture: picture.map(|picture| picture.display().to_string()),
    }
}

//! Whether the judges catch what they are there for: bugs that are planted on purpose.

use std::collections::BTreeSet;
use std::path::Path;

use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use talon_core::planted::Bug;

use crate::children::{Task, run_all};
use crate::invariants::Invariant;
use crate::report::table;

/// The scenario that shows a bug.
pub fn scenario(bug: Bug) -> &'static str {
    match bug {
        Bug::AcknowledgeBeforeSync => "power-cut-all",
        Bug::LeaderRestore => "leader-restore",
        Bug::ReadWithoutLease => "partition",
        Bug::LeaseByStoppingClock => "pauses",
        Bug::ExpireByLocalClock => "wrong-clocks",
        Bug::ForgetVote | Bug::PurgeIgnoresRewrites => "restarts",
        Bug::TickGoesBack => "few-clocks",
        Bug::LosePositionOnInstall => "far-behind",
        Bug::HalfInstalledCheckpoint => "cut-off-behind",
        Bug::FlushSpacesApart => "power-cut",
        Bug::TransferKeepsLease => "unheard-transfer",
        Bug::VoteWithinOldLease => "usurped",
        Bug::ForwardTwice | Bug::ForwardForgets => "forwarded",
        Bug::ProposeTwice | Bug::ReplyByIndex => "partition",
        Bug::ApplyOutOfOrder
        | Bug::HalfTransaction
        | Bug::ExecDoesNotWait
        | Bug::OnceForgets
        | Bug::FollowerDoesNotCatchUp
        | Bug::HandleMovesOn
        | Bug::TimeLeftGrows => "swarm",
    }
}

/// How a hunt is done.
#[derive(Clone, Copy, Debug)]
pub struct Hunt<'a> {
    /// The first seed.
    pub from: u64,
    /// How many seeds are tried at most.
    pub seeds: u64,
    /// After how many catches it is enough.
    pub catches: u64,
    /// How long each run is, simulated minutes.
    pub minutes: u64,
    /// How many runs at a time.
    pub jobs: usize,
    /// Where what shows violations goes.
    pub out: &'a Path,
}

/// How one bug fared.
#[derive(Clone, Debug, Default)]
pub struct Catch {
    /// The first seed that caught it.
    pub first: Option<u64>,
    /// How many seeds were tried.
    pub tried: u64,
    /// How many of them caught it.
    pub caught: u64,
    /// What caught it.
    pub by: BTreeSet<Invariant>,
    /// Runs that could not run, and why: no catches.
    pub could_not: Vec<(u64, String)>,
}

/// Hunts one bug.
pub fn hunt(bug: Bug, how: &Hunt<'_>) -> Catch {
    let name = format!("{bug:?}");
    let bar = ProgressBar::new(how.seeds);
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} seeds, {msg}") {
        bar.set_style(style);
    }
    bar.set_message(name.clone());
    let tasks = (how.from..how.from + how.seeds).map(|seed| Task {
        seed,
        minutes: how.minutes,
        scenario: scenario(bug).to_owned(),
        clients: None,
        plant: Some(name.clone()),
        out: how.out.join(&name),
    });
    let mut catch = Catch::default();
    run_all(how.jobs, tasks, |task, ended| {
        bar.inc(1);
        catch.tried += 1;
        match ended {
            Err(why) => catch.could_not.push((task.seed, why)),
            Ok(report) if !report.held() => {
                catch.caught += 1;
                catch.first = Some(catch.first.map_or(task.seed, |first| first.min(task.seed)));
                catch.by.extend(report.violated.keys());
            }
            Ok(_) => {}
        }
        catch.caught < how.catches
    });
    bar.finish_and_clear();
    catch
}

/// The table of all hunts.
pub fn show(catches: &[(Bug, Catch)]) -> Table {
    let mut table = table(&["bug", "scenario", "first seed", "caught", "tried", "could not run", "by"]);
    for (bug, catch) in catches {
        let by: Vec<String> = catch.by.iter().map(ToString::to_string).collect();
        table.add_row([
            format!("{bug:?}"),
            scenario(*bug).to_owned(),
            catch.first.map_or_else(|| "-".to_owned(), |seed| seed.to_string()),
            catch.caught.to_string(),
            catch.tried.to_string(),
            catch.could_not.len().to_string(),
            by.join(" "),
        ]);
    }
    table
}

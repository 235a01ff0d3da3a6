//! The verdict on what all clients of a round have seen.

use std::fmt;
use std::fs::{File, create_dir_all};
use std::io::BufWriter;
use std::path::PathBuf;
use std::time::Duration;

use talon_history::linear::Options;
use talon_history::{Action, History, Outcome, Verdict, Word, atomic, counters, durable, linear};
use talon_tests_support::wait_until;

use crate::clients::{Line, Patience, Recorder, Target};
use crate::plan::Plan;

/// How long the search for an order may take, for each key.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(30);
/// How long it may take to read all keys at the end, when nothing is wrong any more.
const LAST_READS_WITHIN: Duration = Duration::from_secs(30);

/// What was judged, and found right.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    calls: usize,
    refused: usize,
    unknown: usize,
    decided: u64,
    undecided: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls ({} refused, {} of unknown fate), ", self.calls, self.refused, self.unknown)?;
        write!(f, "{} checks right, {} undecided", self.decided, self.undecided)
    }
}

/// Reads every key of the plan from the leader, and judges all that was seen: linearizable key by key, the keys that are
/// written together seen together, no acknowledged increment and no acknowledged write lost.
///
/// # Panics
/// If something cannot have been; the message says what, and where the history is.
pub fn assert_right(mut histories: Vec<History>, plan: &Plan, nodes: &[Target], recorder: &Recorder) -> Seen {
    histories.push(last_reads(plan, nodes, recorder));
    let history = History::merged(histories);
    let found = judge(&history, plan);
    if !found.held() {
        let folder = folder(plan);
        let _ = create_dir_all(&folder);
        let written = File::create(folder.join("history.jsonl"))
            .and_then(|file| history.write_lines(&mut BufWriter::new(file)))
            .map_or_else(|error| error.to_string(), |()| folder.display().to_string());
        let violations: Vec<String> = found.violations.iter().map(ToString::to_string).collect();
        panic!("this cannot have been (history: {written}):\n{}", violations.join("\n"));
    }
    let count = |is: fn(&Outcome) -> bool| history.operations().iter().filter(|call| is(&call.outcome)).count();
    Seen {
        calls: history.len(),
        refused: count(|outcome| matches!(outcome, Outcome::Refused(_))),
        unknown: count(|outcome| matches!(outcome, Outcome::Unknown(_))),
        decided: found.checked,
        undecided: found.undecided,
    }
}

/// All checks, in one verdict.
pub fn judge(history: &History, plan: &Plan) -> Verdict {
    let options = Options { time_limit: SEARCH_TIME_MAX, pictures: None, ..Options::default() };
    let pair = plan.pair().map(Word::from).to_vec();
    let mut verdict = Verdict::default();
    for found in [
        linear::check(history, &options),
        atomic::check(history, &[pair], &options),
        counters::check(history),
        durable::check(history),
    ] {
        assert!(found.checked > 0, "a check had nothing to check");
        verdict.add(found);
    }
    verdict
}

fn folder(plan: &Plan) -> PathBuf {
    std::env::temp_dir().join(format!("talon-chaos-{}-{}", std::process::id(), plan.round()))
}

fn last_reads(plan: &Plan, nodes: &[Target], recorder: &Recorder) -> History {
    let mut history = History::new();
    let done = wait_until(LAST_READS_WITHIN, || {
        let lines = nodes.iter().filter_map(|node| Line::open(*node, Patience::SHORT, recorder).ok());
        let Some(mut line) = lines.into_iter().find(|line| line.is_leaders) else { return false };
        let pair = Action::Mget(plan.pair().map(Word::from).to_vec());
        let mut reads = plan.keys().into_iter().map(Action::get).chain([pair]);
        reads.all(|read| matches!(line.call(read, &mut history), Outcome::Reply(_)))
    });
    assert!(done, "the keys could not be read in {LAST_READS_WITHIN:?}, though nothing is done to the nodes any more");
    history
}

#[cfg(test)]
mod tests {
    use talon_history::Reply;

    use super::*;

    /// One call after the other, all of them answered.
    fn told(calls: &[(Action, Reply)]) -> History {
        let mut history = History::new();
        for (number, (action, reply)) in calls.iter().enumerate() {
            let id = history.call(1, None, number as u64 * 1000, action.clone());
            history.returned(id, number as u64 * 1000 + 500, Outcome::Reply(reply.clone()));
        }
        history
    }

    #[test]
    fn what_cannot_have_been_is_seen() {
        let plan = Plan::new("round");
        let register = plan.register(0);
        let counter = plan.keys().into_iter().find(|key| key.contains(":c")).expect("there are counters");
        let pair = || plan.pair().map(Word::from);
        let value = |text: &str| Reply::Bytes(text.into());
        let right = vec![
            (Action::set(register.as_str(), "v0"), Reply::Ok),
            (Action::set(register.as_str(), "v1"), Reply::Ok),
            (Action::incr_by(counter.as_str(), 1), Reply::Int(1)),
            (Action::incr_by(counter.as_str(), 1), Reply::Int(2)),
            (Action::Mset(pair().map(|key| (key, "v2".into())).to_vec()), Reply::Ok),
            (Action::Mset(pair().map(|key| (key, "v3".into())).to_vec()), Reply::Ok),
            (Action::get(register), value("v1")),
            (Action::get(counter), value("2")),
            (Action::Mget(pair().to_vec()), Reply::Many(vec![value("v3"), value("v3")])),
        ];
        assert!(judge(&told(&right), &plan).held());
        for (place, wrong, what) in [
            (6, value("v0"), "an old value"),
            (6, Reply::Nil, "a lost write"),
            (7, value("1"), "a lost increment"),
            (7, value("3"), "an increment that nobody asked for"),
            (8, Reply::Many(vec![value("v3"), value("v2")]), "half a write"),
        ] {
            let mut calls = right.clone();
            calls[place].1 = wrong;
            assert!(!judge(&told(&calls), &plan).held(), "{what} is not seen");
        }
    }
}

//! Each judge catches a small wrongness that is made up for it, and lets the same story pass without.

use std::collections::BTreeMap;
use std::sync::Arc;

use talon::machine::{Content, Entry, Machine};
use talon_core::{Call, Request};
use talon_history::{Action, Consistency, History, Outcome, Reply};
use talon_simulations::ambient::START_MS;
use talon_simulations::invariants::i13::{Settled, Standing};
use talon_simulations::invariants::{Case, Invariant, Score, i09, judge};
use talon_simulations::ledger::{Committed, CommittedContent};
use talon_simulations::plan::Plan;
use talon_simulations::replay::Replay;
use talon_simulations::truth::ClockErrors;
use talon_storage::MemoryEngine;

fn call(action: &Action) -> Call {
    let words = action.commands().remove(0);
    let mut words = words.into_iter().map(Into::into);
    let name: Vec<u8> = words.next().map(|name: bytes::Bytes| name.to_vec()).unwrap_or_default();
    Call::One(Request::parse(&name, words.collect()).expect("a command of Talon"))
}

/// A healthy run, told by hand: times are ms of simulated time.
struct Story {
    plan: Plan,
    history: History,
    entries: BTreeMap<u64, Committed>,
    clocks: BTreeMap<u64, u64>,
    errors: ClockErrors,
    settled: Settled,
}

impl Story {
    fn new() -> Story {
        let standing = |node| Standing { node, runs: true, at: (9, 9), hash: Some("same".to_owned()) };
        Story {
            plan: Plan::scenario("healthy", 1, 120, None).expect("a scenario"),
            history: History::new(),
            entries: BTreeMap::new(),
            clocks: BTreeMap::new(),
            errors: ClockErrors::default(),
            settled: Settled { healed_us: 85_000_000, members: (1..=3).map(standing).collect() },
        }
    }

    /// An entry that is committed now, with a stamp that is right but for `off_ms`.
    fn commits(&mut self, at_ms: u64, off_ms: i64, actions: &[Action]) -> u64 {
        let index = self.entries.len() as u64 + 1;
        let stamp_ms = (START_MS + at_ms).saturating_add_signed(off_ms);
        let content = CommittedContent::Writes { stamp_ms, seed: index, calls: actions.iter().map(call).collect() };
        self.entries.insert(index, Committed { term: 1, content, first: (1, at_ms * 1000) });
        self.clocks.insert(index, stamp_ms);
        index
    }

    /// A client is answered within 2 ms around this moment.
    fn answers(&mut self, at_ms: u64, action: Action, reply: Reply) -> u64 {
        let id = self.history.call(1, Some(1), at_ms * 1000 - 1000, action);
        self.history.returned(id, at_ms * 1000 + 1000, Outcome::Reply(reply));
        id
    }

    /// A write that is committed and acknowledged.
    fn writes(&mut self, at_ms: u64, action: Action, reply: Reply) -> u64 {
        let index = self.commits(at_ms, 0, std::slice::from_ref(&action));
        self.answers(at_ms, action, reply);
        index
    }

    /// A follower answers a read, and names its position.
    fn reads_at(&mut self, at_ms: u64, index: u64, action: Action, reply: Reply) {
        let id = self.answers(at_ms, action, reply);
        let operation = self.history.operation_mut(id);
        (operation.applied, operation.consistency) = (Some(index), Consistency::Stale);
    }

    fn violated(&self) -> Vec<Invariant> {
        self.score().violated.keys().copied().collect()
    }

    fn score(&self) -> Score {
        let Story { plan, history, entries, clocks, errors, settled } = self;
        let mut score = Score::default();
        judge(&Case::new(plan, history, entries, clocks, errors, settled, false, None), &mut score);
        score
    }
}

fn bytes(text: &str) -> Reply {
    Reply::Bytes(text.into())
}

#[test]
fn a_right_story_holds() {
    let mut story = Story::new();
    let first = story.writes(1_000, Action::set("a", "1"), Reply::Ok);
    story.reads_at(1_010, first, Action::get("a"), bytes("1"));
    story.writes(1_020, Action::set_for_ms("a", "2", 500), Reply::Ok);
    story.writes(1_600, Action::incr_by("n", 1), Reply::Int(1));
    story.answers(1_610, Action::get("a"), Reply::Nil);
    let score = story.score();
    assert!(score.findings.is_empty(), "{:?}", score.findings);
    for invariant in [Invariant::I2, Invariant::I3, Invariant::I6, Invariant::I7, Invariant::I8, Invariant::I13] {
        assert!(score.checked.get(&invariant).is_some_and(|count| *count > 0), "{invariant} was checked");
    }
}

#[test]
fn i02_a_clock_that_is_not_the_highest_stamp() {
    let mut story = Story::new();
    let index = story.writes(1_000, Action::set("a", "1"), Reply::Ok);
    story.clocks.insert(index, START_MS + 999);
    assert_eq!(story.violated(), [Invariant::I2]);
}

#[test]
fn i03_a_follower_that_shows_what_has_ended() {
    let mut story = Story::new();
    story.writes(1_000, Action::set_for_ms("a", "1", 100), Reply::Ok);
    let behind = story.writes(1_150, Action::set("b", "1"), Reply::Ok);
    story.reads_at(1_160, behind, Action::get("a"), Reply::Nil);
    assert_eq!(story.violated(), []);
    story.reads_at(1_170, behind, Action::get("a"), bytes("1"));
    assert_eq!(story.violated(), [Invariant::I3]);
}

#[test]
fn i03_a_position_that_nobody_has_come_to() {
    let mut story = Story::new();
    story.writes(1_000, Action::set("a", "1"), Reply::Ok);
    story.reads_at(1_010, 7, Action::get("a"), bytes("1"));
    assert_eq!(story.violated(), [Invariant::I3]);
}

#[test]
fn i06_a_time_that_ends_early() {
    let tick = |off_ms| {
        let mut told = Story::new();
        told.writes(1_000, Action::set_for_ms("a", "1", 10_000), Reply::Ok);
        told.commits(6_000, off_ms, &[]);
        told.commits(11_000, 0, &[]);
        told.violated()
    };
    assert_eq!(tick(0), []);
    assert_eq!(tick(5_000), [Invariant::I6]);
}

#[test]
fn i07_an_acknowledged_write_that_the_log_does_not_hold() {
    let mut story = Story::new();
    story.writes(1_000, Action::set("a", "1"), Reply::Ok);
    assert_eq!(story.violated(), []);
    story.answers(1_010, Action::set("b", "1"), Reply::Ok);
    assert_eq!(story.violated(), [Invariant::I7]);
}

#[test]
fn i07_a_write_that_is_carried_out_twice() {
    let mut story = Story::new();
    story.writes(1_000, Action::incr_by("n", 1), Reply::Int(1));
    story.commits(1_050, 0, &[Action::incr_by("n", 1)]);
    assert_eq!(story.violated(), [Invariant::I7]);
}

#[test]
fn i07_the_reply_of_another_request() {
    let mut story = Story::new();
    story.commits(1_000, 0, &[Action::incr_by("n", 1), Action::incr_by("m", 5)]);
    story.answers(1_000, Action::incr_by("n", 1), Reply::Int(5));
    story.answers(1_000, Action::incr_by("m", 5), Reply::Int(1));
    assert!(story.violated().contains(&Invariant::I7));
}

#[test]
fn i08_a_key_that_is_due_and_no_tick_comes() {
    let mut story = Story::new();
    story.writes(1_000, Action::set_for_ms("a", "1", 100), Reply::Ok);
    story.commits(3_000, 0, &[]);
    assert_eq!(story.violated(), [Invariant::I8]);
}

#[test]
fn i08_a_clock_that_falls_behind() {
    let mut story = Story::new();
    story.commits(10_000, -3_000, &[]);
    assert_eq!(story.violated(), [Invariant::I8]);
}

#[test]
fn i11_an_increment_that_is_lost() {
    let mut story = Story::new();
    story.writes(1_000, Action::incr_by("n", 1), Reply::Int(1));
    story.answers(1_100, Action::get("n"), Reply::Nil);
    assert!(story.violated().contains(&Invariant::I11));
}

#[test]
fn i13_a_node_that_lags_and_one_that_is_gone() {
    let mut story = Story::new();
    story.settled.members[1].at = (8, 9);
    assert_eq!(story.violated(), [Invariant::I13]);
    let mut story = Story::new();
    story.settled.members[2].runs = false;
    assert_eq!(story.violated(), [Invariant::I13]);
    let mut story = Story::new();
    story.settled.members[2].hash = Some("another".to_owned());
    assert_eq!(story.violated(), [Invariant::I13]);
}

#[test]
fn i13_a_client_that_nobody_answers_any_more() {
    let mut story = Story::new();
    for at_ms in 0..6 {
        let id = story.history.call(1, Some(1), (110_000 + at_ms) * 1000, Action::get("a"));
        story.history.returned(id, (110_001 + at_ms) * 1000, Outcome::Refused("CLUSTERDOWN".to_owned()));
    }
    assert_eq!(story.violated(), [Invariant::I13]);
}

#[test]
fn what_is_read_before_it_is_written_is_not_linearizable() {
    let mut story = Story::new();
    story.writes(1_000, Action::set("a", "1"), Reply::Ok);
    story.answers(1_100, Action::get("a"), Reply::Nil);
    assert!(story.violated().contains(&Invariant::Linearizable));
}

/// A state machine and the model, side by side.
fn side_by_side(of_machine: &[Action], of_model: &[Action]) -> Score {
    let machine = Machine::open(Arc::new(MemoryEngine::new())).expect("empty");
    let calls: Vec<Call> = of_machine.iter().map(call).collect();
    let content = Content::Calls { stamp_ms: START_MS, seed: 1, calls: &calls };
    let entry = Entry { index: 1, position: vec![1; 16], content, want_replies: false };
    machine.apply(&[entry]).expect("memory does not fail");
    let calls = of_model.iter().map(call).collect();
    let content = CommittedContent::Writes { stamp_ms: START_MS, seed: 1, calls };
    let mut replay = Replay::default();
    replay.step(1, &Committed { term: 1, content, first: (1, 0) }).expect("known commands");
    let mut score = Score::default();
    i09::same_rows(&mut score, 1, &machine.view().expect("memory does not fail"), &replay);
    assert_eq!(score.checked[&Invariant::I9], 1);
    score
}

#[test]
fn i09_a_row_that_differs_from_the_model() {
    let both = [Action::set("a", "1"), Action::set_for_ms("b", "2", 50)];
    assert!(side_by_side(&both, &both).findings.is_empty());
    let others = [
        vec![Action::set("a", "1")],
        vec![Action::set("a", "1"), Action::set("b", "2")],
        vec![Action::set("a", "x"), Action::set_for_ms("b", "2", 50)],
        vec![Action::set("a", "1"), Action::set_for_ms("b", "2", 50), Action::set("c", "3")],
    ];
    for other in others {
        assert_eq!(side_by_side(&both, &other).findings.len(), 1, "the model has {other:?}");
        assert_eq!(side_by_side(&other, &both).findings.len(), 1, "the machine has {other:?}");
    }
}

/// A transaction that saw this value since 1000 ms, and goes ahead now.
fn goes_ahead(story: &mut Story, at_ms: u64, seen: &str, value: &str) {
    let set = Action::set("w:a", value);
    story.commits(at_ms, 0, std::slice::from_ref(&set));
    let seen = vec![("w:a".into(), Some(seen.into()))];
    story.answers(
        at_ms,
        Action::Watched { since_us: 1_000_000, seen, actions: vec![set] },
        Reply::Many(vec![Reply::Ok]),
    );
}

#[test]
fn watched_a_touch_that_leaves_the_value() {
    let mut story = Story::new();
    story.writes(900, Action::set("w:a", "1"), Reply::Ok);
    goes_ahead(&mut story, 1_020, "1", "2");
    let score = story.score();
    assert!(score.findings.is_empty(), "{:?}", score.findings);
    assert_eq!(score.checked.get(&Invariant::Watched), Some(&2));
    let mut story = Story::new();
    story.writes(900, Action::set("w:a", "1"), Reply::Ok);
    story.writes(1_010, Action::set("w:a", "1"), Reply::Ok);
    goes_ahead(&mut story, 1_020, "1", "2");
    assert_eq!(story.violated(), [Invariant::Watched]);
}

#[test]
fn watched_a_lost_update() {
    let mut story = Story::new();
    story.writes(900, Action::set("w:a", "1"), Reply::Ok);
    goes_ahead(&mut story, 1_020, "1", "2");
    goes_ahead(&mut story, 1_030, "1", "2");
    let violated = story.violated();
    assert!(violated.contains(&Invariant::Watched) && violated.contains(&Invariant::Linearizable), "{violated:?}");
}

#[test]
fn once_a_sequence_that_is_done_again() {
    let first = || Action::Once { session: "s".into(), sequence: 1, action: Box::new(Action::incr_by("n", 1)) };
    let mut story = Story::new();
    story.writes(1_000, first(), Reply::Int(1));
    story.writes(1_010, first(), Reply::Int(1));
    story.answers(1_020, Action::get("n"), bytes("1"));
    assert_eq!(story.violated(), []);
    story.answers(1_030, Action::get("n"), bytes("2"));
    assert!(story.violated().contains(&Invariant::Once));
}

#[test]
fn fresh_a_follower_that_is_further_behind_than_was_asked_for() {
    let mut story = Story::new();
    let old = story.writes(1_000, Action::set("a", "1"), Reply::Ok);
    story.writes(1_100, Action::set("a", "2"), Reply::Ok);
    let bounded = |story: &mut Story, ms| {
        let id = story.answers(1_150, Action::get("a"), bytes("1"));
        let operation = story.history.operation_mut(id);
        (operation.applied, operation.consistency) = (Some(old), Consistency::Bounded(ms));
    };
    bounded(&mut story, 60);
    assert_eq!(story.violated(), []);
    bounded(&mut story, 20);
    assert_eq!(story.violated(), [Invariant::Linearizable, Invariant::Fresh]);
}

#[test]
fn i5_a_follower_that_forgets_the_clock_it_has_answered_by() {
    let mut story = Story::new();
    let set = story.writes(1_000, Action::set_for_ms("s:a", "1", 20_000), Reply::Ok);
    story.history.operation_mut(0).applied = Some(set);
    let left = |story: &mut Story, at_ms, left_ms, term| {
        let id = story.answers(at_ms, Action::Pttl("s:a".into()), Reply::Int(left_ms));
        let operation = story.history.operation_mut(id);
        (operation.applied, operation.term, operation.consistency) = (Some(set), Some(term), Consistency::Session);
    };
    left(&mut story, 1_600, 19_400, 1);
    left(&mut story, 1_620, 19_400, 1);
    // The next leader may be a little behind.
    left(&mut story, 1_640, 19_500, 2);
    assert_eq!(story.violated(), []);
    left(&mut story, 1_660, 19_501, 2);
    assert_eq!(story.violated(), [Invariant::I5]);
}

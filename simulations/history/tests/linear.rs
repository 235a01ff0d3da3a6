//! Histories of one key that are right, and the same with one thing wrong.

mod common;

use common::{Script, set_for_ms};
use talon_history::linear::{Absolute, Options, Tolerance, check};
use talon_history::{Action, Condition, Deadline, Reply, Ttl};

fn exact() -> Options {
    let tolerance = Tolerance { early_permille: 50, early_ms: 10, late_permille: 100, late_ms: 10, absolute: None };
    Options { tolerance, ..Options::default() }
}

#[track_caller]
fn right(script: Script) {
    let verdict = check(&script.history, &exact());
    assert!(verdict.held(), "{}", verdict.violations[0]);
    assert_eq!(verdict.undecided, 0);
    assert!(verdict.checked > 0);
}

/// Wrong, and the last operation that makes it so is the one named.
#[track_caller]
fn wrong(script: Script, because: u64) {
    let verdict = check(&script.history, &exact());
    assert_eq!(verdict.violations.len(), 1);
    let violation = &verdict.violations[0];
    assert!(violation.what.contains(&format!("#{because},")), "{violation}");
    assert!(violation.operations.iter().any(|operation| operation.id == because), "{violation}");
}

fn set(value: &str) -> Action {
    Action::set("a", value)
}

fn get() -> Action {
    Action::get("a")
}

#[test]
fn an_overlapping_write_may_be_seen_or_not() {
    right(Script::new().ok(0, 1, set("1")).ok(2, 10, set("2")).bytes(3, 4, get(), "1").bytes(5, 6, get(), "2"));
    wrong(Script::new().ok(0, 1, set("1")).ok(2, 10, set("2")).bytes(3, 4, get(), "2").bytes(5, 6, get(), "1"), 3);
}

#[test]
fn a_stale_read_is_wrong() {
    right(Script::new().ok(0, 1, set("1")).ok(2, 3, set("2")).bytes(4, 5, get(), "2"));
    wrong(Script::new().ok(0, 1, set("1")).ok(2, 3, set("2")).bytes(4, 5, get(), "1"), 2);
}

#[test]
fn a_lost_write_is_wrong() {
    wrong(Script::new().ok(0, 1, set("1")).nil(2, 3, get()), 1);
    right(Script::new().refused(0, 1, set("1")).nil(2, 3, get()));
    wrong(Script::new().refused(0, 1, set("1")).bytes(2, 3, get(), "1"), 1);
}

#[test]
fn an_unknown_write_may_come_late_but_only_once() {
    right(Script::new().unknown(0, set("1")).ok(2, 3, set("2")).bytes(4, 5, get(), "2").bytes(6, 7, get(), "1"));
    right(Script::new().unknown(0, set("1")).ok(2, 3, set("2")).bytes(4, 5, get(), "2"));
    let back = Script::new().unknown(0, set("1")).ok(2, 3, set("2")).bytes(4, 5, get(), "1").bytes(6, 7, get(), "2");
    wrong(back, 3);
    let before = Script::new().bytes(0, 1, get(), "1").unknown(2, set("1"));
    wrong(before, 0);
}

#[test]
fn an_unseen_write_can_still_be_what_explains_the_rest() {
    // Nobody saw its value, but without it the second NX would have to write.
    let nx = |value: &str| Action::Set {
        key: "a".into(),
        value: value.into(),
        ttl: None,
        condition: Some(Condition::Missing),
        get: false,
    };
    right(Script::new().unknown(0, nx("1")).nil(2, 3, nx("2")).int(4, 5, Action::Exists("a".into()), 1));
    wrong(Script::new().nil(2, 3, nx("2")).int(4, 5, Action::Exists("a".into()), 1), 0);
}

#[test]
fn a_deleted_key_does_not_come_back() {
    let del = || Action::del("a");
    right(Script::new().ok(0, 1, set("1")).int(2, 3, del(), 1).nil(4, 5, get()));
    wrong(Script::new().ok(0, 1, set("1")).int(2, 3, del(), 1).nil(4, 5, get()).bytes(6, 7, get(), "1"), 3);
    wrong(Script::new().ok(0, 1, set("1")).int(2, 3, del(), 0), 1);
}

#[test]
fn a_prefix_delete_is_a_delete_of_each_key() {
    let prefix = || Action::DelPrefix("a".into());
    right(Script::new().ok(0, 1, set("1")).int(2, 3, prefix(), 1).nil(4, 5, get()));
    wrong(Script::new().ok(0, 1, set("1")).int(2, 3, prefix(), 1).bytes(4, 5, get(), "1"), 2);
    wrong(Script::new().ok(0, 1, set("1")).int(2, 3, prefix(), 0), 1);
}

#[test]
fn a_key_lives_as_long_as_it_should() {
    // 1000 ms to live, 5 % and 10 ms early, 10 % and 10 ms late: between 940 and 1110 ms.
    let start = || Script::new().ok(0, 1, set_for_ms("a", "1", 1000));
    right(start().bytes(930, 935, get(), "1").bytes(1100, 1105, get(), "1").nil(1120, 1121, get()));
    right(start().nil(945, 950, get()).nil(1120, 1121, get()));
    wrong(start().nil(930, 935, get()), 1);
    wrong(start().bytes(1120, 1121, get(), "1"), 1);
    wrong(start().nil(950, 951, get()).bytes(960, 961, get(), "1"), 2);
    right(start().nil(950, 951, get()).ok(952, 953, set("2")).bytes(960, 961, get(), "2"));
}

#[test]
fn the_end_moves_with_expire_and_goes_with_persist() {
    let start = || Script::new().ok(0, 1, set_for_ms("a", "1", 1000));
    let expire = |ms| Action::Expire("a".into(), Deadline::AfterMs(ms));
    let persist = || Action::Persist("a".into());
    right(start().int(10, 11, expire(5000), 1).bytes(4000, 4001, get(), "1"));
    wrong(start().int(10, 11, expire(5000), 1).nil(4000, 4001, get()), 2);
    right(start().int(10, 11, persist(), 1).bytes(9000, 9001, get(), "1"));
    wrong(start().int(10, 11, persist(), 1).nil(9000, 9001, get()), 2);
    right(start().int(1200, 1201, persist(), 0).nil(1202, 1203, get()));
    wrong(start().int(1200, 1201, persist(), 1), 1);
    right(start().ok(10, 11, set("2")).bytes(9000, 9001, get(), "2"));
    wrong(start().ok(10, 11, set("2")).nil(9000, 9001, get()), 2);
    let keep = || Action::Set { key: "a".into(), value: "2".into(), ttl: Some(Ttl::Keep), condition: None, get: false };
    right(start().ok(10, 11, keep()).nil(1120, 1121, get()));
    wrong(start().ok(10, 11, keep()).bytes(1120, 1121, get(), "2"), 2);
    right(start().int(10, 11, expire(0), 1).nil(12, 13, get()));
}

#[test]
fn a_time_left_fits_the_end() {
    let start = || Script::new().ok(0, 1, set_for_ms("a", "1", 1000));
    let pttl = || Action::Pttl("a".into());
    right(start().int(500, 501, pttl(), 500));
    right(start().int(500, 501, pttl(), 440));
    wrong(start().int(500, 501, pttl(), 800), 1);
    wrong(start().int(500, 501, pttl(), 200), 1);
    wrong(start().int(500, 501, pttl(), -1), 1);
    right(start().int(1200, 1201, pttl(), -2));
    right(Script::new().ok(0, 1, set("1")).int(2, 3, pttl(), -1));
}

#[test]
fn absolute_ends_need_a_true_time() {
    let at = Action::Set {
        key: "a".into(),
        value: "1".into(),
        ttl: Some(Ttl::Until(Deadline::AtMs(11_000))),
        condition: None,
        get: false,
    };
    let early = Script::new().ok(0, 1, at.clone()).nil(500, 501, get()).history;
    let late = Script::new().ok(0, 1, at).bytes(1500, 1501, get(), "1").history;
    let mut options = exact();
    assert!(check(&early, &options).held() && check(&late, &options).held());
    options.tolerance.absolute = Some(Absolute { unix_ms_at_zero: 10_000, early_ms: 100, late_ms: 100 });
    assert!(!check(&early, &options).held() && !check(&late, &options).held());
    options.tolerance.absolute = Some(Absolute { unix_ms_at_zero: 10_000, early_ms: 600, late_ms: 600 });
    assert!(check(&early, &options).held() && check(&late, &options).held());
}

#[test]
fn rename_takes_value_and_end_along() {
    let rename = || Action::Rename { from: "a".into(), to: "b".into() };
    let start = || Script::new().ok(0, 1, set_for_ms("a", "1", 1000)).ok(10, 11, rename());
    right(start().bytes(20, 21, Action::get("b"), "1").nil(22, 23, get()).nil(1120, 1121, Action::get("b")));
    wrong(start().bytes(20, 21, get(), "1"), 2);
    wrong(start().bytes(1120, 1121, Action::get("b"), "1"), 2);
    let missing = || Reply::Error("ERR no such key".into());
    right(Script::new().reply(0, 1, rename(), missing()).nil(2, 3, Action::get("b")));
    wrong(Script::new().ok(0, 1, set("1")).reply(2, 3, rename(), missing()), 1);
}

#[test]
fn compare_and_set_wins_once() {
    let swap = |value: &str| Action::compare_and_set("a", "0", value);
    let start = || Script::new().ok(0, 1, set("0"));
    right(start().ok(2, 10, swap("1")).nil(3, 11, swap("2")).bytes(12, 13, get(), "1"));
    wrong(start().ok(2, 10, swap("1")).ok(3, 11, swap("2")), 2);
}

#[test]
fn growing_values_grow_once() {
    let incr = || Action::incr_by("a", 1);
    right(Script::new().int(0, 1, incr(), 1).unknown(2, incr()).int(3, 4, incr(), 3).bytes(5, 6, get(), "3"));
    wrong(Script::new().int(0, 1, incr(), 1).int(3, 4, incr(), 3), 1);
    let append = |tail: &str| Action::Append("a".into(), tail.into());
    right(Script::new().int(0, 9, append("x"), 2).int(1, 8, append("y"), 1).bytes(10, 11, get(), "yx"));
    wrong(Script::new().int(0, 9, append("x"), 2).int(1, 8, append("y"), 1).bytes(10, 11, get(), "xy"), 2);
    let error = || Reply::Error("ERR value is not an integer or out of range".into());
    right(Script::new().ok(0, 1, set("x")).reply(2, 3, incr(), error()));
    wrong(Script::new().ok(0, 1, set("1")).reply(2, 3, incr(), error()), 1);
}

#[test]
fn a_transaction_is_one_moment_for_a_key() {
    let both = || Action::Transaction(vec![Action::incr_by("a", 1), Action::get("a"), Action::set("b", "x")]);
    let done = |number: i64, seen: &str| Reply::Many(vec![Reply::Int(number), Reply::Bytes(seen.into()), Reply::Ok]);
    right(Script::new().reply(0, 9, both(), done(1, "1")).reply(1, 8, both(), done(2, "2")));
    wrong(Script::new().reply(0, 9, both(), done(1, "2")).reply(1, 8, both(), done(2, "2")), 0);
}

#[test]
fn answers_that_fit_no_question_are_wrong() {
    let mget = || Action::Mget(vec!["a".into(), "b".into()]);
    for reply in [Reply::Nil, Reply::Many(vec![Reply::Nil])] {
        let history = Script::new().reply(0, 1, mget(), reply).history;
        assert_eq!(check(&history, &exact()).violations.len(), 1);
    }
    let pair = Reply::Many(vec![Reply::Bytes("ghost".into()), Reply::Bytes("x".into())]);
    let history = Script::new().reply(0, 1, Action::Scan("g".into()), Reply::Many(vec![pair])).history;
    assert_eq!(check(&history, &exact()).violations.len(), 1);
    let busy = Reply::Error("ERR something else".into());
    assert_eq!(check(&Script::new().reply(0, 1, set("1"), busy).history, &exact()).violations.len(), 1);
}

#[test]
fn a_scan_sees_each_key_as_a_read_does() {
    let scan = || Action::Scan("a".into());
    let pair = |value: &str| Reply::Many(vec![Reply::Many(vec![Reply::Bytes("a".into()), Reply::Bytes(value.into())])]);
    right(Script::new().ok(0, 1, set("1")).reply(2, 3, scan(), pair("1")));
    wrong(Script::new().ok(0, 1, set("1")).reply(2, 3, scan(), Reply::Many(vec![])), 1);
    wrong(Script::new().ok(0, 1, set("1")).ok(2, 3, set("2")).reply(4, 5, scan(), pair("1")), 2);
}

#[test]
fn the_final_reads_show_a_lost_write() {
    // I7 for registers: the final reads are part of the history.
    let many = |script: Script| {
        (1..200).fold(script, |script, number| script.ok(10 * number, 10 * number + 5, set(&number.to_string())))
    };
    right(many(Script::new()).bytes(5000, 5001, get(), "199"));
    wrong(many(Script::new()).bytes(5000, 5001, get(), "198"), 199);
}

#[test]
fn a_violation_is_shown_small_and_drawn() {
    let mut script = Script::new();
    for number in 0..500 {
        let at = number * 10;
        let value = number.to_string();
        let seen = if number == 300 { "299" } else { &value };
        script = script.ok(at, at + 1, set(&value)).bytes(at + 2, at + 3, get(), seen);
    }
    let folder = std::env::temp_dir().join(format!("talon-history-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the picture");
    let verdict = check(&script.history, &Options { pictures: Some(folder.clone()), ..exact() });
    let [violation] = &verdict.violations[..] else { panic!("{} violations", verdict.violations.len()) };
    assert_eq!(violation.operations.len(), 2, "{violation}");
    assert_eq!(violation.operations[1].id, 601);
    let picture = violation.picture.clone().expect("a picture");
    let html = std::fs::read_to_string(picture).expect("it was written");
    assert!(html.contains("SET a 300"), "the picture shows the operations");
    std::fs::remove_dir_all(folder).expect("it is ours");
}

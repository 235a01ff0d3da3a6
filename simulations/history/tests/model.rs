//! The reference model against what Redis 7 answers, action by action.

use talon_history::{Action, Condition, Deadline, Model, Reply, Ttl, Word};

fn text(value: &str) -> Reply {
    Reply::Bytes(value.into())
}

fn set_with(key: &str, value: &str, ttl: Option<Ttl>, condition: Option<Condition>, get: bool) -> Action {
    Action::Set { key: key.into(), value: value.into(), ttl, condition, get }
}

fn pttl(key: &str) -> Action {
    Action::Pttl(key.into())
}

fn expire(key: &str, ms: i64) -> Action {
    Action::Expire(key.into(), Deadline::AfterMs(ms))
}

#[test]
fn a_key_is_gone_exactly_when_the_clock_reaches_its_end() {
    let mut model = Model::new();
    assert_eq!(model.carry_out(1000, &Action::set_for_ms("a", "1", 50)), Reply::Ok);
    assert_eq!(model.carry_out(1049, &Action::get("a")), text("1"));
    assert_eq!(model.carry_out(1049, &pttl("a")), Reply::Int(1));
    assert_eq!(model.carry_out(900, &Action::get("a")), text("1"), "the clock only rises");
    assert_eq!(model.clock_ms(), 1049);
    assert_eq!(model.carry_out(1050, &Action::get("a")), Reply::Nil);
    assert_eq!(model.carry_out(1050, &pttl("a")), Reply::Int(-2));
    assert_eq!(model.carry_out(0, &Action::get("a")), Reply::Nil, "and does not come back");
}

#[test]
fn writes_keep_or_drop_the_end_as_redis_does() {
    let keeps = [
        Action::incr_by("a", 2),
        Action::Append("a".into(), "3".into()),
        set_with("a", "9", Some(Ttl::Keep), None, false),
        Action::compare_and_set("a", "other", "9"),
        set_with("a", "9", None, Some(Condition::Missing), false),
    ];
    for action in keeps {
        let mut model = Model::new();
        let _ = model.carry_out(1000, &Action::set_for_ms("a", "1", 50));
        let _ = model.carry_out(1010, &action);
        assert_eq!(model.carry_out(1010, &pttl("a")), Reply::Int(40), "{action}");
    }
    let drops = [
        Action::set("a", "2"),
        Action::GetSet("a".into(), "2".into()),
        Action::Mset(vec![("a".into(), "2".into())]),
        Action::compare_and_set("a", "1", "2"),
        Action::Persist("a".into()),
    ];
    for action in drops {
        let mut model = Model::new();
        let _ = model.carry_out(1000, &Action::set_for_ms("a", "1", 50));
        let _ = model.carry_out(1010, &action);
        assert_eq!(model.carry_out(1010, &pttl("a")), Reply::Int(-1), "{action}");
    }
}

#[test]
fn set_answers_by_condition_and_get() {
    let mut model = Model::new();
    let some = |condition, get| set_with("a", "2", None, condition, get);
    assert_eq!(model.carry_out(1, &some(Some(Condition::Exists), false)), Reply::Nil);
    assert_eq!(model.carry_out(1, &some(Some(Condition::Equals("1".into())), false)), Reply::Nil);
    assert_eq!(model.carry_out(1, &some(Some(Condition::Missing), true)), Reply::Nil);
    assert_eq!(model.carry_out(1, &some(Some(Condition::Missing), true)), text("2"));
    assert_eq!(model.carry_out(1, &some(Some(Condition::Equals("2".into())), false)), Reply::Ok);
    let wrong = set_with("a", "3", Some(Ttl::Until(Deadline::AfterMs(0))), None, false);
    assert_eq!(model.carry_out(1, &wrong), Reply::Error("ERR invalid expire time in 'set' command".into()));
    let past = set_with("a", "3", Some(Ttl::Until(Deadline::AtMs(5))), None, false);
    assert_eq!(model.carry_out(5, &past), Reply::Ok);
    assert_eq!(model.carry_out(5, &Action::get("a")), Reply::Nil);
}

#[test]
fn expire_and_persist_say_whether_they_did() {
    let mut model = Model::new();
    assert_eq!(model.carry_out(1000, &expire("a", 10)), Reply::Int(0));
    assert_eq!(model.carry_out(1000, &Action::Persist("a".into())), Reply::Int(0));
    let _ = model.carry_out(1000, &Action::set("a", "1"));
    assert_eq!(model.carry_out(1000, &Action::Persist("a".into())), Reply::Int(0));
    assert_eq!(model.carry_out(1000, &expire("a", 10)), Reply::Int(1));
    assert_eq!(model.carry_out(1000, &Action::Persist("a".into())), Reply::Int(1));
    assert_eq!(model.carry_out(1000, &Action::Expire("a".into(), Deadline::AtMs(1000))), Reply::Int(1));
    assert_eq!(model.carry_out(1000, &Action::Exists("a".into())), Reply::Int(0), "a past end removes");
    let _ = model.carry_out(1000, &Action::set("a", "1"));
    assert_eq!(model.carry_out(1000, &expire("a", -1)), Reply::Int(1));
    assert!(model.entries().is_empty());
}

#[test]
fn numbers_and_tails() {
    let mut model = Model::new();
    assert_eq!(model.carry_out(1, &Action::incr_by("n", -3)), Reply::Int(-3));
    assert_eq!(model.carry_out(1, &Action::Append("n".into(), "x".into())), Reply::Int(3));
    let not = Reply::Error("ERR value is not an integer or out of range".into());
    assert_eq!(model.carry_out(1, &Action::incr_by("n", 1)), not);
    let _ = model.carry_out(1, &Action::set("n", i64::MAX.to_string()));
    let over = Reply::Error("ERR increment or decrement would overflow".into());
    assert_eq!(model.carry_out(1, &Action::incr_by("n", 1)), over);
    assert_eq!(model.carry_out(1, &Action::Append("e".into(), "".into())), Reply::Int(0));
    assert_eq!(model.carry_out(1, &Action::get("e")), text(""));
}

#[test]
fn rename_takes_the_end_along() {
    let mut model = Model::new();
    let rename = Action::Rename { from: "a".into(), to: "b".into() };
    assert_eq!(model.carry_out(1, &rename), Reply::Error("ERR no such key".into()));
    let _ = model.carry_out(1000, &Action::set_for_ms("a", "1", 50));
    let _ = model.carry_out(1000, &Action::set("b", "old"));
    assert_eq!(model.carry_out(1010, &rename), Reply::Ok);
    assert_eq!(model.carry_out(1010, &pttl("b")), Reply::Int(40));
    assert_eq!(model.carry_out(1010, &Action::get("a")), Reply::Nil);
    let same = Action::Rename { from: "b".into(), to: "b".into() };
    assert_eq!(model.carry_out(1010, &same), Reply::Ok);
    assert_eq!(model.carry_out(1049, &Action::get("b")), text("1"));
    assert_eq!(model.carry_out(1050, &Action::get("b")), Reply::Nil);
}

#[test]
fn many_keys_at_once() {
    let mut model = Model::new();
    let keys = |keys: &[&str]| keys.iter().map(|key| Word::from(*key)).collect::<Vec<_>>();
    let pairs = ["p1", "p2", "q"].map(|key| (Word::from(key), Word::from("v"))).to_vec();
    assert_eq!(model.carry_out(1, &Action::Mset(pairs)), Reply::Ok);
    let got = model.carry_out(1, &Action::Mget(keys(&["p2", "x", "q"])));
    assert_eq!(got, Reply::Many(vec![text("v"), Reply::Nil, text("v")]));
    let pair = |key: &str| Reply::Many(vec![text(key), text("v")]);
    assert_eq!(model.carry_out(1, &Action::Scan("p".into())), Reply::Many(vec![pair("p1"), pair("p2")]));
    assert_eq!(model.carry_out(1, &Action::Del(keys(&["p1", "p1", "x"]))), Reply::Int(1));
    assert_eq!(model.carry_out(1, &Action::DelPrefix("p".into())), Reply::Int(1));
    let both = Action::Transaction(vec![Action::set("q", "w"), Action::get("q"), Action::get("p2")]);
    assert_eq!(model.carry_out(1, &both), Reply::Many(vec![Reply::Ok, text("w"), Reply::Nil]));
}

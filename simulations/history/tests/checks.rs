//! Atomicity, counters, durability and sessions: what is right, and the same with one thing wrong.

mod common;

use common::{Script, set_for_ms};
use talon_history::linear::Options;
use talon_history::{Action, Consistency, Deadline, Reply, Verdict, Word, atomic, counters, durable, session};

#[track_caller]
fn right(verdict: Verdict) {
    assert!(verdict.held(), "{}", verdict.violations[0]);
    assert_eq!(verdict.undecided, 0);
    assert!(verdict.checked > 0, "nothing was checked");
}

/// Wrong, in these words, shown with these operations.
#[track_caller]
fn wrong(verdict: Verdict, words: &str, operations: &[u64]) {
    let [violation] = &verdict.violations[..] else { panic!("{:?}", verdict.violations) };
    assert!(violation.what.contains(words), "{violation}");
    let ids: Vec<u64> = violation.operations.iter().map(|operation| operation.id).collect();
    assert_eq!(ids, operations, "{violation}");
}

mod atomicity {
    use super::*;

    fn group() -> Vec<Word> {
        vec!["a".into(), "b".into()]
    }

    fn judged(script: Script) -> Verdict {
        atomic::check(&script.history, &[group()], &Options::default())
    }

    fn mset(value: &str) -> Action {
        Action::Mset(group().into_iter().map(|key| (key, value.into())).collect())
    }

    fn exec(value: &str) -> Action {
        Action::Transaction(vec![Action::set("a", value), Action::set("b", value)])
    }

    fn done() -> Reply {
        Reply::Many(vec![Reply::Ok, Reply::Ok])
    }

    fn mget() -> Action {
        Action::Mget(group())
    }

    fn both(a: &str, b: &str) -> Reply {
        let one = |value: &str| if value.is_empty() { Reply::Nil } else { Reply::Bytes(value.into()) };
        Reply::Many(vec![one(a), one(b)])
    }

    #[test]
    fn one_write_is_seen_whole() {
        let start = || Script::new().ok(0, 1, mset("1")).reply(2, 3, exec("2"), done());
        right(judged(start().reply(4, 5, mget(), both("2", "2"))));
        wrong(judged(start().reply(4, 5, mget(), both("2", "1"))), "saw \"a\" = \"2\" and \"b\" = \"1\"", &[2]);
        wrong(judged(Script::new().ok(0, 9, mset("1")).reply(1, 2, mget(), both("1", ""))), "\"b\" = nil", &[1]);
        let transaction = Action::Transaction(vec![Action::get("a"), Action::get("b")]);
        wrong(judged(start().reply(4, 5, transaction, both("1", "2"))), "\"a\" = \"1\"", &[2]);
    }

    #[test]
    fn half_a_transaction_is_seen_by_single_reads_too() {
        let start = || Script::new().ok(0, 1, mset("1")).reply(2, 20, exec("2"), done());
        right(judged(start().bytes(3, 4, Action::get("a"), "1").bytes(5, 6, Action::get("b"), "2")));
        let half = start().bytes(3, 4, Action::get("a"), "2").bytes(5, 6, Action::get("b"), "1");
        wrong(judged(half), "as one register", &[0, 1, 2, 3]);
    }

    #[test]
    fn a_group_does_not_go_back() {
        let start = || Script::new().ok(0, 1, mset("1")).ok(2, 9, mset("2"));
        wrong(
            judged(start().reply(3, 4, mget(), both("2", "2")).reply(5, 6, mget(), both("1", "1"))),
            "no order",
            &[0, 1, 2, 3],
        );
        let session = |first: &str, second: &str| {
            let script = Script::new().ok(0, 1, mset("1")).ok(2, 3, mset("2"));
            let script = script.reply(4, 5, mget(), both(first, first)).session(1);
            judged(script.reply(6, 7, mget(), both(second, second)).session(1))
        };
        right(session("1", "2"));
        wrong(session("2", "1"), "the older", &[2, 3]);
        wrong(session("1", ""), "the older nil", &[2, 3]);
        wrong(session("1", "3"), "had not been written", &[3]);
    }

    #[test]
    fn deletes_and_scans_are_of_the_whole_group() {
        let del = || Action::Del(group());
        right(judged(Script::new().ok(0, 1, mset("1")).int(2, 3, del(), 2).reply(4, 5, mget(), both("", ""))));
        let kept = Script::new().ok(0, 1, mset("1")).int(2, 3, del(), 2).reply(4, 5, mget(), both("1", "1"));
        wrong(judged(kept), "no order", &[1, 2]);
        let pair = Reply::Many(vec![Reply::Bytes("a".into()), Reply::Bytes("1".into())]);
        let scan = Script::new().ok(0, 1, mset("1")).reply(2, 3, Action::Scan("".into()), Reply::Many(vec![pair]));
        wrong(judged(scan), "\"b\" = nil", &[1]);
    }

    #[test]
    fn a_group_that_was_written_apart_is_not_judged() {
        let verdict = judged(Script::new().ok(0, 1, Action::set("a", "1")).reply(2, 3, mget(), both("1", "")));
        assert!(verdict.held() && verdict.checked == 0 && verdict.undecided == 1);
    }
}

mod counts {
    use super::*;

    fn judged(script: Script) -> Verdict {
        counters::check(&script.history)
    }

    fn incr(by: i64) -> Action {
        Action::incr_by("n", by)
    }

    fn get() -> Action {
        Action::get("n")
    }

    #[test]
    fn between_acknowledged_and_unknown() {
        let start = || Script::new().int(0, 1, incr(2), 2).unknown(2, incr(3)).refused(4, 5, incr(50));
        right(judged(start().bytes(6, 7, get(), "2").bytes(8, 9, get(), "5")));
        wrong(judged(start().bytes(6, 7, get(), "6")), "at most 5", &[3]);
        wrong(judged(start().bytes(6, 7, get(), "1")), "at least 2", &[3]);
        wrong(judged(Script::new().int(0, 1, incr(2), 2).nil(2, 3, get())), "read 0", &[1]);
    }

    #[test]
    fn a_double_increment_is_seen_in_its_answer() {
        right(judged(Script::new().int(0, 1, incr(1), 1).int(2, 3, incr(1), 2)));
        wrong(judged(Script::new().int(0, 1, incr(1), 1).int(2, 3, incr(1), 3)), "at most 2", &[1]);
        wrong(judged(Script::new().int(0, 9, incr(1), 1).int(1, 8, incr(1), 1)), "both made 1", &[0, 1]);
    }

    #[test]
    fn what_is_only_raised_never_falls() {
        let start = || Script::new().int(0, 1, incr(1), 1).unknown(2, incr(1)).bytes(3, 4, get(), "2");
        right(judged(start().bytes(5, 6, get(), "2")));
        wrong(judged(start().bytes(5, 6, get(), "1")), "fell from 2 to 1", &[2, 3]);
        right(judged(start().bytes(5, 6, get(), "1").session(9)));
        wrong(judged(start().by(9).bytes(5, 6, get(), "1").session(9)), "fell from 2 to 1", &[2, 3]);
    }

    #[test]
    fn going_down_counts_as_well() {
        let start = || Script::new().int(0, 1, incr(5), 5).unknown(2, incr(-3));
        right(judged(start().bytes(3, 4, get(), "2").bytes(5, 6, get(), "2")));
        wrong(judged(start().bytes(3, 4, get(), "1")), "at least 2", &[2]);
        wrong(judged(Script::new().int(0, 1, incr(5), 5).int(2, 3, incr(-3), 5)), "at most 2", &[1]);
    }

    #[test]
    fn followers_may_lag_but_not_behind_their_own_client() {
        let start = || Script::new().int(0, 1, incr(1), 1).by(7).int(2, 3, incr(1), 2);
        right(judged(start().bytes(4, 5, get(), "1").session(7)));
        wrong(judged(start().nil(4, 5, get()).session(7)), "at least 1", &[2]);
        right(judged(start().nil(4, 5, get()).with(|operation| operation.consistency = Consistency::Stale)));
    }

    #[test]
    fn other_keys_are_no_counters() {
        assert_eq!(judged(Script::new().ok(0, 1, Action::set("n", "7")).int(2, 3, incr(1), 99)).checked, 0);
    }
}

mod durability {
    use super::*;

    fn judged(script: Script) -> Verdict {
        durable::check(&script.history)
    }

    fn set(value: &str) -> Action {
        Action::set("a", value)
    }

    fn get() -> Action {
        Action::get("a")
    }

    #[test]
    fn the_last_acknowledged_write_is_there() {
        let start = || Script::new().ok(0, 1, set("1")).ok(2, 3, set("2"));
        right(judged(start().bytes(9, 10, get(), "2")));
        wrong(judged(start().bytes(9, 10, get(), "1")), "#1 was acknowledged and is lost", &[0, 1, 2]);
        wrong(judged(start().nil(9, 10, get())), "#1 was acknowledged and is lost", &[1, 2]);
        wrong(judged(start().bytes(9, 10, get(), "7")), "lost", &[1, 2]);
    }

    #[test]
    fn what_may_have_come_after_explains_it() {
        let del = || Action::del("a");
        right(judged(Script::new().ok(0, 5, set("1")).ok(1, 6, set("2")).bytes(9, 10, get(), "1")));
        right(judged(Script::new().unknown(0, set("1")).ok(2, 3, set("2")).bytes(9, 10, get(), "1")));
        right(judged(Script::new().unknown(0, del()).ok(2, 3, set("2")).nil(9, 10, get())));
        wrong(judged(Script::new().int(0, 1, del(), 1).ok(2, 3, set("2")).nil(9, 10, get())), "lost", &[0, 1, 2]);
        wrong(judged(Script::new().refused(0, 1, del()).ok(2, 3, set("2")).nil(9, 10, get())), "lost", &[1, 2]);
        right(judged(Script::new().ok(0, 1, set_for_ms("a", "1", 5)).nil(9, 10, get())));
        let expire = Action::Expire("a".into(), Deadline::AfterMs(5));
        right(judged(Script::new().ok(0, 1, set("1")).int(2, 3, expire, 1).nil(9, 10, get())));
    }

    #[test]
    fn a_delete_that_was_acknowledged_is_a_write_too() {
        let script = Script::new().ok(0, 1, set("1")).int(2, 3, Action::del("a"), 1);
        wrong(judged(script.clone().bytes(9, 10, get(), "1")), "#1 was acknowledged and is lost", &[0, 1, 2]);
        right(judged(script.nil(9, 10, get())));
        wrong(judged(Script::new().bytes(9, 10, get(), "1")), "nobody wrote", &[0]);
    }
}

mod sessions {
    use super::*;

    fn get() -> Action {
        Action::get("a")
    }

    fn at(position: u64) -> impl FnOnce(&mut talon_history::Operation) {
        move |operation| operation.applied = Some(position)
    }

    #[test]
    fn positions_never_go_back() {
        let two = |first: u64, second: u64| {
            let script = Script::new().nil(0, 1, get()).session(1).with(at(first));
            session::positions(&script.nil(2, 3, get()).session(1).with(at(second)).history)
        };
        right(two(5, 5));
        right(two(5, 6));
        wrong(two(6, 5), "went back at #1", &[0, 1]);
        let stale = Script::new().nil(0, 1, get()).session(1).with(at(6)).nil(2, 3, get()).session(1).with(at(5));
        let stale = stale.with(|operation| operation.consistency = Consistency::Stale);
        right(session::positions(&stale.history));
    }

    fn nil(script: Script) -> Verdict {
        session::nil_stays_nil(&script.history)
    }

    #[test]
    fn nil_stays_nil_until_somebody_writes() {
        let set = || Action::set("a", "1");
        let start = || Script::new().ok(0, 1, set()).by(1);
        // Its own write is behind it, so nil is the end of it.
        right(nil(start().nil(2, 3, get()).session(1).nil(4, 5, get()).session(1)));
        wrong(nil(start().nil(2, 3, get()).session(1).bytes(4, 5, get(), "1").session(1)), "there again", &[0, 1, 2]);
        let again = start().nil(2, 3, get()).session(1).ok(4, 5, set()).bytes(6, 7, get(), "1").session(1);
        right(nil(again));
        // Another's write may reach this follower between the two reads.
        right(nil(Script::new().ok(0, 1, set()).nil(2, 3, get()).session(1).bytes(4, 5, get(), "1").session(1)));
        // But not if the position says that it was there.
        let placed = |position| {
            let script = Script::new().ok(0, 1, set()).with(at(5)).nil(2, 3, get()).session(1).with(at(position));
            nil(script.bytes(4, 5, get(), "1").session(1))
        };
        right(placed(4));
        wrong(placed(5), "there again", &[0, 1, 2]);
    }

    #[test]
    fn what_was_seen_and_gone_does_not_come_back() {
        let start = |writers: u64| {
            let script = (0..writers).fold(Script::new(), |script, at| script.ok(at, at + 1, Action::set("a", "1")));
            let script = script.bytes(10, 11, get(), "1").session(1);
            script.nil(12, 13, get()).session(1).bytes(14, 15, get(), "1").session(1)
        };
        wrong(nil(start(1)), "there again", &[0, 1, 2, 3]);
        right(nil(start(2)));
        let linear = Script::new().ok(0, 1, Action::set("a", "1")).nil(2, 3, get()).by(1);
        wrong(nil(linear.bytes(4, 5, get(), "1").session(1)), "there again", &[0, 1, 2]);
    }

    fn pttl() -> Action {
        Action::Pttl("a".into())
    }

    fn read(script: Script, at_ms: u64, left: i64, node: u64, term: u64) -> Script {
        script.int(at_ms, at_ms + 1, pttl(), left).with(|operation| {
            operation.node = Some(node);
            operation.term = Some(term);
        })
    }

    #[test]
    fn a_time_left_never_grows() {
        let start = || Script::new().ok(0, 1, set_for_ms("a", "1", 1000));
        let judged = |script: Script| session::ttl_never_grows(&script.history, 100);
        right(judged(read(read(start(), 10, 990, 1, 1), 20, 980, 1, 1)));
        wrong(judged(read(read(start(), 10, 990, 1, 1), 20, 991, 1, 1)), "990 ms left and then 991", &[1, 2]);
        right(judged(read(read(start(), 10, 990, 1, 1), 20, 1050, 2, 2)));
        right(judged(read(read(start(), 10, 990, 1, 1), 20, 1050, 1, 2)));
        wrong(judged(read(read(start(), 10, 890, 1, 1), 20, 991, 2, 2)), "then 991", &[1, 2]);
        wrong(judged(read(read(start(), 10, 990, 1, 1), 20, -1, 1, 1)), "lost its end", &[1, 2]);
        wrong(judged(read(read(start(), 10, -1, 1, 1), 20, 900, 1, 1)), "got an end", &[1, 2]);
        wrong(judged(read(read(start(), 10, -1, 1, 1), 20, -2, 1, 1)), "vanished", &[1, 2]);
        let written = read(start(), 10, 500, 1, 1).int(11, 12, Action::Expire("a".into(), Deadline::AfterMs(900)), 1);
        assert_eq!(judged(read(written, 20, 890, 1, 1)).violations, []);
    }

    #[test]
    fn all_three_are_one_check() {
        let script = Script::new().ok(0, 1, Action::set("a", "1")).by(1).with(at(7));
        let script = script.nil(2, 3, get()).session(1).with(at(6)).bytes(4, 5, get(), "1").session(1);
        assert_eq!(session::check(&script.history, 100).violations.len(), 2);
    }
}

//! The state machine: however the log is cut into lumps, on whichever engine, with crashes in between, the state is the same.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use talon::{AppliedState, Content, Entry, Machine, OpenError, ReadOutcome, state_hash};
use talon_core::commands::talon::PURGE;
use talon_core::entry::TRANSACTION_TOO_LARGE;
use talon_core::limits::{TRANSACTION_WRITES_MAX, VALUE_BYTES_MAX};
use talon_core::{Call, PointInTime, Reply, Request, StateHash};
use talon_storage::{Crash, Engine, MemoryEngine, RocksEngine, RocksSettings};

const START_MS: u64 = 1_000_000;

pub fn request(words: &str) -> Request {
    let words: Vec<Bytes> = words.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    if words[0] == b"talon.purge"[..] {
        return Request::new(&PURGE, words[1..].to_vec());
    }
    Request::parse(&words[0], words[1..].to_vec()).unwrap()
}

pub fn one(words: &str) -> Call {
    Call::One(request(words))
}

/// An entry as a test's log keeps it.
#[derive(Clone, Debug)]
enum Logged {
    Blank,
    Membership(u8),
    Calls { after_ms: u64, calls: Vec<Call> },
}

fn command() -> impl Strategy<Value = String> {
    let key = || prop::sample::select(vec!["a", "b", "c", "d", "pre:1", "pre:2", "pre:11", "\u{10FFFF}1"]);
    prop_oneof![
        4 => (key(), 0..9).prop_map(|(key, value)| format!("SET {key} {value}")),
        4 => (key(), 0..9, 1..40u32).prop_map(|(key, value, ms)| format!("SET {key} {value} PX {ms}")),
        3 => key().prop_map(|key| format!("INCR {key}")),
        2 => key().prop_map(|key| format!("DEL {key}")),
        2 => (key(), 1..40u32).prop_map(|(key, ms)| format!("PEXPIRE {key} {ms}")),
        1 => key().prop_map(|key| format!("PERSIST {key}")),
        1 => (key(), key()).prop_map(|(a, b)| format!("RENAME {a} {b}")),
        1 => (key(), 0..9).prop_map(|(key, value)| format!("APPEND {key} {value}")),
        3 => prop::sample::select(vec!["DELPREFIX pre:", "DELPREFIX pre:1", "DELPREFIX \u{10FFFF}", "FLUSHALL", "FLUSHDB"])
            .prop_map(str::to_owned),
        // More keys than are removed one by one.
        2 => prop::sample::select(vec!["", "pre:", "pre:1", "\u{10FFFF}"]).prop_map(|prefix| {
            (0..150).fold("MSET".to_owned(), |words, number| format!("{words} {prefix}{number} {number}"))
        }),
        2 => (1..4u32).prop_map(|keys| format!("talon.purge 18446744073709 {keys}")),
        2 => key().prop_map(|key| format!("GET {key}")),
        1 => Just("RANDOMKEY".to_owned()),
        1 => Just("KEYS *".to_owned()),
        1 => Just("DBSIZE".to_owned()),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        5 => command().prop_map(|words| one(&words)),
        1 => prop::collection::vec(command(), 0..4)
            .prop_map(|all| Call::Transaction(all.iter().map(|words| request(words)).collect())),
    ]
}

fn logged() -> impl Strategy<Value = Logged> {
    prop_oneof![
        1 => Just(Logged::Blank),
        1 => any::<u8>().prop_map(Logged::Membership),
        10 => (0..15u64, prop::collection::vec(call(), 0..5))
            .prop_map(|(after_ms, calls)| Logged::Calls { after_ms, calls }),
    ]
}

/// The log's entries from `from` on, with the stamps they were given when they were proposed.
fn entries(log: &[Logged], from: u64, want_replies: bool) -> Vec<Entry<'_>> {
    let mut stamp_ms = START_MS;
    let mut entries = Vec::new();
    for (logged, index) in log.iter().zip(1..) {
        let content = match logged {
            Logged::Blank => Content::Blank,
            Logged::Membership(voters) => Content::Membership(vec![*voters]),
            Logged::Calls { after_ms, calls } => {
                stamp_ms += after_ms;
                Content::Calls { stamp_ms, seed: index, calls }
            }
        };
        entries.push(Entry { index, position: format!("term 1, {index}").into_bytes(), content, want_replies });
    }
    entries.split_off(from as usize - 1)
}

fn hash(machine: &Machine) -> StateHash {
    state_hash(&machine.view().unwrap()).unwrap()
}

fn rocks(folder: &std::path::Path) -> Arc<dyn Engine> {
    Arc::new(RocksEngine::open(folder, &RocksSettings::default()).unwrap())
}

/// Each entry by itself, with replies: what all others are measured by.
fn reference(log: &[Logged]) -> (Vec<Vec<Reply>>, StateHash) {
    let machine = Machine::open(Arc::new(MemoryEngine::new())).unwrap();
    let mut replies = Vec::new();
    for entry in entries(log, 1, true) {
        let clock_ms = machine.applied().clock_ms;
        replies.extend(machine.apply(&[entry]).unwrap());
        let view = machine.view().unwrap();
        assert!(view.clock_ms() >= clock_ms, "T never goes back");
        check_index(&view);
    }
    (replies, hash(&machine))
}

/// The expiry index has exactly the rows of the records that have an expiry, and its first row is the one the view knows of.
fn check_index(view: &talon::ReadView) {
    use talon_core::Source;
    let mut expected: Vec<(u64, Bytes)> = view
        .rows(b"", None)
        .map(|row| row.unwrap())
        .filter(|(_, record)| record.expire_at_ms != 0)
        .map(|(key, record)| (record.expire_at_ms, key))
        .collect();
    expected.sort();
    let rows: Vec<_> = view.expiries(0).map(|row| row.unwrap()).collect();
    assert_eq!(rows, expected);
    assert_eq!(view.first_expiry_ms(), expected.first().map(|(expire_at_ms, _)| *expire_at_ms));
    let next = expected.iter().map(|(expire_at_ms, _)| *expire_at_ms).find(|expiry| *expiry > view.clock_ms());
    assert_eq!(view.next_expiry_ms().unwrap(), next);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_state_does_not_depend_on_lumps_or_lost_power(
        log in prop::collection::vec(logged(), 1..30),
        lumps in prop::collection::vec((1..8usize, any::<bool>(), prop::option::of(any::<u64>()), any::<bool>()), 1..60),
    ) {
        let (expected_replies, expected_hash) = reference(&log);
        let mut engine = MemoryEngine::new();
        let mut machine = Machine::open(Arc::new(engine.clone())).unwrap();
        // Bounded: where each lump is lost again with the power, the log never ends.
        for (size, want_replies, crash, flush) in lumps.iter().cycle().take(1000) {
            let applied = machine.applied().index;
            if applied == log.len() as u64 {
                break;
            }
            let all = entries(&log, applied + 1, *want_replies);
            let lump = &all[..(*size).min(all.len())];
            let replies = machine.apply(lump).unwrap();
            prop_assert_eq!(replies.len(), lump.len());
            check_index(&machine.view().unwrap());
            if *want_replies {
                prop_assert_eq!(&replies[..], &expected_replies[applied as usize..applied as usize + lump.len()]);
            }
            if *flush {
                let durable = machine.flush().unwrap();
                prop_assert_eq!(durable, machine.applied());
            }
            // Not with every lump, or a long log never ends.
            if let Some(seed) = crash.filter(|seed| seed % 4 == 0) {
                engine = engine.crash(Crash { seed, atomic_flush: true });
                machine = Machine::open(Arc::new(engine.clone())).unwrap();
                check_index(&machine.view().unwrap());
            }
        }
        if machine.applied().index == log.len() as u64 {
            prop_assert_eq!(hash(&machine), expected_hash);
        }
    }
}

proptest! {
    // Each case opens real files.
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn both_engines_come_to_the_same_state(
        log in prop::collection::vec(logged(), 1..30),
        size in 1..10usize,
    ) {
        let (_, expected_hash) = reference(&log);
        let folder = tempfile::tempdir().unwrap();
        let mut machine = Machine::open(rocks(&folder.path().join("data"))).unwrap();
        let half = log.len() / 2;
        for lump in entries(&log, 1, false)[..half].chunks(size) {
            machine.apply(lump).unwrap();
        }
        if half > 0 {
            // A node that receives a checkpoint goes on from there.
            let checkpoint = folder.path().join("checkpoint");
            let state = machine.checkpoint(&checkpoint).unwrap();
            prop_assert_eq!(&state, &machine.applied());
            prop_assert_eq!(&Machine::read_checkpoint(&checkpoint).unwrap(), &state);
            machine = Machine::open(rocks(&checkpoint)).unwrap();
            prop_assert_eq!(machine.applied(), state);
        }
        for lump in entries(&log, half as u64 + 1, false).chunks(size) {
            machine.apply(lump).unwrap();
        }
        check_index(&machine.view().unwrap());
        prop_assert_eq!(hash(&machine), expected_hash.clone());
        drop(machine);
        let reopened = Machine::open(rocks(&folder.path().join(if half > 0 { "checkpoint" } else { "data" }))).unwrap();
        prop_assert_eq!(hash(&reopened), expected_hash);
    }
}

fn apply(machine: &Machine, stamp_ms: u64, calls: &[Call]) -> Vec<Reply> {
    let index = machine.applied().index + 1;
    let content = Content::Calls { stamp_ms, seed: 0, calls };
    machine.apply(&[Entry { index, position: vec![1], content, want_replies: true }]).unwrap().remove(0)
}

#[test]
fn read_points_are_answered_in_their_place_and_leave_no_trace() {
    let leader = Machine::open(Arc::new(MemoryEngine::new())).unwrap();
    let follower = Machine::open(Arc::new(MemoryEngine::new())).unwrap();
    let calls = [one("GET k"), one("SET k 1"), one("GET k"), one("RANDOMKEY"), one("INCR k"), one("GET k")];
    let replies = apply(&leader, 5, &calls);
    assert_eq!(
        replies,
        [Reply::Null, Reply::Ok, Reply::bulk("1"), Reply::bulk("k"), Reply::Integer(2), Reply::bulk("2")]
    );
    let writes: Vec<Call> = calls.iter().filter(|call| call.is_write()).cloned().collect();
    apply(&follower, 5, &writes);
    assert_eq!(hash(&leader), hash(&follower));
}

/// A value of 16 MB, made by a few bytes.
pub fn grow(key: &str) -> Request {
    request(&format!("SETBIT {key} {} 1", VALUE_BYTES_MAX * 8 - 1))
}

/// Refused as a whole.
pub fn grow_too_many() -> Call {
    let count = TRANSACTION_WRITES_MAX as usize / VALUE_BYTES_MAX;
    Call::Transaction((0..count).map(|number| grow(&format!("many:{number}"))).collect())
}

#[test]
fn what_writes_much_ends_at_the_same_call_on_every_node() {
    let several = |keys: &[&str]| keys.iter().map(|key| Call::One(grow(key))).collect::<Vec<_>>();
    let calls = [
        vec![one("SET n 1"), one("INCR n")],
        several(&["a", "b", "c", "d", "e", "f"]),
        vec![one("INCR n"), grow_too_many(), one("GET n"), one("INCR n"), grow_too_many()],
        [vec![grow_too_many()], several(&["g"])].concat(),
        [several(&["h", "i"]), vec![one("DELPREFIX h"), one("INCR n")]].concat(),
    ];
    let number = Reply::Integer;
    let refused = || Reply::Error(TRANSACTION_TOO_LARGE);
    let expected = [
        vec![Reply::Ok, number(2)],
        vec![number(0); 4],
        vec![number(3), refused(), Reply::bulk("3")],
        vec![refused()],
        vec![number(0), number(0), number(1), number(4)],
    ];
    let entries = |want_replies| -> Vec<Entry<'_>> {
        let entry = |(calls, index)| {
            let content = Content::Calls { stamp_ms: START_MS, seed: index, calls };
            Entry { index, position: vec![index as u8], content, want_replies }
        };
        calls.iter().map(Vec::as_slice).zip(1..).map(entry).collect()
    };
    let [lumped, apart, follower] = [(); 3].map(|()| Machine::open(Arc::new(MemoryEngine::new())).unwrap());
    assert!(lumped.apply(&entries(true)).unwrap() == expected);
    for (entry, replies) in entries(true).into_iter().zip(expected) {
        assert!(apart.apply(&[entry]).unwrap() == [replies]);
    }
    // It has no reads among its calls.
    let writes: Vec<Vec<Call>> =
        calls.iter().map(|calls| calls.iter().filter(|call| call.is_write()).cloned().collect()).collect();
    let mut without_reads = entries(false);
    for (entry, calls) in without_reads.iter_mut().zip(&writes) {
        entry.content = Content::Calls { stamp_ms: START_MS, seed: entry.index, calls };
    }
    follower.apply(&without_reads).unwrap();
    assert_eq!((hash(&apart), hash(&follower)), (hash(&lumped), hash(&lumped)));
    assert_eq!(PointInTime::read(&*lumped.view().unwrap(), &request("KEYS *")), {
        Ok(Reply::Array(["a", "b", "c", "d", "i", "n"].map(Reply::bulk).to_vec()))
    });
}

#[test]
fn a_deleted_range_takes_the_highest_keys_too_and_spares_what_is_written_after_it() {
    let folder = tempfile::tempdir().unwrap();
    for engine in [Arc::new(MemoryEngine::new()) as Arc<dyn Engine>, rocks(folder.path())] {
        let machine = Machine::open(engine).unwrap();
        let set = |key: &[u8], expiry: &str| {
            let mut words: Vec<Bytes> = vec![key.to_vec().into(), "v".into()];
            words.extend(expiry.split_whitespace().map(|word| Bytes::copy_from_slice(word.as_bytes())));
            Call::One(Request::parse(b"SET", words).unwrap())
        };
        let mut calls: Vec<Call> = (0..200).map(|number| one(&format!("SET k{number} v PX {}", 10 + number))).collect();
        calls.extend([1, 2, 100, talon_core::limits::KEY_BYTES_MAX].map(|length| set(&vec![0xFF; length], "PX 5000")));
        calls.push(set(b"", ""));
        apply(&machine, 100, &calls);
        assert_eq!(machine.view().unwrap().first_expiry_ms(), Some(110));
        let before = machine.view().unwrap();
        let replies = apply(
            &machine,
            101,
            &[
                one("GET k1"),
                one("FLUSHALL"),
                one("GET k1"),
                one("SET k1 w PX 10"), // The expiry that it had.
                set(&[0xFF; 2], "PX 77"),
                one("DBSIZE"),
            ],
        );
        assert_eq!(replies[2..], [Reply::Null, Reply::Ok, Reply::Ok, Reply::Integer(2)]);
        let view = machine.view().unwrap();
        check_index(&view);
        assert_eq!(view.first_expiry_ms(), Some(111));
        let count = |view: &talon::ReadView| PointInTime::read(view, &request("DBSIZE"));
        assert_eq!((count(&view), count(&before)), (Ok(Reply::Integer(2)), Ok(Reply::Integer(205))));
        apply(&machine, 102, &[one("FLUSHALL")]);
        assert_eq!(machine.view().unwrap().first_expiry_ms(), None);
    }
}

#[test]
fn entries_must_follow_on_each_other() {
    let machine = Machine::open(Arc::new(MemoryEngine::new())).unwrap();
    let blank = |index| Entry { index, position: vec![index as u8], content: Content::Blank, want_replies: false };
    assert!(machine.applied().is_nothing());
    // A log may begin at 0.
    machine.apply(&[blank(0), blank(1)]).unwrap();
    assert_eq!(machine.apply(&[]).unwrap().len(), 0);
    let fault = machine.apply(&[blank(3)]).unwrap_err();
    assert!(fault.0.contains("entry 3 cannot follow on entry 1"), "{fault}");
    assert!(machine.apply(&[blank(2)]).is_err(), "after a fault nothing is applied any more");
    assert_eq!(machine.applied().index, 1);
}

#[test]
fn after_a_power_cut_applying_is_a_fault() {
    let engine = MemoryEngine::new();
    let machine = Machine::open(Arc::new(engine.clone())).unwrap();
    apply(&machine, 1, &[one("SET k 1")]);
    let view = machine.view().unwrap();
    engine.crash(Crash { seed: 0, atomic_flush: true });
    let calls = [one("SET k 2")];
    let content = Content::Calls { stamp_ms: 2, seed: 0, calls: &calls };
    assert!(machine.apply(&[Entry { index: 2, position: vec![2], content, want_replies: true }]).is_err());
    assert_eq!(machine.applied().index, 1);
    assert_eq!(PointInTime::read(&*view, &request("GET k")), Ok(Reply::bulk("1")), "old views stay");
}

#[test]
fn views_are_shared_until_the_next_commit_and_fixed_for_ever() {
    let machine = Machine::open(Arc::new(MemoryEngine::new())).unwrap();
    apply(&machine, 100, &[one("SET k 1 PX 50")]);
    let first = machine.view().unwrap();
    assert!(Arc::ptr_eq(&first, &machine.view().unwrap()));
    apply(&machine, 150, &[one("SET l 1")]);
    let second = machine.view().unwrap();
    assert_eq!((first.index(), first.clock_ms()), (1, 100));
    assert_eq!((second.index(), second.clock_ms(), second.position()), (2, 150, &[1][..]));
    let get = [one("GET k"), one("GET l")];
    let read = |view: &talon::ReadView, leader_ms| view.read(&get, leader_ms, 0).unwrap();
    assert_eq!(read(&first, 0), ReadOutcome::Replies(vec![Reply::bulk("1"), Reply::Null]));
    assert_eq!(read(&first, 149), ReadOutcome::Replies(vec![Reply::bulk("1"), Reply::Null]));
    assert_eq!(read(&first, 150), ReadOutcome::NeedsTick(150), "it ends now, and everyone must see that");
    assert_eq!(read(&second, 0), ReadOutcome::Replies(vec![Reply::Null, Reply::bulk("1")]));
    let refused = second.read(&[one("SET m 1")], 0, 0).unwrap();
    assert!(matches!(refused, ReadOutcome::Replies(replies) if matches!(replies[..], [Reply::Error(_)])));
}

#[test]
fn the_hash_covers_all_that_is_replicated() {
    let base = || {
        let machine = Machine::open(Arc::new(MemoryEngine::new())).unwrap();
        apply(&machine, 100, &[one("SET k 1 PX 50"), one("SET l 1")]);
        machine
    };
    let digest = |machine: &Machine| hash(machine).digest;
    assert_eq!(digest(&base()), digest(&base()));
    let entry = |content, position: u8| Entry { index: 2, position: vec![position], content, want_replies: false };
    let persist = [one("PERSIST k")];
    let mut digests = vec![digest(&base())];
    for entry in [
        entry(Content::Blank, 2),
        entry(Content::Blank, 3),
        entry(Content::Membership(vec![1]), 2),
        entry(Content::Calls { stamp_ms: 101, seed: 0, calls: &[] }, 2),
        entry(Content::Calls { stamp_ms: 100, seed: 0, calls: &persist }, 2),
    ] {
        let machine = base();
        machine.apply(&[entry]).unwrap();
        assert_eq!(hash(&machine).rows, 2);
        digests.push(digest(&machine));
    }
    let count = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), count, "each differs from every other");
}

#[test]
fn a_checkpoint_holds_its_own_position_whatever_is_applied_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let machine = Arc::new(Machine::open(rocks(&folder.path().join("data"))).unwrap());
    let membership = Content::Membership(b"three voters".to_vec());
    machine.apply(&[Entry { index: 1, position: vec![1], content: membership, want_replies: false }]).unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (machine, stop) = (machine.clone(), stop.clone());
        move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let stamp_ms = machine.applied().index;
                apply(&machine, stamp_ms, &[one("INCR counter"), one("SET k v PX 10000000")]);
            }
        }
    });
    for round in 0..5 {
        let before = machine.applied();
        let target = folder.path().join(format!("checkpoint {round}"));
        let state: AppliedState = machine.checkpoint(&target).unwrap();
        assert!(state.index >= before.index);
        assert_eq!(state.membership, b"three voters");
        let copy = Machine::open(rocks(&target)).unwrap();
        assert_eq!(copy.applied(), state);
        check_index(&copy.view().unwrap());
        let counter = copy.view().unwrap().read(&[one("GET counter")], 0, 0).unwrap();
        let expected = if state.index == 1 { Reply::Null } else { Reply::Bulk((state.index - 1).to_string().into()) };
        assert_eq!(counter, ReadOutcome::Replies(vec![expected]), "data and position are of one moment");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    assert!(matches!(Machine::read_checkpoint(folder.path()), Err(OpenError::Storage(_))));
}

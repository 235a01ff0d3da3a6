//! Reads beside the replicated clock, and the bounds of what one command touches.

use std::cell::Cell;

use bytes::Bytes;
use talon_core::error::Fault;
use talon_core::limits::{KEY_BYTES_MAX, REPLY_BYTES_MAX, SCAN_BYTES_MAX, SCAN_KEYS_MAX, VALUE_BYTES_MAX};
use talon_core::request::execute;
use talon_core::script::{MemorySource, render, split_words};
use talon_core::transaction::{ExpiryRows, NoteRows, Rows, Source, Transaction};
use talon_core::{Call, Record, Reply, Request, commands};

const NOW_MS: u64 = 1_000_000;

fn send(transaction: &mut Transaction<'_>, words: Vec<Bytes>) -> Reply {
    let row = commands::all().find(|row| row.facts.name.as_bytes().eq_ignore_ascii_case(&words[0])).expect("a row");
    Request::new(row, words[1..].to_vec()).execute(transaction).expect("memory has no faults")
}

fn say(transaction: &mut Transaction<'_>, line: &str) -> String {
    render(&send(transaction, split_words(line).expect("good quotes")))
}

fn filled(lines: &[&str]) -> MemorySource {
    let mut source = MemorySource::default();
    source.transact(NOW_MS, |transaction| {
        for line in lines {
            say(transaction, line);
        }
    });
    source
}

#[test]
fn a_read_that_meets_a_due_key_wants_a_tick() {
    let source = filled(&["SET a 1 PX 100", "SET b 2 PX 5000", "SET c 3"]);
    for (line, wanted_ms) in [
        ("GET a", NOW_MS + 100),
        ("EXISTS a c", NOW_MS + 100),
        ("GET b", 0),
        ("GET c", 0),
        ("KEYS *", NOW_MS + 200),
        ("DBSIZE", NOW_MS + 200),
        ("SCAN 0", NOW_MS + 200),
        ("RANDOMKEY", NOW_MS + 200),
        ("COUNTPREFIX b", NOW_MS + 200),
    ] {
        let mut read = Transaction::for_read(&source, NOW_MS, NOW_MS + 200, 1);
        say(&mut read, line);
        assert_eq!(read.tick_wanted_ms(), wanted_ms, "{line}");
        // On a follower, or after the tick, nobody has to wait.
        for (clock_ms, reader_ms) in [(NOW_MS, 0), (NOW_MS + 200, NOW_MS + 200)] {
            let mut read = Transaction::for_read(&source, clock_ms, reader_ms, 1);
            say(&mut read, line);
            assert_eq!(read.tick_wanted_ms(), 0, "{line}");
        }
    }
}

#[test]
fn a_ttl_counts_from_the_reader_s_clock() {
    let source = filled(&["SET a 1 PX 10000"]);
    let mut read = Transaction::for_read(&source, NOW_MS, NOW_MS + 2501, 1);
    assert_eq!(say(&mut read, "PTTL a"), "(integer) 7499");
    assert_eq!(say(&mut read, "TTL a"), "(integer) 7");
    let mut read = Transaction::for_read(&source, NOW_MS, NOW_MS + 2500, 1);
    assert_eq!(say(&mut read, "TTL a"), "(integer) 8");
    let mut read = Transaction::for_read(&source, NOW_MS, 0, 1);
    assert_eq!(say(&mut read, "PTTL a"), "(integer) 10000");
}

#[test]
fn a_clock_that_only_counts_what_is_left_ends_nothing() {
    let source = filled(&["SET a 1 PX 100", "SET b 2 PX 5000"]);
    let mut read = Transaction::for_read(&source, NOW_MS, 0, 1).with_left_from(NOW_MS + 200);
    for (line, answer) in [("PTTL b", "(integer) 4800"), ("PTTL a", "(integer) 0"), ("EXISTS a b", "(integer) 2")] {
        assert_eq!(say(&mut read, line), answer, "{line}");
    }
    assert_eq!(read.tick_wanted_ms(), 0);
    let mut read = Transaction::for_read(&source, NOW_MS, NOW_MS + 50, 1).with_left_from(NOW_MS);
    assert_eq!(say(&mut read, "PTTL a"), "(integer) 50", "it is no earlier clock either");
}

/// Counts how often something is looked up or a walk is begun, and the rows that walks go over.
struct Counting {
    below: MemorySource,
    looks: Cell<usize>,
    rows: Cell<usize>,
}

impl Source for Counting {
    fn get(&self, key: &[u8]) -> Result<Option<Record>, Fault> {
        self.looks.set(self.looks.get() + 1);
        self.below.get(key)
    }

    fn rows(&self, from: &[u8], until: Option<&[u8]>) -> Rows<'_> {
        self.looks.set(self.looks.get() + 1);
        Box::new(self.below.rows(from, until).inspect(|_| self.rows.set(self.rows.get() + 1)))
    }

    fn expiries(&self, after_ms: u64) -> ExpiryRows<'_> {
        self.below.expiries(after_ms)
    }

    fn may_have_expiries(&self) -> bool {
        self.below.may_have_expiries()
    }

    fn disk_bytes(&self, prefix: &[u8]) -> Result<u64, Fault> {
        self.below.disk_bytes(prefix)
    }

    fn position(&self) -> u64 {
        self.below.position()
    }

    fn note(&self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.below.note(key)
    }

    fn notes(&self, from: &[u8], until: &[u8]) -> NoteRows<'_> {
        self.below.notes(from, until)
    }
}

fn random_key(source: &dyn Source, seed: u64) -> Reply {
    let mut read = Transaction::for_read(source, NOW_MS, 0, seed);
    send(&mut read, vec![Bytes::from_static(b"RANDOMKEY")])
}

#[test]
fn randomkey_looks_at_few_keys_and_reaches_all() {
    let mut source = MemorySource::default();
    let record = |expire_at_ms| Record { value: Bytes::from_static(b"v"), expire_at_ms };
    // One key is the beginning of all others; some have ended; one stands far off.
    source.data.insert(Bytes::from_static(b"key:"), record(0));
    source.data.insert(Bytes::from_static(b"zzz"), record(0));
    for number in 0..200 {
        source.data.insert(Bytes::from(format!("key:{number:012}")), record(0));
    }
    for number in 200..260 {
        source.data.insert(Bytes::from(format!("key:{number:012}")), record(NOW_MS));
    }
    let counting = Counting { below: source, looks: Cell::default(), rows: Cell::default() };
    let mut found = std::collections::BTreeSet::new();
    for seed in 0..12_000 {
        counting.looks.set(0);
        counting.rows.set(0);
        let Reply::Bulk(key) = random_key(&counting, seed) else { panic!("there are keys") };
        assert!(counting.looks.get() <= 100, "{} looks", counting.looks.get());
        // The ended keys are walked over, like those that RANDOMKEY has to look at.
        assert!(counting.rows.get() <= 60 * 20 + 400, "{} rows", counting.rows.get());
        assert_eq!(random_key(&counting, seed), Reply::Bulk(key.clone()), "the same seed, the same key");
        assert!(!counting.below.data[&key].expired_at(NOW_MS), "{key:?} has ended");
        found.insert(key);
    }
    assert_eq!(found.len(), 202, "every key is found sooner or later");
}

#[test]
fn randomkey_is_even_among_few() {
    let source = filled(&["MSET a 1 b 2 c 3 ddd 4"]);
    let mut counts = std::collections::BTreeMap::new();
    for seed in 0..4000 {
        *counts.entry(render(&random_key(&source, seed))).or_insert(0) += 1;
    }
    assert!(counts.len() == 4 && counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
    assert_eq!(random_key(&MemorySource::default(), 1), Reply::Null);
}

#[test]
fn the_largest_key_and_value_fit_and_one_byte_more_does_not() {
    let key = |bytes| Bytes::from(vec![b'k'; bytes]);
    let value = |bytes| Bytes::from(vec![b'v'; bytes]);
    let word = Bytes::from_static;
    let mut source = MemorySource::default();
    source.transact(NOW_MS, |transaction| {
        let mut set = |key: Bytes, value: Bytes| render(&send(transaction, vec![word(b"SET"), key, value]));
        assert_eq!(set(key(KEY_BYTES_MAX), value(VALUE_BYTES_MAX)), "OK");
        let refused = "(error) ERR key of 65537 bytes exceeds the limit of 65536 bytes";
        assert_eq!(set(key(KEY_BYTES_MAX + 1), value(1)), refused);
        let refused = "(error) ERR value of 16777217 bytes exceeds the limit of 16777216 bytes";
        assert_eq!(set(key(1), value(VALUE_BYTES_MAX + 1)), refused);
        let long = key(KEY_BYTES_MAX + 1);
        // Whoever writes several keys writes none if one cannot be.
        say(transaction, "SET a 1 PX 500");
        for words in [
            vec![word(b"MSET"), word(b"x"), word(b"1"), long.clone(), word(b"2")],
            vec![word(b"MSETNX"), word(b"x"), word(b"1"), long.clone(), word(b"2")],
            vec![word(b"RENAME"), word(b"a"), long.clone()],
            vec![word(b"RENAMENX"), word(b"a"), long.clone()],
            vec![word(b"COPY"), word(b"a"), long.clone()],
            vec![word(b"APPEND"), long.clone(), word(b"1")],
            vec![word(b"INCR"), long.clone()],
            vec![word(b"SETBIT"), long.clone(), word(b"1"), word(b"1")],
            vec![word(b"BITFIELD"), long.clone(), word(b"SET"), word(b"u8"), word(b"0"), word(b"1")],
            vec![word(b"BITFIELD"), word(b"b"), word(b"SET"), word(b"u8"), word(b"134217721"), word(b"1")],
            vec![word(b"BITOP"), word(b"NOT"), long.clone(), word(b"a")],
            vec![word(b"APPEND"), key(KEY_BYTES_MAX), word(b"1")],
        ] {
            let reply = send(transaction, words.clone());
            assert!(matches!(reply, Reply::Error(_)), "{:?}", words[0]);
        }
        assert_eq!(say(transaction, "EXISTS x a"), "(integer) 1");
        assert_eq!(say(transaction, "PTTL a"), "(integer) 500");
        assert_eq!(say(transaction, "DBSIZE"), "(integer) 2");
    });
}

#[test]
fn a_reply_of_many_values_is_bounded() {
    let mut source = MemorySource::default();
    let value = Bytes::from(vec![b'v'; VALUE_BYTES_MAX]);
    for number in 0..16 {
        source.data.insert(Bytes::from(format!("big:{number:02}")), Record { value: value.clone(), expire_at_ms: 0 });
    }
    let mut read = Transaction::for_read(&source, NOW_MS, 0, 1);
    let refused = "(error) ERR reply exceeds the limit of 268435456 bytes";
    let mget = |count| [vec![Bytes::from_static(b"MGET")], vec![Bytes::from_static(b"big:00"); count]].concat();
    assert!(matches!(send(&mut read, mget(15)), Reply::Array(values) if values.len() == 15));
    assert_eq!(render(&send(&mut read, mget(16))), refused);
    assert_eq!(say(&mut read, "SCANPREFIX big: 0 100"), refused);
    assert!(matches!(send(&mut read, split_words("SCANPREFIX big: 0 15").expect("words")), Reply::Array(_)));
    // A scan stops earlier, and goes on from there.
    for line in ["SCAN 0 COUNT 100 WITHVALUES", "talon.range big: \"\" 100 pairs"] {
        let reply = send(&mut read, split_words(line).expect("words"));
        let found = match &reply {
            Reply::Array(parts) => match parts.as_slice() {
                [Reply::Bulk(cursor), Reply::Array(found)] => {
                    assert_eq!(cursor, &Bytes::from_static(b"\x01big:00"));
                    found.len()
                }
                page => page.len(),
            },
            _ => panic!("{line}"),
        };
        assert_eq!(found, SCAN_BYTES_MAX / VALUE_BYTES_MAX + 1, "{line}");
    }
}

#[test]
fn a_scan_visits_no_more_than_its_bound() {
    let mut source = MemorySource::default();
    for number in 0..SCAN_KEYS_MAX + 5 {
        let record = Record { value: Bytes::new(), expire_at_ms: 0 };
        source.data.insert(Bytes::from(format!("{number:06}")), record);
    }
    let counting = Counting { below: source, looks: Cell::default(), rows: Cell::default() };
    for (count, visited) in [(10, 10), (SCAN_KEYS_MAX, SCAN_KEYS_MAX), (usize::MAX / 2, SCAN_KEYS_MAX)] {
        counting.rows.set(0);
        let mut read = Transaction::for_read(&counting, NOW_MS, 0, 1);
        let reply = say(&mut read, &format!("SCAN 0 COUNT {count} MATCH *x"));
        assert_eq!(reply, format!("1) \"\\x01{:06}\"\n2) (empty array)", visited - 1));
        assert_eq!(counting.rows.get(), visited + 1);
        let mut read = Transaction::for_read(&counting, NOW_MS, 0, 1);
        let page = send(&mut read, split_words(&format!("talon.range \"\" \"\" {count} keys")).expect("words"));
        assert!(matches!(page, Reply::Array(page) if page.len() == visited));
    }
    // What a pattern rules out by its beginning is not walked over.
    counting.rows.set(0);
    let mut read = Transaction::for_read(&counting, NOW_MS, 0, 1);
    assert!(say(&mut read, "KEYS 00012?").starts_with(" 1) \"000120\""));
    assert_eq!(counting.rows.get(), 10);
}

#[test]
fn a_whole_scan_returns_every_key_once() {
    let mut source = MemorySource::default();
    for number in 0..137 {
        let record = Record { value: Bytes::new(), expire_at_ms: if number % 5 == 0 { NOW_MS } else { 0 } };
        source.data.insert(Bytes::from(format!("{number:03}")), record);
    }
    let mut read = Transaction::for_read(&source, NOW_MS, 0, 1);
    let (mut cursor, mut keys, mut calls) = (Bytes::from_static(b"0"), Vec::new(), 0);
    loop {
        let words = [&b"SCAN"[..], &cursor, b"COUNT", b"10"];
        let reply = send(&mut read, words.iter().map(|word| Bytes::copy_from_slice(word)).collect());
        let Reply::Array(parts) = reply else { panic!("{reply:?}") };
        let [Reply::Bulk(next), Reply::Array(found)] = parts.as_slice() else { panic!("{parts:?}") };
        keys.extend_from_slice(found);
        calls += 1;
        if next == "0" {
            break;
        }
        cursor = next.clone();
    }
    let live = (0..137).filter(|number| number % 5 != 0);
    assert_eq!(keys, live.map(|number| Reply::Bulk(Bytes::from(format!("{number:03}")))).collect::<Vec<_>>());
    assert_eq!(calls, 14);
}

#[test]
fn the_replies_of_a_transaction_are_bounded_and_its_writes_are_carried_out() {
    let mut source = filled(&["SET last 1"]);
    let large = Bytes::from(vec![b'v'; VALUE_BYTES_MAX]);
    let request = |line: &str| {
        let mut words = split_words(line).expect("good quotes").into_iter();
        let name = words.next().expect("a name");
        Request::parse(&name, words.collect()).expect("a command")
    };
    let fit = REPLY_BYTES_MAX / VALUE_BYTES_MAX;
    let mut requests = vec![Request::parse(b"SET", vec![Bytes::from("large"), large]).expect("a command")];
    requests.extend((0..fit + 2).map(|_| request("GET large")));
    requests.extend(["SET new 1", "GETDEL last", "GET new"].map(request));
    let outcome = source.transact(NOW_MS, |transaction| execute(transaction, &Call::Transaction(requests)));
    let Reply::Array(replies) = outcome.expect("memory has no faults") else { panic!("an array") };
    let (reads, behind) = replies[1..].split_at(fit + 2);
    let given = reads.iter().filter(|reply| matches!(reply, Reply::Bulk(bytes) if bytes.len() == VALUE_BYTES_MAX));
    assert_eq!(given.count(), fit);
    let is_refused =
        |reply: &Reply| matches!(reply, Reply::Error(refusal) if refusal.line().starts_with("ERR reply exceeds"));
    assert!(reads[fit..].iter().all(is_refused) && is_refused(&behind[2]));
    assert_eq!(behind[..2], [Reply::Ok, Reply::bulk("1")]);
    source.transact(NOW_MS, |transaction| {
        assert_eq!(say(transaction, "MGET new last"), "1) \"1\"\n2) (nil)");
    });
}

//! What makes nodes equal: the same entries leave the same data, the same expiry index and the same replies, however
//! many of them a node happens to apply in one transaction.

use bytes::Bytes;
use proptest::prelude::*;
use talon_core::script::MemorySource;
use talon_core::transaction::{SINGLE_DELETES_MAX, Transaction};
use talon_core::{Change, Command, Record, Reply, Request, commands};

/// Where the clock starts, Unix ms.
const START_MS: u64 = 1_000_000;

/// More than are removed one by one, but not so with each first digit.
const FILL_KEYS: usize = 200;

/// Commands with places for a key `k`, another key `j`, a value `v`, a number `n` and a short time `t`.
const FORMS: &[&str] = &[
    "SET k v",
    "SET k v PX t",
    "SET k v PX t",
    "SET k v NX PX t",
    "SET k v XX KEEPTTL",
    "SET k v GET KEEPTTL",
    "SET k v PXAT n",
    "GET k",
    "DEL k j",
    "UNLINK k",
    "MSET k v j n",
    "MGET k j k",
    "SETNX k v",
    "GETSET k v",
    "APPEND k v",
    "STRLEN k",
    "GETRANGE k n 3",
    "SETRANGE k 4 v",
    "INCR k",
    "INCRBY k n",
    "DECRBY k n",
    "INCRBYFLOAT k n",
    "EXISTS k j",
    "EXPIRE k n",
    "PEXPIRE k t",
    "PEXPIRE k t NX",
    "PEXPIRE k t GT",
    "PEXPIRE k t LT",
    "PEXPIREAT k n",
    "TTL k",
    "PTTL k",
    "PEXPIRETIME k",
    "PERSIST k",
    "RENAME k j",
    "RENAMENX k j",
    "TYPE k",
    "RANDOMKEY",
    "KEYS *",
    "KEYS k[1-3]*",
    "DBSIZE",
    "PSETEX k t v",
    "GETEX k",
    "GETEX k PX t",
    "GETEX k PERSIST",
    "GETEX k PXAT n",
    "GETDEL k",
    "MSETNX k v j v",
    "COPY k j",
    "COPY k j REPLACE",
    "SCAN 0 COUNT 7",
    "SCAN 0 MATCH k1* WITHVALUES",
    "LCS k j",
    "SET k v IFNE v",
    "SET k v IFEQ v KEEPTTL",
    "DELEX k IFEQ v",
    "DELEX k IFNE v",
    "DELEX k",
    "ONCE s 1 INCR n",
    "ONCE s 2 INCR n",
    "ONCE other 1 SET k v",
    "SETBIT k 19 1",
    "SETBIT k 6 0",
    "GETBIT k 7",
    "BITCOUNT k 0 n",
    "BITPOS k 0",
    "BITOP AND k j k",
    "BITOP XOR k k j",
    "BITOP NOT j k",
    "BITFIELD k INCRBY i7 3 n GET u8 20",
    "BITFIELD k OVERFLOW FAIL SET u3 50 n INCRBY u2 #2 3",
    "BITFIELD k GET u8 0",
    "BITFIELD_RO k GET i64 1",
    "MOVE k 0",
    "SWAPDB 0 0",
    "OBJECT ENCODING k",
    "MEMORY USAGE k",
    "DELPREFIX k",
    "DELPREFIX j",
    "DELPREFIX k LIMIT 1",
    "DELPREFIX k LIMIT 5",
    "COUNTPREFIX k",
    "KEYSPREFIX k 1 3",
    "SCANPREFIX j 0 4",
    "FLUSHALL",
    "talon.purge 9999999999999 3",
    "talon.purge 1000500 2",
    "talon.range k j 3 pairs",
    "talon.mark",
];

/// Those that remove many keys at once, and those that write into the gap: `fill` writes more keys than are removed one by one.
const RANGE_FORMS: &[&str] = &[
    "fill k v",
    "fill k v",
    "fill j v",
    "fill x v",
    "SET k v",
    "SET k v PX t",
    "SET k v PX t",
    "MSET k v j n",
    "APPEND k v",
    "GET k",
    "MGET k j",
    "DEL k",
    "PEXPIRE k t",
    "PEXPIRE k t",
    "PERSIST k",
    "RENAME k j",
    "SETNX k v",
    "DELPREFIX k",
    "DELPREFIX k1",
    "DELPREFIX k2",
    "DELPREFIX k LIMIT 3",
    "DELPREFIX k LIMIT 150",
    "DELPREFIX x LIMIT 199",
    "SETBIT k 3 1",
    "BITOP OR k j x1",
    "DELPREFIX x",
    "FLUSHALL",
    "FLUSHALL",
    "FLUSHDB",
    "KEYS *",
    "RANDOMKEY",
    "DBSIZE",
    "SCANPREFIX k 0 30",
    "COUNTPREFIX k1",
    "talon.purge 9999999999999 2",
    "talon.purge 9999999999999 30",
];

/// Those that write, remove and end keys.
const EXPIRY_FORMS: &[&str] = &[
    "SET k v PX t",
    "SET k v PX t",
    "SET k v",
    "PEXPIRE k t",
    "PERSIST k",
    "RENAME k j",
    "GETDEL k",
    "DELPREFIX k",
    "DELPREFIX k LIMIT 2",
    "BITOP OR k j",
    "BITFIELD k SET u8 0 97",
    "DELEX k IFNE v",
    "FLUSHALL",
    "DBSIZE",
    "talon.purge 9999999999999 2",
    "talon.purge 9999999999999 10",
];

#[derive(Clone, Debug)]
struct Entry {
    /// How far its stamp is ahead of the clock; 0: it is behind.
    ahead_ms: u64,
    seed: u64,
    words: Vec<Bytes>,
    /// Whether the next entry begins a new transaction in the lumped run.
    ends_transaction: bool,
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (0u8..40).prop_map(|number| format!("k{number}")),
        4 => (0u8..4).prop_map(|number| format!("k{number}")),
        1 => Just("k".to_owned()),
        1 => Just(String::new()),
        1 => Just("j\u{7f}".to_owned()),
    ]
}

fn entry(forms: &'static [&'static str]) -> impl Strategy<Value = Entry> {
    let value = prop_oneof![Just("12".to_owned()), Just("abc".to_owned()), Just(String::new()), "[a-c]{0,4}"];
    let number =
        prop_oneof![Just("0".to_owned()), Just("-3".to_owned()), (1_000_000u64..1_002_000).prop_map(|n| n.to_string())];
    let time = (1u64..300).prop_map(|time| time.to_string());
    let ahead = 0u64..60;
    let words = (prop::sample::select(forms), key(), key(), value, number, time);
    (words, ahead, any::<u64>(), prop::bool::weighted(0.3)).prop_map(
        |((form, k, j, v, n, t), ahead_ms, seed, ends_transaction)| {
            let word = |word: &str| match word {
                "k" => k.clone(),
                "j" => j.clone(),
                "v" => v.clone(),
                "n" => n.clone(),
                "t" => t.clone(),
                other => other.to_owned(),
            };
            let mut words: Vec<Bytes> = form.split(' ').map(|text| Bytes::from(word(text))).collect();
            if *words[0] == *b"fill" {
                let (prefix, value) = (form.split(' ').nth(1).unwrap_or_default(), words[2].clone());
                let keys = (0..FILL_KEYS).map(|number| Bytes::from(format!("{prefix}{number}")));
                words = std::iter::once("MSET".into()).chain(keys.flat_map(|key| [key, value.clone()])).collect();
            }
            Entry { ahead_ms, seed, words, ends_transaction }
        },
    )
}

fn request(words: &[Bytes]) -> Request {
    let is_it = |row: &&Command| row.facts.name.as_bytes().eq_ignore_ascii_case(&words[0]);
    let row = commands::all().find(is_it).or_else(|| commands::resolve(&words[0], &words[1..]).ok());
    Request::new(row.expect("the forms name rows"), words[1..].to_vec())
}

/// The reply, and what the entry counts for.
fn apply(transaction: &mut Transaction<'_>, entry: &Entry) -> (Reply, u64) {
    let stamp_ms = if entry.ahead_ms == 0 { 1 } else { transaction.clock_ms() + entry.ahead_ms };
    transaction.begin_entry(stamp_ms, entry.seed);
    let reply = request(&entry.words).execute(transaction).expect("memory has no faults");
    (reply, transaction.entry_bytes())
}

fn run(entries: &[Entry], lumped: bool) -> (MemorySource, u64, Vec<(Reply, u64)>) {
    let (mut source, mut clock_ms, mut replies) = (MemorySource::default(), START_MS, Vec::new());
    for lump in entries.chunk_by(|entry, _| lumped && !entry.ends_transaction) {
        clock_ms = source.transact(clock_ms, |transaction| {
            replies.extend(lump.iter().map(|entry| apply(transaction, entry)));
            transaction.clock_ms()
        });
        source.check().expect("a true expiry index");
    }
    (source, clock_ms, replies)
}

fn compare(entries: &[Entry]) -> Result<(), TestCaseError> {
    let (one, one_clock, one_replies) = run(entries, false);
    let (lumped, lumped_clock, lumped_replies) = run(entries, true);
    for ((entry, one), lumped) in entries.iter().zip(&one_replies).zip(&lumped_replies) {
        prop_assert_eq!(one, lumped, "{:?}", entry.words);
    }
    prop_assert_eq!(one_clock, lumped_clock);
    prop_assert_eq!(one, lumped);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn lumping_makes_no_difference(entries in prop::collection::vec(entry(FORMS), 1..120)) {
        compare(&entries)?;
    }

    #[test]
    fn lumping_makes_no_difference_to_what_ends(entries in prop::collection::vec(entry(EXPIRY_FORMS), 1..60)) {
        compare(&entries)?;
    }

    #[test]
    fn lumping_makes_no_difference_to_deleted_ranges(entries in prop::collection::vec(entry(RANGE_FORMS), 1..60)) {
        compare(&entries)?;
    }

    #[test]
    fn a_read_changes_nothing(entries in prop::collection::vec(entry(FORMS), 1..60)) {
        let (mut source, mut clock_ms) = (MemorySource::default(), START_MS);
        for entry in &entries {
            let before = source.clone();
            clock_ms = source.transact(clock_ms, |transaction| {
                apply(transaction, entry);
                transaction.clock_ms()
            });
            if !request(&entry.words).command.is_write() {
                prop_assert_eq!(&source, &before, "{:?}", entry.words);
            }
        }
    }
}

/// Many keys, of which every thousandth has an expiry.
fn many(prefix: &str, count: u64) -> MemorySource {
    let mut source = MemorySource::default();
    for number in 0..count {
        let key = Bytes::from(format!("{prefix}{number:07}"));
        let expire_at_ms = if number % 1000 == 0 { START_MS + number } else { 0 };
        if expire_at_ms != 0 {
            source.expiries.insert((expire_at_ms, key.clone()));
        }
        source.data.insert(key, Record { value: Bytes::from_static(b"v"), expire_at_ms });
    }
    source
}

fn changes(source: &MemorySource, lines: &[&str]) -> (Vec<Reply>, Vec<Change>) {
    let mut transaction = Transaction::new(source, START_MS);
    let execute = |line: &&str| {
        let words: Vec<Bytes> = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        request(&words).execute(&mut transaction).expect("memory has no faults")
    };
    let replies = lines.iter().map(execute).collect();
    let mut changes = Vec::new();
    transaction.into_changes(|change| changes.push(change));
    (replies, changes)
}

#[test]
fn however_many_keys_a_prefix_has_only_those_that_end_are_changes() {
    let mut source = many("p", 300_000);
    source.data.insert("o".into(), Record { value: "kept".into(), expire_at_ms: 0 });
    let (replies, changes) = changes(&source, &["DELPREFIX p", "SET p0000005 new", "DBSIZE"]);
    // The one that ended at the clock's start is gone already.
    assert_eq!(replies, [Reply::Integer(299_999), Reply::Ok, Reply::Integer(2)]);
    assert_eq!(changes.len(), 1 + 300 + 1);
    source.apply(changes);
    source.check().unwrap();
    assert_eq!((source.data.len(), source.expiries.len()), (2, 0));
}

#[test]
fn flushing_is_two_changes_however_many_keys_there_are() {
    let mut source = many("p", 300_000);
    let (replies, changes) = changes(&source, &["SET p0001000 v", "FLUSHALL", "SET p0002000 v PX 7", "DBSIZE"]);
    assert_eq!(replies[3], Reply::Integer(1));
    let range = Change::DeleteRange { from: Bytes::new(), until: None };
    assert_eq!(changes[..2], [range, Change::ClearExpiries]);
    assert_eq!(changes.len(), 4);
    source.apply(changes);
    source.check().unwrap();
    assert_eq!((source.data.len(), source.expiries.len()), (1, 1));
}

#[test]
fn a_few_keys_are_removed_one_by_one() {
    let source = many("p", SINGLE_DELETES_MAX as u64);
    let (_, few) = changes(&source, &["FLUSHALL"]);
    assert_eq!(few.iter().filter(|change| matches!(change, Change::Delete(_))).count(), SINGLE_DELETES_MAX);
    assert!(!few.iter().any(|change| matches!(change, Change::DeleteRange { .. })));
    let (_, none) = changes(&MemorySource::default(), &["FLUSHALL", "DELPREFIX p"]);
    assert_eq!(none, []);
}

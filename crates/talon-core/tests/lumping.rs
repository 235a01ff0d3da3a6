//! What makes nodes equal: the same entries leave the same data, the same expiry index and the same replies, however
//! many of them a node happens to apply in one transaction.

use bytes::Bytes;
use proptest::prelude::*;
use talon_core::script::MemorySource;
use talon_core::transaction::Transaction;
use talon_core::{Command, Reply, Request, commands};

/// Where the clock starts, Unix ms.
const START_MS: u64 = 1_000_000;

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
    "DELPREFIX k",
    "DELPREFIX j",
    "COUNTPREFIX k",
    "KEYSPREFIX k 1 3",
    "SCANPREFIX j 0 4",
    "FLUSHALL",
    "talon.purge 9999999999999 3",
    "talon.purge 1000500 2",
    "talon.range k j 3 pairs",
    "talon.mark",
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
            let words = form.split(' ').map(|text| Bytes::from(word(text))).collect();
            Entry { ahead_ms, seed, words, ends_transaction }
        },
    )
}

fn request(words: &[Bytes]) -> Request {
    let is_it = |row: &&Command| row.facts.name.as_bytes().eq_ignore_ascii_case(&words[0]);
    let row = commands::all().find(is_it).expect("the forms name rows");
    Request::new(row, words[1..].to_vec())
}

fn apply(transaction: &mut Transaction<'_>, entry: &Entry) -> Reply {
    let stamp_ms = if entry.ahead_ms == 0 { 1 } else { transaction.clock_ms() + entry.ahead_ms };
    transaction.begin_entry(stamp_ms, entry.seed);
    request(&entry.words).execute(transaction).expect("memory has no faults")
}

fn run(entries: &[Entry], lumped: bool) -> (MemorySource, u64, Vec<Reply>) {
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

//! Requests that are well formed and ask for an absurd amount of work or room.

use std::time::{Duration, Instant};

use talon_hostile_tests::{Victim, command};
use talon_tests_support::{Client, Value};

const MEGABYTE: u64 = 1024 * 1024;

fn call(client: &mut Client, words: &[&str]) -> Value {
    client.call(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn is_error(value: &Value) -> bool {
    matches!(value, Value::Error(_))
}

#[test]
fn patterns_that_could_be_tried_in_endless_ways_are_quick() {
    let victim = Victim::start();
    let mut client = victim.connect();
    let key = "a".repeat(60_000);
    call(&mut client, &["SET", &key, "1"]);
    let stars = "a*".repeat(30_000) + "b";
    let classes = "[a-z]*".repeat(5_000) + "b";
    let questions = "*?".repeat(20_000) + "b";
    let late = "*".to_owned() + &"a".repeat(30_000) + "b";
    let mut listener = victim.connect();
    let channels: Vec<String> = (0..64).map(|number| format!("{}{number}", "a".repeat(4_000))).collect();
    listener.call(&[vec!["SUBSCRIBE".to_owned()], channels].concat()).expect("answered");
    for pattern in [&stars, &classes, &questions, &late, &"*a*a*a*a*a*a*a*a*a*a*a*b".to_owned()] {
        let begun = Instant::now();
        assert_eq!(call(&mut client, &["KEYS", pattern]), Value::Array(vec![]), "{}", &pattern[..20]);
        call(&mut client, &["SCAN", "0", "MATCH", pattern, "COUNT", "10000"]);
        call(&mut client, &["CONFIG", "GET", pattern]);
        call(&mut client, &["COMMAND", "LIST", "FILTERBY", "PATTERN", pattern]);
        call(&mut client, &["PUBSUB", "CHANNELS", pattern]);
        assert!(begun.elapsed() < Duration::from_secs(20), "{}: {:?}", &pattern[..20], begun.elapsed());
        victim.is_well(&pattern[..20]);
    }
}

#[test]
fn a_subscription_to_a_bad_pattern_does_not_slow_publishers() {
    let victim = Victim::start();
    let mut honest = victim.connect();
    honest.call(&["PSUBSCRIBE", "aaa*"]).expect("answered");
    let mut hostile: Vec<_> = (0..3).map(|_| victim.connect()).collect();
    let middle = "*".to_owned() + &"a".repeat(2_000) + "b*";
    for (client, pattern) in hostile.iter_mut().zip(["a*".repeat(2_000) + "b", middle, "*?".repeat(2_000) + "b"]) {
        client.call(&["PSUBSCRIBE", &pattern]).expect("answered");
    }
    let mut many = vec!["PSUBSCRIBE".to_owned()];
    many.extend((0..1_000).map(|number| format!("*aab{number}")));
    let mut client = victim.connect();
    hostile[0].call(&many).expect("answered");
    let channel = "a".repeat(4_000);
    let begun = Instant::now();
    for _ in 0..20 {
        assert!(matches!(call(&mut client, &["PUBLISH", &channel, "x"]), Value::Integer(_)));
        let message = honest.receive_bytes().expect("a message");
        assert!(message.windows(8).any(|window| window == b"pmessage"));
    }
    let too_long = "a".repeat(4_097);
    assert!(matches!(call(&mut client, &["PUBLISH", &too_long, "x"]), Value::Error(_)));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    victim.is_well("a pattern of a subscriber");
}

#[test]
fn absurd_offsets_and_lengths_are_refused() {
    let mut victim = Victim::start();
    let before = victim.resident_bytes();
    let mut client = victim.connect();
    call(&mut client, &["SET", "a", "short"]);
    for words in [
        &["SETRANGE", "a", "9223372036854775807", "x"][..],
        &["SETRANGE", "a", "536870912", "x"],
        &["SETRANGE", "a", "16777216", "x"],
        &["SETRANGE", "a", "-1", "x"],
        &["SETRANGE", "a", "-9223372036854775808", "x"],
        &["SETRANGE", "a", "18446744073709551616", "x"],
        &["INCRBY", "a", "9223372036854775808"],
        &["SCAN", "18446744073709551616"],
        &["SCAN", "18446744073709551615"],
        &["SCAN", "0", "COUNT", "0"],
        &["SCAN", "0", "COUNT", "-1"],
        &["LCS", "a", "a", "MINMATCHLEN", "x"],
        &["SELECT", "1"],
        &["SELECT", "-9223372036854775808"],
        &["SCANPREFIX", "a", "-1", "1"],
        &["KEYSPREFIX", "a", "0", "-5"],
    ] {
        assert!(is_error(&call(&mut client, words)), "{words:?}");
    }
    for words in [
        &["GETRANGE", "a", "-9223372036854775808", "9223372036854775807"][..],
        &["GETRANGE", "a", "9223372036854775807", "-9223372036854775808"],
        &["SCAN", "0", "COUNT", "9223372036854775807"],
        &["SCANPREFIX", "a", "9223372036854775807", "9223372036854775807"],
        &["KEYSPREFIX", "a", "0", "9223372036854775807"],
        &["COUNTPREFIX", ""],
    ] {
        assert!(!is_error(&call(&mut client, words)), "{words:?}");
    }
    assert_eq!(call(&mut client, &["GET", "a"]), Value::Bulk("short".into()));
    victim.is_well("absurd offsets");
    assert!(victim.resident_bytes() < before + 64 * MEGABYTE);
}

#[test]
fn absurd_times_are_refused() {
    let victim = Victim::start();
    let mut client = victim.connect();
    call(&mut client, &["SET", "a", "1"]);
    for time in
        ["9223372036854775807", "-9223372036854775808", "9223372036854775808", "99999999999999999999", "1e3", ""]
    {
        for words in [
            &["EXPIRE", "a", time][..],
            &["SET", "a", "1", "EX", time],
            &["SETEX", "a", time, "1"],
            &["GETEX", "a", "EX", time],
            &["EXPIREAT", "a", time],
        ] {
            let answer = call(&mut client, words);
            assert!(is_error(&answer), "{words:?}: {answer:?}");
        }
    }
    assert!(is_error(&call(&mut client, &["WAIT", "1", "-1"])));
    assert!(is_error(&call(&mut client, &["WAIT", "1", "99999999999999999999"])));
    assert_eq!(call(&mut client, &["TTL", "a"]), Value::Integer(-1), "nothing has changed it");
    victim.is_well("absurd times");
}

#[test]
fn a_wait_without_an_end_holds_nobody_but_itself() {
    let victim = Victim::start();
    let mut waiting: Vec<Client> = (0..50).map(|_| victim.connect()).collect();
    for client in &mut waiting {
        client.send(&["WAIT", "1000000", "0"]).expect("sent");
    }
    victim.is_well("fifty that wait for ever");
    drop(waiting);
    victim.is_well("fifty that waited");
}

#[test]
fn replies_that_would_be_larger_than_may_be_are_refused() {
    let mut victim = Victim::start();
    let mut client = victim.connect();
    client.set_timeout(Duration::from_secs(60)).expect("a time");
    let value = "v".repeat(4 << 20);
    call(&mut client, &["SET", "large", &value]);
    let before = victim.resident_bytes();
    // Four gigabytes in one reply, and in a pipeline of them that nobody reads.
    let words: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain(std::iter::repeat_n(&b"large"[..], 1000)).collect();
    client.send_bytes(&command(&words)).expect("sent");
    let answer = client.receive_bytes().expect("answered");
    assert!(answer.starts_with(b"-ERR"), "{:?}", &answer[..answer.len().min(60)]);
    let mut silent = victim.connect();
    silent.send_bytes(&command(&[b"GET", b"large"]).repeat(1000)).expect("sent");
    victim.is_well("a thousand large replies");
    let grown = victim.resident_bytes().saturating_sub(before);
    assert!(grown < 1500 * MEGABYTE, "{grown} bytes more");
}

#[test]
fn a_transaction_that_reads_without_end_takes_bounded_room() {
    let mut victim = Victim::start();
    let mut client = victim.connect();
    client.set_timeout(Duration::from_secs(60)).expect("a time");
    let value = "v".repeat(4 << 20);
    call(&mut client, &["SET", "large", &value]);
    let before = victim.resident_bytes();
    // Eight gigabytes, in an entry of the log: whoever applies it meets it again.
    let mut bytes = [command(&[b"MULTI"]), command(&[b"SET", b"small", b"1"])].concat();
    bytes.extend(command(&[b"GET", b"large"]).repeat(2000));
    bytes.extend(command(&[b"EXEC"]));
    client.send_bytes(&bytes).expect("sent");
    for _ in 0..2002 {
        client.receive_bytes().expect("queued");
    }
    let answer = client.receive_bytes().expect("answered");
    assert!(answer.starts_with(b"*2001\r\n+OK\r\n$4194304\r\n"), "{:?}", &answer[..60]);
    // What counts as a write may read as well.
    call(&mut client, &["MULTI"]);
    client.send_bytes(&command(&[b"GETEX", b"large"]).repeat(500)).expect("sent");
    for _ in 0..500 {
        client.receive_bytes().expect("queued");
    }
    assert!(matches!(call(&mut client, &["EXEC"]), Value::Error(line) if line.starts_with("EXECABORT")));
    victim.is_well("a transaction that reads without end");
    let grown = victim.resident_bytes().saturating_sub(before);
    assert!(grown < 1500 * MEGABYTE, "{grown} bytes more");
}

#[test]
fn asking_all_that_is_known_again_and_again_harms_nobody() {
    let mut victim = Victim::start();
    let before = victim.resident_bytes();
    let mut client = victim.connect();
    let mut bytes = Vec::new();
    for words in [&[&b"COMMAND"[..]][..], &[b"COMMAND", b"DOCS"], &[b"INFO", b"everything"], &[b"CONFIG", b"GET", b"*"]]
    {
        bytes.extend(command(words).repeat(200));
    }
    client.send_bytes(&bytes).expect("sent");
    victim.is_well("hundreds of descriptions");
    for _ in 0..800 {
        client.receive_bytes().expect("answered");
    }
    assert!(victim.resident_bytes() < before + 256 * MEGABYTE);
}

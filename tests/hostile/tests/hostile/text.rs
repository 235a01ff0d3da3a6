//! Line ends and other bytes in everything that is echoed, listed or logged: no answer may become two, and no log line either.

use talon_hostile_tests::Victim;
use talon_tests_support::{Client, Value};

/// What would begin a line of its own, in a reply, a list or a log.
const FORGED: &str = "x\r\n+FORGED\r\nid=99 addr=FORGED\n-FORGED\r";

/// Asks, and checks that exactly one answer comes: the next one is the PONG.
fn one_answer(client: &mut Client, words: &[&[u8]]) -> String {
    let answer = client.call_bytes(words).expect("answered");
    let pong = client.call_bytes(&["PING", "behind"]).expect("answered");
    assert_eq!(&pong[..], b"$6\r\nbehind\r\n", "{words:?}: {answer:?}");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn errors_that_quote_stay_one_line() {
    let victim = Victim::start();
    let mut client = victim.connect();
    let evil = FORGED.as_bytes();
    for words in [
        &[evil][..],
        &[b"NOSUCH", evil, evil],
        &[b"CLIENT", evil],
        &[b"CLIENT", b"SETINFO", evil, b"x"],
        &[b"CLIENT", b"SETNAME", evil],
        &[b"CLIENT", b"KILL", b"TYPE", evil],
        &[b"CLIENT", b"KILL", b"USER", evil],
        &[b"CLIENT", b"KILL", evil],
        &[b"CLIENT", b"LIST", b"TYPE", evil],
        &[b"CLIENT", b"PAUSE", b"1", evil],
        &[b"CONFIG", b"SET", evil, b"1"],
        &[b"CONFIG", b"SET", b"loglevel", evil],
        &[b"CONFIG", b"SET", b"log_level", evil],
        &[b"CONFIG", b"SET", b"timeout", evil],
        &[b"HELLO", evil],
        &[b"HELLO", b"2", evil],
        &[b"HELLO", b"2", b"SETNAME", evil],
        &[b"SET", b"a", b"b", evil],
        &[b"COMMAND", b"LIST", b"FILTERBY", evil, b"x"],
        &[b"SLOWLOG", evil],
        &[b"LATENCY", b"HISTORY", evil],
        &[b"SENTINEL", b"MASTER", evil],
        &[b"INCRBY", b"a", evil],
    ] {
        let answer = one_answer(&mut client, words);
        let is_empty = answer == "*0\r\n";
        assert!(is_empty || (answer.starts_with('-') && answer.matches("\r\n").count() == 1), "{words:?}: {answer:?}");
    }
    victim.is_well("forged errors");
}

#[test]
fn a_list_of_clients_has_one_line_a_client() {
    let victim = Victim::start();
    let mut client = victim.connect();
    for words in [
        &[&b"CLIENT"[..], b"SETNAME", FORGED.as_bytes()][..],
        &[&b"CLIENT"[..], b"SETINFO", b"LIB-NAME", FORGED.as_bytes()],
        &[&b"CLIENT"[..], b"SETINFO", b"LIB-VER", b"1 addr=FORGED"],
        &[&b"CLIENT"[..], b"SETNAME", b"\0\xff"],
    ] {
        assert!(one_answer(&mut client, words).starts_with("-ERR"), "{words:?}");
    }
    let Value::Bulk(list) = client.call(&["CLIENT", "LIST"]).expect("answered") else { panic!("a text") };
    let list = String::from_utf8_lossy(&list).into_owned();
    assert!(!list.contains("FORGED") && list.lines().count() == 1, "{list}");
}

#[test]
fn the_slow_log_and_monitors_keep_bytes_apart() {
    let victim = Victim::start_with(&[("--slowlog-slower-than-us", "0")]);
    let mut monitor = victim.connect();
    assert_eq!(&monitor.call_bytes(&["MONITOR"]).expect("answered")[..], b"+OK\r\n");
    let mut client = victim.connect();
    let key: Vec<u8> = (0..=255u8).collect();
    one_answer(&mut client, &[b"SET", &key, FORGED.as_bytes()]);
    let line = monitor.receive_bytes().expect("a line");
    assert!(line[..line.len() - 2].iter().all(|byte| (b' '..=b'~').contains(byte)), "{line:?}");
    let text = String::from_utf8_lossy(&line).into_owned();
    assert!(text.contains("\\x00\\x01") && text.contains("\\xff\" \"x\\r\\n+FORGED\\r\\n"), "{text}");
    let next = monitor.receive_bytes().expect("a line");
    assert!(next.ends_with(b" \"PING\" \"behind\"\r\n"), "{next:?}");
    let Value::Array(entries) = client.call(&["SLOWLOG", "GET", "100"]).expect("answered") else { panic!("a list") };
    let shown = entries.iter().any(|entry| {
        let Value::Array(parts) = entry else { return false };
        let Some(Value::Array(words)) = parts.get(3) else { return false };
        words.get(2) == Some(&Value::Bulk(FORGED.into()))
    });
    assert!(shown, "{entries:?}");
}

#[test]
fn passwords_are_shown_to_nobody() {
    let victim = Victim::start_with(&[
        ("--requirepass", "abracadabra"),
        ("--slowlog-slower-than-us", "0"),
        ("--log-level", "debug"),
    ]);
    let mut client = victim.connect();
    let mut monitor = victim.connect();
    for client in [&mut client, &mut monitor] {
        assert_eq!(&client.call_bytes(&["AUTH", "abracadabra"]).expect("answered")[..], b"+OK\r\n");
    }
    monitor.call(&["MONITOR"]).expect("answered");
    for words in [
        &["AUTH", "abracadabra"][..],
        &["AUTH", "default", "abracadabra"],
        &["HELLO", "2", "AUTH", "default", "abracadabra"],
        &["HELLO", "2", "SETNAME", "a", "AUTH", "default", "abracadabra"],
        &["HELLO", "2", "SETNAME", "auth", "AUTH", "default", "abracadabra"],
        &["CONFIG", "SET", "requirepass", "abracadabra"],
    ] {
        client.call(words).expect("answered");
    }
    client.call(&["PING", "last"]).expect("answered");
    let mut shown = String::new();
    for words in [
        &["SLOWLOG", "GET", "-1"][..],
        &["CONFIG", "GET", "*"],
        &["CLIENT", "LIST"],
        &["INFO", "everything"],
        &["COMMAND", "DOCS"],
    ] {
        shown += &String::from_utf8_lossy(&client.call_bytes(words).expect("answered"));
    }
    loop {
        let line = monitor.receive_bytes().expect("a line");
        shown += &String::from_utf8_lossy(&line);
        if line.ends_with(b"\"last\"\r\n") {
            break;
        }
    }
    shown += &victim.log();
    assert!(shown.contains("(redacted)") && !shown.contains("abracadabra"), "{shown}");
}

#[test]
fn log_lines_cannot_be_forged() {
    let victim = Victim::start_with(&[("--requirepass", "sesame"), ("--log-level", "debug")]);
    let mut client = victim.connect();
    for words in [
        &["AUTH", "x\n2026-01-01T00:00:00Z ERROR FORGED"][..],
        &["AUTH", "x\nFORGED", "y\nFORGED"],
        &["HELLO", "3", "AUTH", "x\r\nFORGED", "y"],
        &["x\r\nFORGED"],
    ] {
        let answer = client.call_bytes(words).expect("answered");
        assert!(answer.starts_with(b"-"), "{answer:?}");
    }
    victim_log_has_no_forged_line(&victim);
    assert_eq!(&client.call_bytes(&["AUTH", "sesame"]).expect("answered")[..], b"+OK\r\n");
    client.call(&["CONFIG", "SET", "log_level", "info\nFORGED"]).expect("answered");
    client.call(&["CLIENT", "KILL", "ADDR", "1\nFORGED"]).expect("answered");
    let mut other = victim.connect();
    other.send_bytes(b"*1\r\n\nFORGED\r\n").expect("sent");
    other.receive_until_closed().expect("closed");
    victim_log_has_no_forged_line(&victim);
}

fn victim_log_has_no_forged_line(victim: &Victim) {
    let log = victim.log();
    assert!(!log.lines().any(|line| line.trim_start().starts_with("FORGED") || line.contains("ERROR FORGED")), "{log}");
}

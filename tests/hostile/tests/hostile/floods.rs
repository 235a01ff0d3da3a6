//! Much of what is harmless once: connections, passwords, commands in a transaction, subscriptions, and replies that nobody reads.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use talon_hostile_tests::{Victim, command};
use talon_tests_support::{Client, Value, wait_until};

const MEGABYTE: u64 = 1024 * 1024;

/// Sends again and again until the other side takes no more, or closes; whether it closed.
fn pour(stream: &mut TcpStream, bytes: &[u8], at_most: usize) -> bool {
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a time");
    for _ in 0..at_most {
        match stream.write_all(bytes) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                return false;
            }
            Err(_) => return true,
        }
    }
    false
}

#[test]
fn more_connections_than_may_be_are_turned_away_and_places_come_free_again() {
    let victim = Victim::start_with(&[("--maxclients", "50")]);
    let mut served: Vec<Client> = Vec::new();
    let mut refused = 0;
    for _ in 0..300 {
        let mut client = victim.connect();
        match client.call(&["PING"]) {
            Ok(Value::Simple(_)) => served.push(client),
            Ok(Value::Error(line)) => {
                assert!(line.contains("max number of clients reached"), "{line}");
                refused += 1;
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => refused += 1,
        }
    }
    assert_eq!((served.len(), refused), (50, 250));
    // Those that are there are served.
    let last = served.last_mut().expect("one");
    assert_eq!(last.call(&["SET", "a", "1"]).expect("answered"), Value::Simple("OK".to_owned()));
    drop(served);
    let free = wait_until(Duration::from_secs(10), || {
        victim.connect().call(&["PING"]).is_ok_and(|pong| pong == Value::Simple("PONG".to_owned()))
    });
    assert!(free, "nobody is let in any more");
    victim.is_well("three hundred connections");
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let mut victim = Victim::start();
    victim.is_well("nothing");
    let before = victim.resident_bytes();
    for _ in 0..3000 {
        drop(TcpStream::connect(victim.address()).expect("it listens"));
    }
    victim.is_well("three thousand connections");
    assert!(victim.resident_bytes() < before + 64 * MEGABYTE);
}

#[test]
fn passwords_can_be_tried_without_harm_to_others() {
    let mut victim = Victim::start_with(&[("--requirepass", "sesame")]);
    let before = victim.resident_bytes();
    let attempts = command(&[b"AUTH", b"wrong"]).repeat(1000);
    let mut strangers: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(victim.address()).expect("it listens")).collect();
    for stranger in &mut strangers {
        // Nobody reads the answers.
        pour(stranger, &attempts, 1000);
    }
    let begun = Instant::now();
    let mut client = victim.connect();
    assert_eq!(client.call(&["AUTH", "sesame"]).expect("answered"), Value::Simple("OK".to_owned()));
    assert_eq!(client.call(&["SET", "a", "1"]).expect("answered"), Value::Simple("OK".to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(10));
    let grown = victim.resident_bytes().saturating_sub(before);
    assert!(grown < 20 * 4 * MEGABYTE + 64 * MEGABYTE, "{grown} bytes more");
    let lines = victim.log().matches("wrong password").count();
    assert!((1..200).contains(&lines), "{lines} lines in the log");
}

#[test]
fn strangers_get_no_room_before_they_have_said_who_they_are() {
    let mut victim = Victim::start_with(&[("--requirepass", "sesame")]);
    let before = victim.resident_bytes();
    for (bytes, answer) in [
        (&b"*11\r\n"[..], "-ERR Protocol error: unauthenticated multibulk length\r\n"),
        (b"*1\r\n$16385\r\n", "-ERR Protocol error: unauthenticated bulk length\r\n"),
    ] {
        assert_eq!(victim.answer_until_closed(bytes), answer);
    }
    let half = [&b"*10\r\n"[..], b"$16384\r\n", &vec![b'x'; 16_384]].concat();
    let strangers: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = victim.connect();
            client.send_bytes(&half).expect("sent");
            client
        })
        .collect();
    let mut client = victim.connect();
    assert_eq!(client.call(&["AUTH", "sesame"]).expect("answered"), Value::Simple("OK".to_owned()));
    assert!(victim.resident_bytes() < before + 64 * MEGABYTE, "{} strangers", strangers.len());
}

#[test]
fn a_transaction_has_a_bound() {
    let mut victim = Victim::start();
    let before = victim.resident_bytes();
    let mut client = victim.connect();
    client.set_timeout(Duration::from_secs(60)).expect("a time");
    client.call(&["MULTI"]).expect("answered");
    // By number, and by bytes.
    let many = command(&[b"GET", b"a"]).repeat(1000);
    let mut refused = false;
    for _ in 0..300 {
        client.send_bytes(&many).expect("sent");
        for _ in 0..1000 {
            refused |= client.receive_bytes().expect("answered").starts_with(b"-ERR");
        }
    }
    assert!(refused, "300,000 commands were gathered");
    victim.is_well("many commands in MULTI");
    let answer = client.call_bytes(&["EXEC"]).expect("answered");
    assert!(answer.starts_with(b"-EXECABORT"), "{answer:?}");
    client.call(&["MULTI"]).expect("answered");
    let value = "v".repeat(1 << 20);
    let large: Vec<bool> = (0..80)
        .map(|_| client.call_bytes(&["SET", "a", &value]).expect("answered").starts_with(b"-ERR request of"))
        .collect();
    assert!(!large[50] && large[79], "64 MB are gathered, 80 MB are not");
    let answer = client.call_bytes(&["EXEC"]).expect("answered");
    assert!(answer.starts_with(b"-EXECABORT"), "{answer:?}");
    victim.is_well("large commands in MULTI");
    assert!(victim.resident_bytes() < before + 512 * MEGABYTE);
}

#[test]
fn transactions_that_are_never_ended_hold_nobody() {
    let mut victim = Victim::start();
    let before = victim.resident_bytes();
    let value = vec![b'v'; 100_000];
    let mut open: Vec<Client> = (0..100).map(|_| victim.connect()).collect();
    for client in &mut open {
        client.call(&["MULTI"]).expect("answered");
        client.call(&[&b"SET"[..], b"a", &value]).expect("answered");
    }
    victim.is_well("a hundred open transactions");
    assert!(victim.resident_bytes() < before + 128 * MEGABYTE);
    drop(open);
    let mut client = victim.connect();
    assert_eq!(client.call(&["EXISTS", "a"]).expect("answered"), Value::Integer(0));
}

#[test]
fn subscriptions_have_a_bound() {
    let mut victim = Victim::start();
    let before = victim.resident_bytes();
    let mut client = victim.connect();
    client.set_timeout(Duration::from_secs(60)).expect("a time");
    let mut refused = 0;
    for thousand in 0..12 {
        let names: Vec<String> = (0..1000).map(|number| format!("channel:{thousand}:{number}")).collect();
        let words: Vec<&[u8]> = std::iter::once(&b"SUBSCRIBE"[..]).chain(names.iter().map(String::as_bytes)).collect();
        client.send_bytes(&command(&words)).expect("sent");
        for _ in 0..1000 {
            refused += usize::from(client.receive_bytes().expect("answered").starts_with(b"-"));
        }
    }
    assert_eq!(refused, 2000, "ten thousand may be had");
    let long = vec![b'c'; 100_000];
    let answer = client.call_bytes(&[&b"SUBSCRIBE"[..], &long]).expect("answered");
    assert!(answer.starts_with(b"-"), "{:?}", &answer[..answer.len().min(60)]);
    victim.is_well("twelve thousand subscriptions");
    assert!(victim.resident_bytes() < before + 64 * MEGABYTE);
}

#[test]
fn replies_that_nobody_reads_take_bounded_room() {
    let mut victim = Victim::start();
    let mut client = victim.connect();
    let value = "v".repeat(100_000);
    client.call(&["SET", "a", &value]).expect("answered");
    let before = victim.resident_bytes();
    let questions = command(&[b"GET", b"a"]).repeat(1000);
    let mut silent: Vec<TcpStream> =
        (0..10).map(|_| TcpStream::connect(victim.address()).expect("it listens")).collect();
    for stream in &mut silent {
        // 40 GB of replies would be asked for.
        pour(stream, &questions, 400);
    }
    victim.is_well("ten that do not read");
    let grown = victim.resident_bytes().saturating_sub(before);
    // A batch of replies each, and what is read ahead.
    assert!(grown < 10 * 128 * MEGABYTE, "{grown} bytes more");
    drop(silent);
    let gone = wait_until(Duration::from_secs(10), || {
        let list = client.call(&["CLIENT", "LIST"]).expect("answered");
        list.text().is_some_and(|text| text.lines().count() == 1)
    });
    assert!(gone, "they are still there");
}

#[test]
fn a_monitor_that_does_not_read_is_cut_off() {
    let mut victim = Victim::start();
    let before = victim.resident_bytes();
    let mut monitor = victim.connect();
    monitor.call(&["MONITOR"]).expect("answered");
    let mut client = victim.connect();
    let value = vec![b'v'; 1 << 20];
    let cut = (0..200).any(|_| {
        client.call(&[&b"SET"[..], b"a", &value]).expect("answered");
        let list = client.call(&["CLIENT", "LIST"]).expect("answered");
        list.text().is_some_and(|text| text.lines().count() == 1)
    });
    assert!(cut, "two hundred megabytes wait for it");
    victim.is_well("a monitor that does not read");
    assert!(victim.resident_bytes() < before + 512 * MEGABYTE);
}

#[test]
fn watching_without_end_has_a_bound() {
    let mut victim = Victim::start();
    let before = victim.resident_bytes();
    let mut client = victim.connect();
    client.set_timeout(Duration::from_secs(60)).expect("a time");
    let keys: Vec<String> = (0..1000).map(|number| format!("key:{number}")).collect();
    let words: Vec<&[u8]> = std::iter::once(&b"WATCH"[..]).chain(keys.iter().map(String::as_bytes)).collect();
    let refused = (0..300).any(|_| client.call_bytes(&words).expect("answered").starts_with(b"-"));
    victim.is_well("300,000 watched keys");
    let grown = victim.resident_bytes().saturating_sub(before);
    // Those are the same keys each time, and count once.
    assert!(!refused && grown < 64 * MEGABYTE, "{grown} bytes more, refused: {refused}");
    let others: Vec<String> = (0..20_000).map(|number| format!("other:{number}")).collect();
    let words: Vec<&[u8]> = std::iter::once(&b"WATCH"[..]).chain(others.iter().map(String::as_bytes)).collect();
    assert!(client.call_bytes(&words).expect("answered").starts_with(b"-ERR a client may watch"));
}

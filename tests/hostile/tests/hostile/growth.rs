//! Requests of a few bytes that write megabytes, in any number.

use std::time::{Duration, Instant};

use talon_hostile_tests::{Victim, command};
use talon_tests_support::{Client, Value};

const MEGABYTE: u64 = 1024 * 1024;

/// The last bit of the largest value.
const LAST_BIT: &[u8] = b"134217727";

/// How many values of 16 MB are made: 3.2 GB.
const VALUES: usize = 200;

/// How many a transaction asks for: 32 GB.
const VALUES_AT_ONCE: usize = 2_000;

/// What the node may have in memory meanwhile: what one entry writes is there a few times over on its way into the storage.
const MEMORY_MAX: u64 = 1536 * MEGABYTE;

/// How long the node may take to make them.
const TIME_MAX: Duration = Duration::from_secs(300);

fn grow(key: &str) -> Vec<u8> {
    command(&[b"SETBIT", key.as_bytes(), LAST_BIT, b"1"])
}

fn connect(victim: &Victim) -> Client {
    let client = victim.connect();
    client.set_timeout(TIME_MAX).expect("a time");
    client
}

fn receive(client: &mut Client) -> Value {
    client.receive().expect("answered")
}

#[test]
fn a_pipeline_of_large_values_is_carried_out_in_bounded_steps() {
    let mut victim = Victim::start();
    let mut client = connect(&victim);
    let mut bytes = Vec::new();
    for number in 0..VALUES {
        bytes.extend(grow(&format!("large:{number}")));
        bytes.extend(command(&[b"INCR", b"large:count"]));
    }
    client.send_bytes(&bytes).expect("sent");
    let mut slowest = Duration::ZERO;
    for number in 0..VALUES {
        assert_eq!(receive(&mut client), Value::Integer(0), "value {number}");
        assert_eq!(receive(&mut client), Value::Integer(number as i64 + 1));
        if number % 50 == 0 {
            let begun = Instant::now();
            victim.is_well("a pipeline of large values, while it goes on");
            slowest = slowest.max(begun.elapsed());
        }
    }
    let peak = victim.peak_bytes();
    assert!(peak < MEMORY_MAX, "{} MB at most", peak / MEGABYTE);
    println!("{} MB at most; another client waited for {slowest:?} at most", peak / MEGABYTE);
    assert_eq!(client.call(&["COUNTPREFIX", "large:"]).expect("answered"), Value::Integer(VALUES as i64 + 1));
    let last = format!("large:{}", VALUES - 1);
    assert_eq!(client.call(&["STRLEN", &last]).expect("answered"), Value::Integer(16 * MEGABYTE as i64));
    assert_eq!(client.call(&["BITCOUNT", &last]).expect("answered"), Value::Integer(1));
}

#[test]
fn transactions_of_large_values_are_refused_and_leave_nothing_behind() {
    let mut victim = Victim::start();
    let mut client = connect(&victim);
    let mut bytes = Vec::new();
    for _ in 0..5 {
        bytes.extend(command(&[b"MULTI"]));
        (0..VALUES_AT_ONCE).for_each(|number| bytes.extend(grow(&format!("large:{number}"))));
        bytes.extend(command(&[b"EXEC"]));
        bytes.extend(command(&[b"INCR", b"count"]));
    }
    client.send_bytes(&bytes).expect("sent");
    for round in 0..5 {
        assert_eq!(receive(&mut client), Value::Simple("OK".to_owned()));
        for _ in 0..VALUES_AT_ONCE {
            assert_eq!(receive(&mut client), Value::Simple("QUEUED".to_owned()));
        }
        let answer = receive(&mut client);
        assert!(matches!(&answer, Value::Error(line) if line.starts_with("EXECABORT Transaction ")), "{answer:?}");
        assert_eq!(receive(&mut client), Value::Integer(round + 1), "and what is behind it is carried out");
        victim.is_well("a transaction of large values");
    }
    assert_eq!(client.call(&["COUNTPREFIX", "large:"]).expect("answered"), Value::Integer(0));
    let peak = victim.peak_bytes();
    assert!(peak < MEMORY_MAX, "{} MB at most", peak / MEGABYTE);
    println!("{} MB at most", peak / MEGABYTE);
}

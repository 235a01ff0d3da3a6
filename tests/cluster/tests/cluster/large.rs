//! The largest values, while everybody else goes on.

use std::time::{Duration, Instant};

use talon_cluster_tests::{Load, LoadOptions, is_long, status, verify};
use talon_tests_support::{Client, Cluster, Value, wait_until};

use crate::{addresses, alone, ms};

const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

fn large(seed: u8, length: usize) -> Vec<u8> {
    // Not compressible to nothing, and different for each seed.
    let mut state = u32::from(seed) + 1;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

fn set(client: &mut Client, key: &str, value: &[u8]) -> Value {
    client.call(&[b"SET", key.as_bytes(), value]).expect("an answer")
}

#[test]
fn sixteen_megabytes_travel_without_an_election() {
    let _turn = alone();
    let count = if is_long() { 40 } else { 8 };
    let cluster = Cluster::start(3);
    let before = status(&cluster.nodes[0]);
    let load = Load::start(&addresses(&cluster), &LoadOptions::new("beside", 4));
    assert!(load.goes_on(100, Duration::from_secs(30)));
    let mut leader = cluster.connect_to_leader();
    let begun = Instant::now();
    let mut set_ms_max = 0;
    for seed in 0..count {
        let value = large(seed, VALUE_BYTES_MAX);
        let set_begun = Instant::now();
        assert_eq!(set(&mut leader, &format!("large:{}", seed % 4), &value), Value::Simple("OK".to_owned()));
        set_ms_max = set_ms_max.max(ms(set_begun));
        let read = leader.call(&["GET", &format!("large:{}", seed % 4)]).expect("an answer");
        assert!(matches!(read, Value::Bulk(bytes) if bytes == value), "what was written is read");
    }
    let took_ms = ms(begun);
    let last = large(count - 1, VALUE_BYTES_MAX);
    for node in &cluster.nodes {
        let mut client = node.connect().expect("it serves");
        client.call(&["READONLY"]).expect("an answer");
        let same = || {
            let read = client.call(&["GET", &format!("large:{}", (count - 1) % 4)]).expect("an answer");
            matches!(read, Value::Bulk(bytes) if bytes == last)
        };
        assert!(wait_until(Duration::from_secs(10), same), "node {} does not have it", node.id);
    }
    assert!(load.goes_on(100, Duration::from_secs(30)));
    let gap = load.gap();
    let totals = load.stop().check(&mut leader);
    let after = status(&cluster.nodes[0]);
    assert_eq!((&after["term"], &after["leader_id"]), (&before["term"], &before["leader_id"]), "there was an election");
    verify(&cluster);
    println!(
        "{count} SETs and GETs of 16 MB in {took_ms} ms, the slowest SET {set_ms_max} ms; others: {totals}; longest gap {} ms; \
         term {}",
        gap.as_millis(),
        after["term"]
    );
}

#[test]
fn what_is_too_large_is_refused_whole() {
    let _turn = alone();
    let cluster = Cluster::start(3);
    let before = status(&cluster.nodes[0]);
    let mut leader = cluster.connect_to_leader();
    // Five values of 16 MB, where one request may have 64 MB.
    let value = large(1, VALUE_BYTES_MAX);
    leader.call(&["MULTI"]).expect("an answer");
    let queued: Vec<Value> = (0..5).map(|number| set(&mut leader, &format!("part:{number}"), &value)).collect();
    let Value::Error(line) = leader.call(&["EXEC"]).expect("an answer") else { panic!("EXEC was not refused") };
    let why =
        queued.iter().filter_map(Value::text).chain([line.clone()]).find(|line| line.contains("request_bytes_max"));
    println!("MULTI of 80 MB: {why:?}, then {line}");
    assert!(why.is_some(), "the limit is not named: {queued:?}");
    let mut leader = cluster.connect_to_leader();
    let keys: Vec<String> = (0..5).map(|number| format!("part:{number}")).collect();
    let exists = [&["EXISTS".to_owned()], &keys[..]].concat();
    assert_eq!(leader.call(&exists).expect("an answer"), Value::Integer(0), "nothing of it was carried out");
    // One of 48 MB is carried out.
    leader.call(&["MULTI"]).expect("an answer");
    for number in 0..3 {
        set(&mut leader, &format!("part:{number}"), &value);
    }
    assert!(matches!(leader.call(&["EXEC"]).expect("an answer"), Value::Array(replies) if replies.len() == 3));
    assert_eq!(leader.call(&exists).expect("an answer"), Value::Integer(3));
    // One byte more than a value may have is refused as soon as its length is known.
    let mut client = cluster.connect_to_leader();
    client
        .send_bytes(format!("*3\r\n$3\r\nSET\r\n$4\r\nover\r\n${}\r\n", VALUE_BYTES_MAX + 1).as_bytes())
        .expect("sent");
    let Value::Error(line) = client.receive().expect("an answer") else { panic!("not refused") };
    println!("16 MB and a byte: {line}");
    assert!(line.starts_with("ERR "), "{line}");
    assert_eq!(leader.call(&["EXISTS", "over"]).expect("an answer"), Value::Integer(0));
    let after = status(&cluster.nodes[0]);
    assert_eq!(after["term"], before["term"], "there was an election");
    verify(&cluster);
}

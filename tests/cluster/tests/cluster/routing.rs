//! Who answers what: redirects, nobody leads, a replica cut off, a leader that slept.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
use talon_cluster_tests::{Load, LoadOptions, Outcome, attempt, verify};
use talon_tests_support::{Client, Cluster, ClusterOptions, Node, Value, wait_until};

use crate::{addresses, alone, any, ms};

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn ask(client: &mut Client, text: &str) -> Value {
    client.call(&words(text)).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error_line(client: &mut Client, text: &str) -> String {
    match ask(client, text) {
        Value::Error(line) => line,
        other => panic!("{text}: an error was expected, not {other:?}"),
    }
}

/// A connection that reads from whatever the node is.
fn reader(node: &Node) -> Client {
    let mut client = node.connect().expect("it serves");
    assert_eq!(ask(&mut client, "READONLY"), Value::Simple("OK".to_owned()));
    client
}

#[test]
fn a_follower_names_the_leader_and_the_keys_real_slot() {
    let _turn = alone();
    let cluster = Cluster::start(3);
    let leader = cluster.leader();
    let leader_port = cluster.nodes[leader].resp_port;
    // Slots as redis-server 7.0 computes them.
    for (place, node) in cluster.nodes.iter().enumerate().filter(|(place, _)| *place != leader) {
        let mut client = node.connect().expect("it serves");
        for (command, slot) in [("SET foo 1", 12182), ("SET {user}:1 1", 5474), ("INCR hello", 866), ("FLUSHALL", 0)] {
            let line = error_line(&mut client, command);
            assert_eq!(line, format!("MOVED {slot} 127.0.0.1:{leader_port}"), "{command} on node {}", place + 1);
        }
        // In a transaction, too, and nothing of it is carried out.
        for command in ["MULTI", "SET foo 1"] {
            ask(&mut client, command);
        }
        assert!(error_line(&mut client, "EXEC").starts_with("MOVED 12182 "));
        assert_eq!(ask(&mut client, "GET foo"), Value::Null, "reads are served");
    }
    assert_eq!(ask(&mut cluster.connect_to_leader(), "DBSIZE"), Value::Integer(0));
    println!("followers redirect to 127.0.0.1:{leader_port}");
}

/// A client that follows redirects sends the write again, and keeps what the read behind it was answered.
#[test]
fn behind_a_write_that_is_sent_on_a_follower_sends_reads_on_too() {
    let _turn = alone();
    let cluster = Cluster::start(3);
    let leader = cluster.leader();
    let moved = format!("-MOVED 12182 127.0.0.1:{}\r\n", cluster.nodes[leader].resp_port);
    for node in cluster.nodes.iter().enumerate().filter(|(place, _)| *place != leader).map(|(_, node)| node) {
        let mut client = node.connect().expect("it serves");
        // In one batch, and in several.
        for reads in [1, 5000] {
            let pipeline = format!("GET foo\r\nSET foo 1\r\n{}", "GET foo\r\n".repeat(reads));
            client.send_bytes(pipeline.as_bytes()).expect("sent");
            assert_eq!(client.receive_bytes().expect("an answer"), "$-1\r\n", "what is before it is answered");
            for place in 0..=reads {
                assert_eq!(client.receive_bytes().expect("an answer"), moved, "answer {place} of {reads}");
            }
        }
        assert_eq!(ask(&mut client, "GET foo"), Value::Null, "that pipeline has ended");
    }
}

#[test]
fn alone_of_three_it_says_that_the_cluster_is_down() {
    let _turn = alone();
    const HOLD_MS: u64 = 2000;
    let options = ClusterOptions::nodes(3).flag("--hold-ms-max", "2000").flag("--replica-staleness-ms-max", "1500");
    let mut cluster = Cluster::start_with(&options);
    let leader = cluster.leader();
    for survivor in [leader, (leader + 1) % 3] {
        assert_eq!(ask(&mut cluster.connect_to_leader(), "SET kept here"), Value::Simple("OK".to_owned()));
        let leading = cluster.leader() == survivor;
        for place in (0..3).filter(|place| *place != survivor) {
            cluster.nodes[place].kill();
        }
        // Until it has noticed, a write on a leader may have been appended, and then its fate is unknown.
        thread::sleep(Duration::from_millis(2500));
        let mut client = cluster.nodes[survivor].connect().expect("it still takes connections");
        let begun = Instant::now();
        let line = error_line(&mut client, "SET lost 1");
        let took_ms = ms(begun) as u64;
        assert_eq!(line, "CLUSTERDOWN The cluster is down");
        assert!((HOLD_MS - 100..HOLD_MS + 1500).contains(&took_ms), "held for {took_ms} ms");
        let stale = error_line(&mut reader(&cluster.nodes[survivor]), "GET kept");
        if leading {
            // It may still be the leader, as far as it knows, so a read is held for it and then refused.
            assert_eq!(stale, "CLUSTERDOWN The cluster is down");
        } else {
            assert!(stale.starts_with("STALE replica is ") && stale.ends_with("ms behind (bound 1500 ms)"), "{stale}");
        }
        println!("alone (was leader: {leading}): `{line}` after {took_ms} ms; a read: `{stale}`");
        for place in (0..3).filter(|place| *place != survivor) {
            cluster.nodes[place].start().expect("it can be started again");
        }
        cluster.wait_until_serving();
        let mut client = cluster.connect_to_leader();
        assert_eq!(ask(&mut client, "GET lost"), Value::Null, "refused, so not carried out");
        assert_eq!(ask(&mut client, "GET kept").text().as_deref(), Some("here"));
        assert_eq!(verify(&cluster), 1);
    }
}

#[test]
fn a_replica_that_hears_nobody_is_stale_until_it_does() {
    let _turn = alone();
    let mut cluster = Cluster::start_with(&ClusterOptions::nodes(3).flag("--replica-staleness-ms-max", "1000"));
    let follower = (cluster.leader() + 1) % 3;
    ask(&mut cluster.connect_to_leader(), "SET key value");
    let mut client = reader(&cluster.nodes[follower]);
    assert!(wait_until(Duration::from_secs(2), || ask(&mut client, "GET key").text().as_deref() == Some("value")));
    let others: Vec<usize> = (0..3).filter(|place| *place != follower).collect();
    for place in &others {
        cluster.nodes[*place].process().expect("it runs").signal(SIGSTOP).expect("it can be stopped");
    }
    let stopped = Instant::now();
    let mut answers = 0;
    // Stopped processes still have words on the wire, so it may hear a little longer.
    let stale = wait_until(Duration::from_secs(5), || match ask(&mut client, "GET key") {
        Value::Error(line) => line.starts_with("STALE "),
        value => {
            assert_eq!(value.text().as_deref(), Some("value"));
            answers += 1;
            false
        }
    });
    let stale_ms = ms(stopped);
    assert!(stale && (900..2500).contains(&stale_ms), "stale after {stale_ms} ms");
    for place in &others {
        cluster.nodes[*place].process().expect("it runs").signal(SIGCONT).expect("it can go on");
    }
    let back = Instant::now();
    assert!(wait_until(Duration::from_secs(20), || ask(&mut client, "GET key").text().as_deref() == Some("value")));
    println!("a follower that hears nobody: {answers} answers, stale after {stale_ms} ms, back after {} ms", ms(back));
    cluster.wait_until_serving();
    verify(&cluster);
}

/// The heart of linearizability: a leader sleeps, another takes over and acknowledges new values, and the old one wakes
/// up with reads on its connections. It must not answer them from what it remembers.
#[test]
fn a_leader_that_slept_never_answers_from_what_it_remembers() {
    let _turn = alone();
    let rounds = if talon_cluster_tests::is_long() { 20 } else { 4 };
    let mut cluster = Cluster::start(3);
    let mut last = 0;
    for round in 1..=rounds {
        cluster.wait_until_serving();
        let old = cluster.leader();
        let load = Load::start(&addresses(&cluster), &LoadOptions::new(&format!("sleep{round}"), 3));
        let mut writer = cluster.nodes[old].connect().expect("it serves");
        last += 1;
        assert_eq!(ask(&mut writer, &format!("SET register {last}")), Value::Simple("OK".to_owned()));
        // Connections that were made to the leader; a request waits on each while it sleeps.
        let mut sleepers: Vec<Client> = (0..16).map(|_| cluster.nodes[old].connect().expect("it serves")).collect();
        for client in &mut sleepers {
            assert_eq!(ask(client, "GET register").text(), Some(last.to_string()));
        }
        cluster.nodes[old].process().expect("it runs").signal(SIGSTOP).expect("it can be stopped");
        let slept = Instant::now();
        let acknowledged = overwrite(&cluster, old, last + 1);
        last = acknowledged;
        let taken_over_ms = ms(slept);
        // From here on, an older value is a stale read. Half of the requests wait for it to wake up…
        let (waiting, waking) = sleepers.split_at_mut(8);
        waiting.iter_mut().for_each(|client| client.send(&words("GET register")).expect("the kernel takes it"));
        thread::sleep(Duration::from_millis(3000u64.saturating_sub(ms(slept) as u64)));
        cluster.nodes[old].process().expect("it runs").signal(SIGCONT).expect("it can go on");
        let mut outcomes = std::collections::BTreeMap::new();
        let mut count = |outcome: &Outcome| {
            let kind = match outcome {
                Outcome::Acknowledged(value) => {
                    let value: u64 = value.text().and_then(|text| text.parse().ok()).unwrap_or(0);
                    assert!(
                        value >= acknowledged,
                        "STALE: {value} was read on the old leader, {acknowledged} was acknowledged"
                    );
                    "fresh".to_owned()
                }
                Outcome::Refused(line) | Outcome::Unknown(line) => {
                    line.split(' ').next().unwrap_or_default().to_owned()
                }
            };
            *outcomes.entry(kind).or_insert(0) += 1;
        };
        // … and half are sent while it finds out that it no longer leads.
        for client in waking.iter_mut() {
            thread::sleep(Duration::from_millis(any(20)));
            for _ in 0..20 {
                let outcome = attempt(client, &[words("GET register")]);
                count(&outcome);
                if !matches!(outcome, Outcome::Acknowledged(_)) {
                    break;
                }
            }
        }
        for client in waiting {
            count(&match client.receive() {
                Ok(Value::Error(line)) => Outcome::of_error(line),
                Ok(value) => Outcome::Acknowledged(value),
                Err(error) => Outcome::Unknown(format!("connection:{:?}", error.kind())),
            });
        }
        cluster.wait_until_serving();
        assert!(load.goes_on(100, Duration::from_secs(30)));
        let gap = load.gap();
        let totals = load.stop().check(&mut cluster.connect_to_leader());
        verify(&cluster);
        println!(
            "a leader that slept, round {round}: another acknowledged after {taken_over_ms} ms; reads on the old one: {outcomes:?}; \
             {totals}; longest gap {} ms",
            gap.as_millis()
        );
    }
}

/// Writes `value` to the register through the nodes other than `old`; returns it once that is acknowledged.
fn overwrite(cluster: &Cluster, old: usize, mut value: u64) -> u64 {
    let done = wait_until(Duration::from_secs(20), || {
        for node in cluster.nodes.iter().enumerate().filter(|(place, _)| *place != old).map(|(_, node)| node) {
            let Ok(mut client) = node.connect() else { continue };
            if matches!(attempt(&mut client, &[words(&format!("SET register {value}"))]), Outcome::Acknowledged(_)) {
                return true;
            }
            value += 1;
        }
        false
    });
    assert!(done, "nobody takes over");
    value
}

/// Right behind the write, when no status has been looked at since: what a stopped follower holds is not counted.
#[test]
fn wait_counts_only_who_holds_the_last_write() {
    let _turn = alone();
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let mut client = cluster.connect_to_leader();
    for number in 0..20 {
        ask(&mut client, &format!("SET before:{number} v"));
    }
    assert_eq!(ask(&mut client, "WAIT 2 5000"), Value::Integer(2));
    let follower = (leader + 1) % 3;
    cluster.nodes[follower].process().expect("it runs").signal(SIGSTOP).expect("it can be stopped");
    for number in 0..20 {
        client.send(&words(&format!("SET behind:{number} v"))).expect("it is sent");
        client.send(&words("WAIT 2 30")).expect("it is sent");
        assert_eq!(client.receive().expect("an answer"), Value::Simple("OK".to_owned()));
        assert_eq!(client.receive().expect("an answer"), Value::Integer(1), "after write {number}");
    }
    cluster.nodes[follower].process().expect("it runs").signal(SIGCONT).expect("it can go on");
    assert_eq!(ask(&mut client, "WAIT 2 5000"), Value::Integer(2));
}

/// It will send it again, to whoever leads then.
#[test]
fn what_is_held_for_a_client_that_hangs_up_is_not_carried_out() {
    let _turn = alone();
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let left = (leader + 1) % 3;
    for gone in (0..3).filter(|place| *place != left) {
        cluster.nodes[gone].kill();
    }
    let mut held = 0;
    // At first it may still name the leader.
    let tried = wait_until(Duration::from_secs(10), || {
        let mut client = cluster.nodes[left].connect().expect("it serves");
        client.set_timeout(Duration::from_millis(300)).expect("set");
        client.send(&["INCR", "counter"]).expect("sent");
        held += u32::from(client.receive().is_err());
        held == 3
    });
    assert!(tried, "nobody leads, so it is held: {held} times");
    thread::sleep(Duration::from_millis(500));
    for gone in (0..3).filter(|place| *place != left) {
        cluster.nodes[gone].start().expect("it starts");
    }
    cluster.wait_until_serving();
    assert_eq!(ask(&mut cluster.connect_to_leader(), "GET counter"), Value::Null);
}

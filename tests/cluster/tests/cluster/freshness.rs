//! Reads that say how fresh they are, and nodes that have the leader carry out writes, as plain clients meet them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
use talon_cluster_tests::{is_long, verify};
use talon_tests_support::{Client, Cluster, ClusterOptions, Value, wait_until};

use crate::{alone, ms, rest_up_to};

const PATIENCE: Duration = Duration::from_secs(30);

fn say(client: &mut Client, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let reply = client.call(&words).expect("an answer");
    match &reply {
        Value::Error(text) => format!("-{text}"),
        Value::Null => "nil".to_owned(),
        Value::Integer(number) => number.to_string(),
        other => other.text().unwrap_or_else(|| format!("{other:?}")),
    }
}

/// A plain client: one connection, one counter that nobody else touches.
struct Counter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    acknowledged: i64,
    last: i64,
    failed: Vec<String>,
    gap: Duration,
}

impl Counter {
    fn start(address: SocketAddr, key: String) -> Counter {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = thread::spawn(move || {
            let mut client = Client::connect(address).expect("it serves");
            let (mut counted, mut since) = (Counted::default(), Instant::now());
            while !stopping.load(Ordering::Relaxed) {
                // The connection is never closed, and nobody is sent elsewhere.
                let answer = say(&mut client, &format!("INCR {key}"));
                match answer.parse::<i64>() {
                    Ok(value) => {
                        assert!(value > counted.last, "{key}: {value} after {}", counted.last);
                        counted.acknowledged += 1;
                        counted.last = value;
                        counted.gap = counted.gap.max(since.elapsed());
                        since = Instant::now();
                    }
                    Err(_) => counted.failed.push(answer),
                }
                let read = say(&mut client, &format!("GET {key}"));
                match read.parse::<i64>() {
                    Ok(value) => {
                        assert!(value >= counted.last, "{key}: read {value} after {} was answered", counted.last)
                    }
                    Err(_) => counted.failed.push(read),
                }
            }
            counted
        });
        Counter { stop, thread }
    }

    fn finish(self) -> Counted {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it counts")
    }
}

#[test]
fn a_plain_client_of_any_node_writes_through_a_kill_and_a_handover() {
    let _turn = alone();
    let mut cluster = Cluster::start_with(&ClusterOptions::nodes(3).flag("--writes-on-follower", "forward"));
    let rounds = if is_long() { 10 } else { 2 };
    for round in 0..rounds {
        let leader = cluster.leader();
        let others = (0..3).filter(|place| *place != leader);
        let counters: Vec<(String, Counter)> = others
            .map(|place| {
                let key = format!("kill{round}:{place}");
                (key.clone(), Counter::start(cluster.nodes[place].address(), key))
            })
            .collect();
        thread::sleep(Duration::from_millis(300));
        rest_up_to(300);
        cluster.nodes[leader].kill();
        let begun = Instant::now();
        let next = cluster.leader();
        println!("round {round}: another leader after {} ms", ms(begun));
        thread::sleep(Duration::from_millis(500));
        cluster.nodes[leader].start().expect("it can be started again");
        cluster.wait_until_serving();
        for (key, counter) in counters {
            let counted = counter.finish();
            println!("{key}: {counted:?}");
            assert!(counted.failed.len() <= 1, "{key}: {counted:?}");
            assert!(counted.failed.iter().all(|answer| answer.starts_with("-INDOUBT")), "{key}: {counted:?}");
            let failed = counted.failed.len() as i64;
            assert!((counted.acknowledged..=counted.acknowledged + failed).contains(&counted.last), "{counted:?}");
            let mut client = cluster.nodes[next].connect().expect("it serves");
            let stored: i64 = say(&mut client, &format!("GET {key}")).parse().expect("a number");
            assert!((counted.last..=counted.acknowledged + failed).contains(&stored), "{key}: {stored}, {counted:?}");
        }
    }
    // An operator's handover costs nothing, wherever the client is.
    let leader = cluster.leader();
    let counters: Vec<Counter> =
        (0..3).map(|place| Counter::start(cluster.nodes[place].address(), format!("handover:{place}"))).collect();
    thread::sleep(Duration::from_millis(300));
    let to = cluster.nodes[(leader + 1) % 3].id.to_string();
    let at = format!("127.0.0.1:{}", cluster.nodes[0].grpc_port);
    let moved = talon_cluster_tests::talon(&["cluster", "transfer", &to, "--at", &at]);
    assert_eq!(moved.code, Some(0), "{moved:?}");
    thread::sleep(Duration::from_millis(700));
    for counter in counters {
        let counted = counter.finish();
        println!("handover: {counted:?}");
        assert!(counted.failed.is_empty() && counted.acknowledged == counted.last, "{counted:?}");
    }
    verify(&cluster);
}

#[test]
fn a_bounded_read_is_fresh_or_says_that_it_is_not() {
    let _turn = alone();
    let mut cluster = Cluster::start_with(&ClusterOptions::nodes(3).flag("--hold-ms-max", "1500"));
    let leader = cluster.leader();
    let (asked, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let mut writer = cluster.nodes[leader].connect().expect("it serves");
    let mut reader = cluster.nodes[asked].connect().expect("it serves");
    assert_eq!(say(&mut writer, "SET k old"), "OK");
    assert_eq!(say(&mut reader, "CLIENT CONSISTENCY LINEARIZABLE"), "OK");
    assert_eq!(say(&mut reader, "GET k"), "old");
    assert_eq!(say(&mut reader, "CLIENT CONSISTENCY BOUNDED 300"), "OK");
    assert_eq!(say(&mut reader, "GET k"), "old");

    // The leader stops, and so does the other follower: nobody takes over.
    let signal = |cluster: &mut Cluster, place: usize, signal| {
        cluster.nodes[place].process().expect("it runs").signal(signal).expect("it takes signals");
    };
    signal(&mut cluster, other, SIGSTOP);
    signal(&mut cluster, leader, SIGSTOP);
    let mut stale = String::new();
    let is_stale = wait_until(Duration::from_secs(5), || {
        stale = say(&mut reader, "GET k");
        stale.starts_with("-STALE")
    });
    assert!(is_stale, "{stale}");
    let behind: u64 = stale.split(' ').nth(3).and_then(|word| word.parse().ok()).expect("a number");
    assert!(behind >= 300 && stale.ends_with("(bound 300 ms)"), "{stale}");
    assert_eq!(say(&mut reader, "CLIENT CONSISTENCY LINEARIZABLE"), "OK");
    assert!(say(&mut reader, "GET k").starts_with("-CLUSTERDOWN"));
    assert_eq!(say(&mut reader, "CLIENT CONSISTENCY SNAPSHOT"), "OK");
    assert_eq!(say(&mut reader, "GET k"), "old");
    assert_eq!(say(&mut reader, "CLIENT CONSISTENCY BOUNDED 300"), "OK");
    signal(&mut cluster, leader, SIGCONT);
    signal(&mut cluster, other, SIGCONT);
    assert!(wait_until(PATIENCE, || say(&mut reader, "GET k") == "old"));

    // A follower that stood still finds word from its leader in its sockets, as old as its own state.
    for round in 0..if is_long() { 20 } else { 4 } {
        cluster.wait_until_serving();
        let leader = cluster.leader();
        let asked = (leader + 1) % 3;
        let mut writer = cluster.nodes[leader].connect().expect("it serves");
        let mut reader = cluster.nodes[asked].connect().expect("it serves");
        assert_eq!(say(&mut reader, "CLIENT CONSISTENCY BOUNDED 300"), "OK");
        assert!(wait_until(PATIENCE, || !say(&mut reader, "GET k").starts_with('-')));
        signal(&mut cluster, asked, SIGSTOP);
        let value = format!("new{round}");
        assert_eq!(say(&mut writer, &format!("SET k {value}")), "OK");
        let acknowledged = Instant::now();
        thread::sleep(Duration::from_millis(450));
        reader.send(&["GET", "k"]).expect("sent");
        assert!(acknowledged.elapsed() > Duration::from_millis(300));
        signal(&mut cluster, asked, SIGCONT);
        let answer = reader.receive().expect("an answer");
        let is_right = match &answer {
            Value::Error(text) => text.starts_with("STALE"),
            other => other.text().as_deref() == Some(&value),
        };
        assert!(is_right, "{answer:?} for {value}");
    }
    verify(&cluster);
}

#[test]
fn a_replica_answers_with_what_the_client_wrote_elsewhere() {
    let _turn = alone();
    let cluster = Cluster::start(3);
    let leader = cluster.leader();
    let mut writer = cluster.nodes[leader].connect().expect("it serves");
    assert_eq!(say(&mut writer, "CLIENT LASTINDEX"), "0");
    let mut readers: Vec<Client> =
        (1..3).map(|step| cluster.nodes[(leader + step) % 3].connect().expect("it serves")).collect();
    let mut last = 0;
    for n in 0..200 {
        assert_eq!(say(&mut writer, &format!("SET k {n}")), "OK");
        let index: u64 = say(&mut writer, "CLIENT LASTINDEX").parse().expect("an index");
        assert!(index > last, "{index} after {last}");
        last = index;
        for reader in &mut readers {
            assert_eq!(say(reader, &format!("WAITINDEX {index} 10000")), "OK");
            assert_eq!(say(reader, "GET k"), n.to_string());
        }
    }
    let far = last + 1_000_000;
    let answer = say(&mut readers[0], &format!("WAITINDEX {far} 100"));
    assert!(
        answer.starts_with("-STALE replica is at index") && answer.ends_with(&format!("not yet at {far}")),
        "{answer}"
    );
}

#[test]
fn a_node_can_be_told_how_to_answer_reads() {
    let _turn = alone();
    let cluster = Cluster::start_with(&ClusterOptions::nodes(3).flag("--consistency", "linearizable"));
    let leader = cluster.leader();
    let mut writer = cluster.nodes[leader].connect().expect("it serves");
    let mut reader = cluster.nodes[(leader + 1) % 3].connect().expect("it serves");
    assert_eq!(say(&mut reader, "CLIENT CONSISTENCY"), "linearizable");
    for n in 0..200 {
        assert_eq!(say(&mut writer, &format!("SET k {n}")), "OK");
        assert_eq!(say(&mut reader, "GET k"), n.to_string());
    }
    let nonsense = talon_cluster_tests::talon(&["server", "--consistency", "bounded soon"]);
    assert_ne!(nonsense.code, Some(0));
    assert!(nonsense.complaint.contains("none of default, linearizable"), "{nonsense:?}");
}

//! File descriptors run out: clients get only what the node does not need, an accept that fails does not spin, and everything goes on
//! when there are some again.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use talon_cluster_tests::verify;
use talon_damage_tests::{Data, Random};
use talon_tests_support::{Client, Cluster, ClusterOptions, Node, Value, talon_binary, wait_until};

use crate::alone;

/// What the node itself may need is a little less.
const LIMIT: u64 = 900;

fn log(node: &Node) -> String {
    std::fs::read_to_string(&node.log).expect("its log")
}

#[test]
fn clients_get_only_the_descriptors_that_the_node_does_not_need() {
    let _turn = alone();
    let options = ClusterOptions::nodes(3)
        .flag("--log-segment-bytes", "1048576")
        .flag("--log-bytes-before-checkpoint", "1048576")
        .flag("--log-bytes-max", "4194304");
    // prlimit becomes the node.
    let binary = talon_binary().to_string_lossy().into_owned();
    let limited = ["prlimit".to_owned(), format!("--nofile={LIMIT}:{LIMIT}"), binary];
    let mut cluster = Cluster::start_with(&options.program(limited));
    let leader = cluster.leader();
    let text = log(&cluster.nodes[leader]);
    let said = text.lines().find(|line| line.contains("maxclients is reduced to")).expect("the log says it").to_owned();
    println!("{said}");
    let mut first = cluster.nodes[leader].connect().expect("it serves");
    let config = first.call(&["CONFIG", "GET", "maxclients"]).expect("an answer");
    let Value::Array(words) = config else { panic!("{config:?}") };
    let clients_max: usize = words[1].text().and_then(|text| text.parse().ok()).expect("a number");
    assert!(said.contains(&format!("reduced to {clients_max}")), "{said}");
    // Twice as many as may: the others are told so.
    let (mut served, mut refused) = (Vec::new(), 0);
    for _ in 0..2 * clients_max {
        let mut client = cluster.nodes[leader].connect().expect("the door is there");
        match client.call(&["PING"]) {
            Ok(Value::Error(line)) => {
                assert!(line.contains("max number of clients"), "{line}");
                refused += 1;
            }
            Ok(_) => served.push(client),
            Err(_) => refused += 1,
        }
    }
    assert!(served.len() <= clients_max && refused >= clients_max, "{} served, {refused} refused", served.len());
    // With all places taken, the log goes on into new segments, and checkpoints are made.
    let (mut random, mut data) = (Random::new(8), Data::new());
    data.write(&mut first, &mut random, "full-house", 6_000, 1_000).expect("writes are taken");
    sleep(Duration::from_secs(1));
    assert!(log(&cluster.nodes[leader]).contains("made a checkpoint"));
    println!("{} clients served, {refused} refused, {} values written meanwhile", served.len(), data.len());
    drop(served);
    let again = wait_until(Duration::from_secs(10), || {
        let client = cluster.nodes[leader].connect();
        client.and_then(|mut client| client.call(&["PING"])).is_ok_and(|pong| pong == Value::Simple("PONG".to_owned()))
    });
    assert!(again, "nobody is let in when places are free again");
    assert_eq!(data.compare(&mut first).expect("an answer"), None);
    verify(&cluster);
    assert!((0..3).all(|node| cluster.nodes[node].is_running()));
}

fn set_limit(node: &mut Node, limit: u64) {
    let pid = node.process().expect("it runs").pid().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}:")]).status();
    assert!(status.expect("prlimit is there").success(), "the limit cannot be set");
}

fn open_files(node: &mut Node) -> u64 {
    let pid = node.process().expect("it runs").pid();
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").count() as u64
}

/// Time on processors so far.
fn cpu(node: &mut Node) -> Duration {
    let pid = node.process().expect("it runs").pid();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("its figures");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    // The kernel counts hundredths of a second, everywhere.
    Duration::from_millis(ticks * 10)
}

#[test]
fn without_a_descriptor_no_door_spins_and_open_connections_go_on() {
    let _turn = alone();
    let mut cluster = Cluster::start(1);
    let node = &mut cluster.nodes[0];
    let mut open = node.connect().expect("it serves");
    assert_eq!(open.call(&["SET", "k", "v"]).expect("an answer"), Value::Simple("OK".to_owned()));
    let limit = open_files(node) + 4;
    set_limit(node, limit);
    // Connections wait at every door, and nobody can take them in.
    let doors = [node.resp_port, node.grpc_port, node.raft_port, node.http_port];
    let address = |port: u16| ([127, 0, 0, 1], port).into();
    let waiting: Vec<Client> =
        (0..10).flat_map(|_| doors).map(|port| Client::connect(address(port)).expect("the system takes it")).collect();
    sleep(Duration::from_millis(500));
    let (before, begun) = (cpu(node), Instant::now());
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        assert_eq!(open.call(&["GET", "k"]).expect("an answer").text().as_deref(), Some("v"));
        assert_eq!(open.call(&["SET", "k", "v"]).expect("an answer"), Value::Simple("OK".to_owned()));
        slowest = slowest.max(asked.elapsed());
        sleep(Duration::from_millis(100));
    }
    let spent = cpu(node) - before;
    println!(
        "without descriptors for 4 s: {} ms of processor time, slowest GET and SET {} ms",
        spent.as_millis(),
        slowest.as_millis()
    );
    assert!(spent < Duration::from_millis(1_200), "a door spins: {spent:?} of processor time in 4 s");
    assert!(log(node).contains("cannot accept a connection"), "it does not say so:\n{}", log(node));
    set_limit(node, 4_096);
    drop(waiting);
    let again =
        wait_until(Duration::from_secs(10), || node.connect().and_then(|mut client| client.call(&["PING"])).is_ok());
    assert!(again, "nobody is let in when there are descriptors again");
}

#[test]
fn a_segment_that_cannot_be_made_stops_the_node_loudly_and_loses_nothing() {
    let _turn = alone();
    let options = ClusterOptions::nodes(1)
        .flag("--log-segment-bytes", "1048576")
        .flag("--log-bytes-before-checkpoint", "67108864")
        .flag("--log-bytes-max", "67108864");
    let mut cluster = Cluster::start_with(&options);
    let node = &mut cluster.nodes[0];
    let mut client = node.connect().expect("it serves");
    let limit = open_files(node);
    set_limit(node, limit);
    let (mut acknowledged, mut random) = (Vec::new(), Random::new(3));
    for number in 0..2_000 {
        let (key, value) = (format!("k{number}"), random.text(2_000));
        match client.call(&["SET", &key, &value]) {
            Ok(Value::Simple(_)) => acknowledged.push((key, value)),
            _ => break,
        }
    }
    let ended = wait_until(Duration::from_secs(20), || !node.is_running());
    assert!(ended && acknowledged.len() < 2_000, "it goes on without a new segment");
    let status = node.process().and_then(talon_tests_support::Process::exit_status).expect("it has ended");
    assert_eq!(status.code(), Some(1), "{status}");
    let text = log(node);
    let said = text.lines().find(|line| line.contains("Too many open files")).expect("it says why");
    assert!(said.contains(".log"), "it does not name the file: {said}");
    println!("{} values taken, then: {said}", acknowledged.len());
    // The limit was that of the process that has ended.
    node.start().expect("it can be started");
    cluster.wait_until_serving();
    let mut client = cluster.connect_to_leader();
    for (key, value) in &acknowledged {
        assert_eq!(client.call(&["GET", key]).expect("an answer").text().as_ref(), Some(value), "LOST: {key}");
    }
}

//! What spans several connections: transactions that watch, subscriptions and messages, in RESP2 and RESP3; each step is carried out on both
//! servers, and everything that any of the connections is sent is compared.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;

use talon_judge::is_long;
use talon_judge::random::Random;
use talon_tests_support::{Bytes, Client, Cluster, ClusterOptions, RedisServer};

/// How many connections there are: half of them speak RESP3.
const SEATS: usize = 4;
const KEYS: [&str; 3] = ["a", "b", "c"];
const CHANNELS: [&str; 3] = ["news", "nice", "other"];
const PATTERNS: [&str; 2] = ["n*", "*"];

/// All connections to one server.
struct Side(Vec<Client>);

impl Side {
    fn connect(address: SocketAddr) -> Side {
        let mut seats: Vec<Client> = (0..SEATS).map(|_| Client::connect(address).expect("connected")).collect();
        for client in seats.iter_mut().skip(SEATS / 2) {
            client.call(&["HELLO", "3"]).expect("answered");
        }
        Side(seats)
    }

    /// Sends commands at once on one connection; what each of them is sent then, in no order.
    fn step(&mut self, seat: usize, commands: &[Vec<&str>], number: usize) -> Vec<Vec<Bytes>> {
        for words in commands {
            self.0[seat].send(words).expect("sent");
        }
        let mut received = vec![Vec::new(); SEATS];
        // The connection that acts first: what it does must have happened. Each is asked twice, for messages may come behind the first answer.
        let others = (0..SEATS).filter(|other| *other != seat);
        for round in 0..2 {
            for other in std::iter::once(seat).chain(others.clone()) {
                let marker = format!("marker-{number}-{round}");
                let client = &mut self.0[other];
                client.send(&["PING", &marker]).expect("sent");
                loop {
                    let frame = client.receive_bytes().expect("answered");
                    if frame.windows(marker.len()).any(|window| window == marker.as_bytes()) {
                        break;
                    }
                    received[other].push(frame);
                }
            }
        }
        received.iter_mut().for_each(|frames| frames.sort());
        received
    }
}

/// Commands that are sent at once, by a connection with these subscriptions.
fn commands(random: &mut Random, subscribed: &mut BTreeSet<&'static str>) -> Vec<Vec<&'static str>> {
    let key = random.pick(&KEYS);
    let other_key = random.pick(&KEYS);
    let channel = random.pick(&CHANNELS);
    match random.below(20) {
        0 => {
            subscribed.insert(channel);
            vec![vec!["SUBSCRIBE", channel]]
        }
        1 => {
            let pattern = random.pick(&PATTERNS);
            subscribed.insert(pattern);
            vec![vec!["PSUBSCRIBE", pattern]]
        }
        2 | 3 => {
            subscribed.remove(channel);
            vec![vec!["UNSUBSCRIBE", channel]]
        }
        4 => {
            subscribed.retain(|name| !PATTERNS.contains(name));
            vec![vec!["PUNSUBSCRIBE", PATTERNS[0]], vec!["PUNSUBSCRIBE", PATTERNS[1]]]
        }
        // Several at once come in any order.
        5 if CHANNELS.iter().filter(|channel| subscribed.contains(*channel)).count() < 2 => {
            subscribed.retain(|name| PATTERNS.contains(name));
            vec![vec!["UNSUBSCRIBE"]]
        }
        5 | 6 => vec![vec!["PUBLISH", channel, "message"]],
        7 | 8 => vec![vec!["WATCH", key, other_key]],
        9 => vec![vec!["UNWATCH"]],
        10 => vec![vec!["SET", key, "1"]],
        11 => vec![vec!["SETNX", key, "2"], vec!["PERSIST", key]],
        12 => vec![vec!["DEL", key]],
        13 => vec![vec!["EXPIRE", key, "1000"], vec!["GET", other_key]],
        14 => vec![vec!["FLUSHALL"]],
        15 => vec![vec!["MULTI"], vec!["WATCH", key], vec!["DISCARD"]],
        16 => vec![vec!["WATCH", key], vec!["SET", other_key, "3"], vec!["MULTI"], vec!["INCR", key], vec!["EXEC"]],
        17 => vec![vec!["MULTI"], vec!["NOSUCH"], vec!["EXEC"]],
        // Redis would send the message in the middle of the reply to EXEC.
        18 if !subscribed.is_empty() => vec![vec!["MULTI"], vec!["GET", key], vec!["INCR", other_key], vec!["EXEC"]],
        19 if !subscribed.is_empty() => vec![vec!["GET", key]],
        _ => vec![
            vec!["MULTI"],
            vec!["INCR", key],
            vec!["PUBLISH", channel, "from a transaction"],
            vec!["GET", other_key],
            vec!["EXEC"],
        ],
    }
}

#[test]
fn connections_see_of_each_other_what_they_see_on_redis() {
    let cluster = Cluster::start(3);
    compare(cluster.nodes[cluster.leader()].address(), 0..2);
}

/// The leader does the work, and nobody notices.
#[test]
fn so_they_do_on_a_node_that_forwards() {
    let mut cluster = Cluster::start_with(&ClusterOptions::nodes(3).flag("--writes-on-follower", "forward"));
    cluster.wait_until_serving();
    compare(cluster.nodes[(cluster.leader() + 1) % 3].address(), 2..4);
}

/// Carries out the steps of these seeds on a node and on a redis-server.
fn compare(node: SocketAddr, seeds: Range<u64>) {
    let redis = RedisServer::start(&[]);
    let steps = if is_long() { 20_000 } else { 1_500 };
    for seed in seeds {
        let mut random = Random::new(seed);
        let mut theirs = Side::connect(redis.address());
        let mut ours = Side::connect(node);
        let mut subscribed: [BTreeSet<&'static str>; SEATS] = Default::default();
        let mut lines = Vec::new();
        let mut aborted = 0;
        for number in 0..steps {
            let seat = random.below(SEATS);
            let commands = commands(&mut random, &mut subscribed[seat]);
            let line = commands.iter().map(|words| words.join(" ")).collect::<Vec<_>>().join(" | ");
            lines.push(format!("{seat}: {line}"));
            let expected = theirs.step(seat, &commands, number);
            let replies = ours.step(seat, &commands, number);
            let before = lines.len().saturating_sub(30);
            assert_eq!(replies, expected, "seed {seed}, by connection, behind\n{}", lines[before..].join("\n"));
            aborted += usize::from(
                commands.iter().any(|words| words[0] == "EXEC") && replies[seat].iter().any(|frame| is_null(frame)),
            );
        }
        println!("seed {seed}: {steps} steps, {aborted} transactions were not carried out");
        assert!(aborted > steps / 200, "watches that never hold anything up prove nothing");
    }
}

/// What EXEC answers when a watched key was touched.
fn is_null(frame: &[u8]) -> bool {
    frame == b"*-1\r\n" || frame == b"_\r\n"
}

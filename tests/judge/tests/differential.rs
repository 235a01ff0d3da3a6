//! Random sequences of commands, answered by Talon as by redis-server. `TALON_LONG=1` carries out many more seeds,
//! `TALON_SEED=n` only that one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use talon_judge::pair::as_script;
use talon_judge::{Pair, generate, is_long, shrink};
use talon_tests_support::{Cluster, RedisServer};

/// How often a long run tells how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// `long`: how many commands a long run carries out, with new seeds.
fn judge(nodes: u16, seeds: std::ops::Range<u64>, commands: usize, long: usize) {
    let redis = RedisServer::start(&[]);
    let cluster = Cluster::start(nodes);
    let pair = Pair::new(cluster.nodes[cluster.leader()].address(), redis.address());
    let only: Option<u64> = std::env::var("TALON_SEED").ok().map(|seed| seed.parse().expect("TALON_SEED is a number"));
    let seeds = match only {
        Some(seed) => seed..seed + 1,
        None if is_long() => seeds.start..u64::MAX,
        None => seeds,
    };
    let start = Instant::now();
    let mut told = start;
    let mut done = 0;
    // How often each command was carried out, and refused.
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for seed in seeds {
        if only.is_none() && is_long() {
            if done >= long {
                break;
            }
            if told.elapsed() > TOLD_EVERY {
                println!("{done} of {long} commands on {nodes} node(s)");
                told = Instant::now();
            }
        }
        let steps = generate::sequence(seed, commands);
        for resp3 in [false, true] {
            match pair.run(&steps, resp3).expect("both servers answer") {
                Err(mismatch) => {
                    let (steps, mismatch) =
                        shrink::shrink(&pair, &steps, mismatch, resp3).expect("both servers answer");
                    panic!("seed {seed}: answered otherwise\n\n{}\n", as_script(&steps, &mismatch, resp3));
                }
                Ok(replies) => {
                    let names = steps.iter().map(|step| String::from_utf8_lossy(&step.words[0]).to_ascii_lowercase());
                    for (name, reply) in names.zip(&replies) {
                        let (carried_out, refused) = counts.entry(name).or_insert((0, 0));
                        *if reply.starts_with(b"-") { refused } else { carried_out } += 1;
                    }
                }
            }
            done += steps.len();
        }
    }
    println!("{done} commands in {:?}: {counts:?}", start.elapsed());
    // A generator that only makes errors, or none, would prove nothing.
    for name in generate::names() {
        assert!(counts.get(&name).is_some_and(|(carried_out, _)| *carried_out > 0), "{name} was never carried out");
    }
    let refused: usize = counts.values().map(|(_, refused)| refused).sum();
    assert!((done / 20..done / 2).contains(&refused), "{refused} of {done} commands were refused");
}

#[test]
fn a_single_node_answers_as_redis() {
    judge(1, 0..6, 2_000, 900_000);
}

#[test]
fn the_leader_of_three_nodes_answers_as_redis() {
    judge(3, 1_000_000..1_000_002, 1_500, 100_000);
}

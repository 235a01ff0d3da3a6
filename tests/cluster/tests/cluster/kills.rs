//! kill -9 under load: what was acknowledged is there, nothing is there twice, and all nodes end byte-equal.

use std::time::{Duration, Instant};

use talon_cluster_tests::{AllBooks, Load, LoadOptions, Totals, is_long, verify};
use talon_tests_support::Cluster;

use crate::{addresses, alone, any, ms, rest_up_to};

const WRITERS: usize = 6;
/// How long writes may take to go on after a kill; a new leader is there after about 1.5 s.
const GOES_ON_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Leader,
    Follower,
    All,
}

#[test]
fn the_leader_is_killed() {
    rounds(Victim::Leader);
}

#[test]
fn a_follower_is_killed() {
    rounds(Victim::Follower);
}

#[test]
fn all_nodes_are_killed_at_once() {
    rounds(Victim::All);
}

fn rounds(victim: Victim) {
    let _turn = alone();
    let rounds = if is_long() { 20 } else { 3 };
    let mut cluster = Cluster::start(3);
    let (mut totals, mut gap_max, mut all) = (Totals::default(), Duration::ZERO, Vec::new());
    for round in 1..=rounds {
        let begun = Instant::now();
        let load = Load::start(&addresses(&cluster), &LoadOptions::new(&format!("{victim:?}{round}"), WRITERS));
        assert!(load.goes_on(200, GOES_ON_MAX), "the load does not begin");
        rest_up_to(800);
        kill(&mut cluster, victim, &load);
        cluster.wait_until_serving();
        assert!(load.goes_on(200, GOES_ON_MAX), "writes do not go on after all nodes are back");
        let gap = load.gap();
        let mut books: AllBooks = load.stop();
        let round_totals = books.check(&mut cluster.connect_to_leader());
        let rows = verify(&cluster);
        println!(
            "kill -9 of {victim:?}, round {round}: {round_totals}; {} looks; longest gap {} ms; errors {:?}; {rows} rows equal \
             on all nodes; {} ms",
            books.observations,
            gap.as_millis(),
            books.errors(),
            ms(begun)
        );
        totals += &round_totals;
        gap_max = gap_max.max(gap);
        all.push(books);
    }
    // What later rounds did must not have touched the earlier ones.
    let mut leader = cluster.connect_to_leader();
    for books in &mut all {
        books.check(&mut leader);
    }
    println!("kill -9 of {victim:?}, {rounds} rounds: {totals}; longest gap {} ms", gap_max.as_millis());
}

fn kill(cluster: &mut Cluster, victim: Victim, load: &Load) {
    let leader = cluster.leader();
    let killed: Vec<usize> = match victim {
        Victim::Leader => vec![leader],
        Victim::Follower => vec![(leader + 1 + any(2) as usize) % 3],
        Victim::All => vec![0, 1, 2],
    };
    // SIGKILL to all of them first: waiting for one to be gone would give the others time.
    for place in &killed {
        let process = cluster.nodes[*place].process().expect("it runs");
        process.signal(nix::sys::signal::Signal::SIGKILL).expect("it can be killed");
    }
    killed.iter().for_each(|place| cluster.nodes[*place].kill());
    if victim != Victim::All {
        assert!(load.goes_on(200, GOES_ON_MAX), "two of three nodes do not go on");
    }
    rest_up_to(500);
    for place in &killed {
        cluster.nodes[*place].start().expect("it can be started again");
    }
}

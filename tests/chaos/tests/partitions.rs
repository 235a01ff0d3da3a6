//! Three nodes on hosts of their own, whose network is taken apart while clients on both sides read and write.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use talon_chaos_tests::{
    Answered, Load, Network, Patience, Plan, Post, Recorder, Wires, any, assert_equal_nodes, assert_right, is_long,
    say_skipped, targets, wait_until_whole,
};
use talon_tests_support::{Cluster, ClusterOptions};

/// The seats: the nodes, the clients on either side, and the test itself, whom nothing is done to.
const NODES: usize = 3;
const HERE: usize = 3;
const THERE: usize = 4;
const WATCH: usize = 5;
const SEATS: u8 = 6;
/// The posts of the clients on the side of the leader, and on the other one.
const POSTS_HERE: [usize; 2] = [0, 1];
/// Those on the other one that look elsewhere soon. A third one waits for the answer of a leader it cannot reach.
const POSTS_THERE: [usize; 2] = [2, 3];
/// How many reads, and how many writes, each client has to get answered before it counts as going on.
const GOES_ON: u64 = 3;
const GOES_ON_WITHIN: Duration = Duration::from_secs(60);
/// After this time a leader that has lost its majority must have stopped answering; twice what the README promises.
const STOPS_WITHIN: Duration = Duration::from_secs(3);

const DELAY: Duration = Duration::from_millis(200);

static TURN: Mutex<()> = Mutex::new(());

/// What is done to the network, given the leader's seat and those of the other nodes.
struct Fault {
    name: &'static str,
    strike: fn(&Network, usize, [usize; 2]) -> std::io::Result<()>,
    /// The clients that must be served meanwhile.
    served: &'static [usize],
    /// The clients that must not be.
    cut_off: &'static [usize],
}

const CUT_OFF: Fault = Fault {
    name: "the leader and its clients are parted from the majority and theirs",
    strike: |network, leader, others| network.part(&[leader, HERE], &[others[0], others[1], THERE]),
    served: &POSTS_THERE,
    cut_off: &POSTS_HERE,
};
const UNHEARD: Fault = Fault {
    name: "one way: nobody hears the leader",
    strike: |network, leader, others| others.iter().try_for_each(|other| network.lose(leader, *other)),
    served: &[0, 1, 2, 3, 4],
    cut_off: &[],
};
const DEAF: Fault = Fault {
    name: "one way: the leader hears nobody",
    strike: |network, leader, others| others.iter().try_for_each(|other| network.lose(*other, leader)),
    served: &[0, 1, 2, 3, 4],
    cut_off: &[],
};
const UNHEARD_BY_ONE: Fault = Fault {
    name: "one way: one follower does not hear the leader",
    strike: |network, leader, others| network.lose(leader, others[0]),
    served: &[0, 1, 2, 3, 4],
    cut_off: &[],
};

const SLOW_LEADER: Fault = Fault {
    name: "200 ms of delay on all that the leader sends",
    strike: |network, leader, _| network.delay(leader, DELAY),
    served: &[0, 1, 2, 3, 4],
    cut_off: &[],
};
const SLOW_ALL: Fault = Fault {
    name: "200 ms of delay on all that every node sends",
    strike: |network, _, _| (0..NODES).try_for_each(|place| network.delay(place, DELAY)),
    served: &[0, 1, 2, 3, 4],
    cut_off: &[],
};

/// Runs `story` where the cluster and its network can be seen from, or says why it cannot.
fn with_cluster(
    what: &str,
    wires: impl FnOnce() -> std::io::Result<Wires>,
    story: impl FnOnce(&Network, &mut Cluster) + Send,
) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(why) = Network::missing() {
        return say_skipped(what, &why);
    }
    let wires = match wires() {
        Ok(wires) => wires,
        Err(error) => return say_skipped(what, &error.to_string()),
    };
    let network = Network::new(SEATS, wires).expect("a network can be made here");
    thread::scope(|scope| {
        scope.spawn(|| {
            network.seat(WATCH).enter().expect("the seat can be taken");
            let hosts = (0..NODES).map(|place| network.seat(place).host()).collect();
            story(&network, &mut Cluster::start_with(&ClusterOptions::hosts(hosts)));
        });
    });
}

fn posts(network: &Network) -> Vec<Post<'_>> {
    let post = |seat: usize, patience| Post { seat: Some(network.seat(seat)), patience };
    let (here, there) = ([Patience::SHORT, Patience::LONG], [Patience::SHORT, Patience::SHORT, Patience::LONG]);
    here.map(|patience| post(HERE, patience)).into_iter().chain(there.map(|patience| post(THERE, patience))).collect()
}

fn of(posts: &[usize], answered: &[Answered]) -> Vec<Answered> {
    posts.iter().map(|post| answered[*post]).collect()
}

/// One fault, for so long at least, and what must hold while it lasts and behind it.
fn round(number: usize, fault: &Fault, least: Duration, network: &Network, cluster: &mut Cluster) {
    cluster.wait_until_serving();
    let (plan, recorder) = (Plan::new(&format!("partition{number}")), Recorder::start());
    let posts = posts(network);
    let load = Load::start(&posts, &targets(cluster), &plan, &recorder);
    assert!(load.goes_on(&[0, 1, 2, 3, 4], GOES_ON, GOES_ON_WITHIN), "before any fault: {:?}", load.answered());

    thread::sleep(Duration::from_millis(any(200)));
    let leader = cluster.leader();
    let others: Vec<usize> = (0..NODES).filter(|place| *place != leader).collect();
    let struck = Instant::now();
    (fault.strike)(network, leader, [others[0], others[1]]).expect("the network obeys");
    let goes_on = load.goes_on(fault.served, GOES_ON, GOES_ON_WITHIN);
    let served_after = struck.elapsed();
    assert!(goes_on, "{}: clients {:?} must be served, but: {:?}", fault.name, fault.served, load.answered());
    thread::sleep(STOPS_WITHIN.saturating_sub(struck.elapsed()));
    let cut_off = of(fault.cut_off, &load.answered());
    thread::sleep(least.saturating_sub(struck.elapsed()));
    let still = of(fault.cut_off, &load.answered());
    assert_eq!(still, cut_off, "{}: a leader without a majority answers clients {:?}", fault.name, fault.cut_off);

    network.heal().expect("the network obeys");
    let lasted = struck.elapsed();
    let whole_after = wait_until_whole(cluster, &load, posts.len());
    let seen = assert_right(load.stop(), &plan, &targets(cluster), &recorder);
    assert_equal_nodes(cluster);
    println!(
        "round {number}: {}: {GOES_ON} reads and writes of each client that can be served after {} ms; healed after {} ms, whole after {} more; {seen}",
        fault.name,
        served_after.as_millis(),
        lasted.as_millis(),
        whole_after.as_millis()
    );
}

#[test]
fn a_parted_network_makes_no_wrong_answer() {
    let rounds: &[(Fault, u64)] = &[(CUT_OFF, 4), (UNHEARD, 4), (DEAF, 4), (UNHEARD_BY_ONE, 4)];
    let times = if is_long() { 10 } else { 1 };
    with_cluster(
        "partitions and one-way losses between real processes",
        || Ok(Wires::Veth),
        |network, cluster| {
            for time in 0..times {
                for (place, (fault, least_s)) in rounds.iter().enumerate() {
                    let least = Duration::from_secs(least_s * if time > 0 { 1 + any(5) } else { 1 });
                    round(time * rounds.len() + place + 1, fault, least, network, cluster);
                }
            }
        },
    );
}

#[test]
fn a_slow_network_makes_no_wrong_answer() {
    let times = if is_long() { 10 } else { 1 };
    with_cluster("200 ms of delay between real processes", Network::wires_that_delay, |network, cluster| {
        for time in 0..times {
            for (place, fault) in [SLOW_LEADER, SLOW_ALL].iter().enumerate() {
                round(time * 2 + place + 101, fault, Duration::from_secs(4), network, cluster);
            }
        }
    });
}

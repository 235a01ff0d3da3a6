//! Every client through kill -9 of the leader and through a planned hand-over, found by Sentinel and by Cluster commands:
//! at most one command fails, nothing that was acknowledged is lost, and nothing is carried out twice.

use std::time::Duration;

use talon_clients_tests::{Program, Runner, Verdict, judge, node, program, python, table};
use talon_cluster_tests::{is_long, verify};
use talon_tests_support::{Cluster, Value};

use crate::{alone, ports};

/// How long a client may take until it writes again.
const GOES_ON_MAX: Duration = Duration::from_secs(30);
/// How many commands a client may have fail in one failover: the one that was under way.
const FAILED_MAX: u64 = 1;
/// For some, the next one as well: node-redis's cluster client queues it for the dead node before it looks for the new leader.
/// ioredis without retries fails what is queued whenever a connection cannot be made.
const FAILED_WITH_NEXT_MAX: u64 = 2;
/// How many clients go through the same failover: together they must leave the machine some time.
const AT_ONCE: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Kill,
    HandOver,
}

/// A client as an application sets it up.
struct Setup {
    client: &'static str,
    runner: Runner,
    discovery: &'static str,
    /// The client's own retries: `default`, or `off`. `once`: as by default, and the program sends again what failed, with `ONCE`.
    retries: &'static str,
    failed_max: u64,
}

impl Setup {
    fn name(&self) -> String {
        format!("{} {} {}", self.client, self.discovery, self.retries)
    }

    /// A counter of its own.
    fn key(&self) -> String {
        self.name().replace(' ', ":")
    }
}

fn setups() -> Vec<Setup> {
    const BOTH: &[&str] = &["sentinel", "cluster"];
    const CLUSTER: &[&str] = &["cluster"];
    const SWITCH: &[&str] = &["off", "default", "once"];
    const DEFAULT: &[&str] = &["default", "once"];
    let redis_py = "failover_redis_py.py";
    let clients = [
        ("redis-py 8", Some(python("current", redis_py)), BOTH, SWITCH),
        ("redis-py 5.3", Some(python("redis-5", redis_py)), BOTH, SWITCH),
        ("valkey-glide", Some(python("current", "failover_glide.py")), CLUSTER, DEFAULT),
        ("ioredis", node("failover_ioredis.mjs"), BOTH, SWITCH),
        ("node-redis", node("failover_node_redis.mjs"), BOTH, DEFAULT),
        // Without retries it does not follow redirections either.
        ("redis-rs", Some(program(env!("CARGO_BIN_EXE_failover_redis_rs"))), CLUSTER, DEFAULT),
    ];
    let mut setups = Vec::new();
    for (client, runner, discoveries, switches) in clients {
        let Some(runner) = runner else { continue };
        for &discovery in discoveries {
            for &retries in switches {
                let failed_max = match (client, discovery, retries) {
                    ("node-redis", "cluster", _) | ("ioredis", "sentinel", "off") => FAILED_WITH_NEXT_MAX,
                    _ => FAILED_MAX,
                };
                setups.push(Setup { client, runner: runner.clone(), discovery, retries, failed_max });
            }
        }
    }
    setups
}

fn counter(cluster: &Cluster, key: &str) -> u64 {
    let value = cluster.connect_to_leader().call(&["GET", key]).expect("an answer");
    value.text().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{key} is {value:?}"))
}

fn cause(event: Event, cluster: &mut Cluster, leader: usize) {
    match event {
        Event::Kill => cluster.nodes[leader].kill(),
        Event::HandOver => {
            let to = cluster.nodes[(leader + 1) % 3].id.to_string();
            let at = format!("127.0.0.1:{}", cluster.nodes[leader].grpc_port);
            let moved = talon_cluster_tests::talon(&["cluster", "transfer", &to, "--at", &at]);
            assert_eq!(moved.code, Some(0), "{moved:?}");
        }
    }
}

/// These clients at once through one failover, each by the judge's word.
fn one_failover(event: Event, cluster: &mut Cluster, setups: &[Setup]) -> Vec<Verdict> {
    let mut leader = cluster.connect_to_leader();
    for setup in setups {
        assert!(matches!(leader.call(&["DEL", &setup.key()]), Ok(Value::Integer(_))));
    }
    let ports = ports(cluster);
    let start = |setup: &Setup| {
        let words = [setup.discovery, setup.retries, &ports, &setup.key()].map(str::to_owned);
        Program::start(&setup.name(), &setup.runner, &words)
    };
    let mut programs: Vec<Program> = setups.iter().map(start).collect();
    programs.iter_mut().for_each(|program| program.goes_on(50, GOES_ON_MAX));
    let leader = cluster.leader();
    cause(event, cluster, leader);
    programs.iter_mut().for_each(|program| program.goes_on(50, GOES_ON_MAX));
    let outcomes: Vec<_> = programs.into_iter().map(Program::finish).collect();
    if event == Event::Kill {
        cluster.nodes[leader].start().expect("it can be started again");
    }
    cluster.wait_until_serving();
    let judged = setups.iter().zip(&outcomes).map(|(setup, outcomes)| judge(outcomes, counter(cluster, &setup.key())));
    judged.collect()
}

fn row(setup: &Setup, verdict: &Verdict) -> [String; 9] {
    let errors: Vec<String> = verdict.errors.iter().map(|(text, times)| format!("{times}x {text:.60}")).collect();
    [
        setup.client.to_owned(),
        setup.discovery.to_owned(),
        setup.retries.to_owned(),
        verdict.acknowledged.to_string(),
        verdict.failed.to_string(),
        format!("{:.0}", verdict.gap_ms),
        verdict.lost.to_string(),
        verdict.doubled.to_string(),
        errors.join("; "),
    ]
}

/// What is wrong with a verdict, if anything is.
fn complaints(setup: &Setup, verdict: &Verdict) -> Vec<String> {
    let Verdict { failed, lost, doubled, .. } = verdict;
    let checks = [
        (*failed <= setup.failed_max, format!("{failed} commands failed")),
        (*lost == 0, format!("{lost} acknowledged commands are lost")),
        // With its retries it sends again what may have been carried out: that is the client's doing.
        (*doubled == 0 || setup.retries == "default", format!("{doubled} commands were carried out twice")),
    ];
    let bad = checks.into_iter().filter(|(good, _)| !good);
    bad.map(|(_, what)| format!("{}: {what}; {:?}", setup.name(), verdict.errors)).collect()
}

fn through(event: Event) {
    let _turn = alone();
    let rounds = if is_long() { 10 } else { 1 };
    let setups = setups();
    let mut cluster = Cluster::start(3);
    let (mut rows, mut all_complaints) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for group in setups.chunks(AT_ONCE) {
            for (setup, verdict) in group.iter().zip(one_failover(event, &mut cluster, group)) {
                rows.push(row(setup, &verdict));
                all_complaints.extend(complaints(setup, &verdict));
            }
        }
        verify(&cluster);
    }
    rows.sort();
    let heading = ["client", "discovery", "retries", "done", "failed", "gap ms", "lost", "doubled", "with"];
    println!("{event:?} of the leader, {rounds} rounds:\n{}", table(heading, &rows));
    assert!(all_complaints.is_empty(), "{all_complaints:#?}");
}

#[test]
fn kill_of_the_leader() {
    through(Event::Kill);
}

#[test]
fn planned_hand_over() {
    through(Event::HandOver);
}

/// One client at a time, as it comes: how long nothing is written. Figures, and no bound.
#[test]
fn how_long_nothing_is_written() {
    let _turn = alone();
    let rounds = if is_long() { 20 } else { 1 };
    let setups = setups().into_iter().filter(|setup| setup.retries == "default");
    let setups: Vec<Setup> = setups.filter(|setup| ["redis-py 8", "ioredis"].contains(&setup.client)).collect();
    let mut cluster = Cluster::start(3);
    let mut rows = Vec::new();
    for event in [Event::Kill, Event::HandOver] {
        for setup in &setups {
            let mut gaps_ms: Vec<f64> = Vec::new();
            for _ in 0..rounds {
                let verdicts = one_failover(event, &mut cluster, std::slice::from_ref(setup));
                gaps_ms.extend(verdicts.iter().map(|verdict| verdict.gap_ms));
            }
            gaps_ms.sort_by(f64::total_cmp);
            let (median_ms, max_ms) = (gaps_ms[gaps_ms.len() / 2], gaps_ms[gaps_ms.len() - 1]);
            rows.push([
                format!("{event:?}"),
                setup.client.to_owned(),
                setup.discovery.to_owned(),
                rounds.to_string(),
                format!("{median_ms:.0}"),
                format!("{max_ms:.0}"),
            ]);
        }
    }
    let heading = ["event", "client", "discovery", "rounds", "median ms", "max ms"];
    println!("how long nothing is written:\n{}", table(heading, &rows));
}

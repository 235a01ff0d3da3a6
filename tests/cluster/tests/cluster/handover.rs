//! SIGTERM of the leader under load: leadership is handed over, and nobody is told anything but where to go.

use std::time::{Duration, Instant};

use talon_cluster_tests::{Load, LoadOptions, Totals, is_long, member_status, status, verify};
use talon_tests_support::{Cluster, wait_until};

use crate::{addresses, alone, ms, rest_up_to};

/// How long nobody may be acknowledged anything: well below an election.
const GAP_MAX: Duration = Duration::from_millis(1000);

#[test]
fn a_leader_that_is_asked_to_end_hands_over() {
    let _turn = alone();
    let rounds = if is_long() { 20 } else { 4 };
    let mut cluster = Cluster::start(3);
    let (mut totals, mut gap_max) = (Totals::default(), Duration::ZERO);
    for round in 1..=rounds {
        let load = Load::start(&addresses(&cluster), &LoadOptions::new(&format!("term{round}"), 6));
        assert!(load.goes_on(500, Duration::from_secs(30)), "the load does not begin");
        rest_up_to(300);
        let leader = cluster.leader();
        let begun = Instant::now();
        let exit = cluster.nodes[leader].terminate().expect("it ends in time");
        let ended_ms = ms(begun);
        assert_eq!(exit.code(), Some(0), "{exit:?}");
        assert!(load.goes_on(500, Duration::from_secs(30)), "writes do not go on");
        let gap = load.gap();
        cluster.nodes[leader].start().expect("it can be started again");
        cluster.wait_until_serving();
        assert!(load.goes_on(200, Duration::from_secs(30)));
        let mut books = load.stop();
        let round_totals = books.check(&mut cluster.connect_to_leader());
        let errors = books.errors();
        println!(
            "SIGTERM of the leader, round {round}: exit code 0 after {ended_ms} ms; longest gap {} ms; {round_totals}; errors \
             {errors:?}",
            gap.as_millis()
        );
        let harmless = |kind: &String| kind == "MOVED" || kind.starts_with("connection:");
        assert!(errors.keys().all(harmless), "something else than a redirect or a closed connection: {errors:?}");
        assert!(gap < GAP_MAX, "nothing was acknowledged for {} ms", gap.as_millis());
        totals += &round_totals;
        gap_max = gap_max.max(gap);
        verify(&cluster);
    }
    println!("SIGTERM of the leader, {rounds} rounds: {totals}; longest gap {} ms", gap_max.as_millis());
}

#[test]
fn leadership_moves_when_an_operator_says_so_and_a_follower_ends_quietly() {
    let _turn = alone();
    let mut cluster = Cluster::start(3);
    let load = Load::start(&addresses(&cluster), &LoadOptions::new("moves", 6));
    assert!(load.goes_on(200, Duration::from_secs(30)));
    for to in [1_u16, 2, 3, 1] {
        let at = format!("127.0.0.1:{}", cluster.nodes[2].grpc_port);
        let moved = talon_cluster_tests::talon(&["cluster", "transfer", &to.to_string(), "--at", &at]);
        let led_already = moved.complaint.contains("leads already");
        assert!(moved.code == Some(0) || led_already, "{moved:?}");
        // It has been elected; it leads when it has applied its term's first entry.
        let leads = || {
            let seen = status(&cluster.nodes[0]);
            seen["leader_id"] == to && member_status(&seen, to)["role"] == "leader"
        };
        assert!(wait_until(Duration::from_secs(5), leads), "{}", status(&cluster.nodes[0]));
        assert!(load.goes_on(200, Duration::from_secs(30)));
    }
    let moved_gap = load.gap();
    let follower = (cluster.leader() + 1) % 3;
    let exit = cluster.nodes[follower].terminate().expect("it ends in time");
    assert_eq!(exit.code(), Some(0));
    assert!(load.goes_on(500, Duration::from_secs(30)));
    cluster.nodes[follower].start().expect("it can be started again");
    cluster.wait_until_serving();
    let gap = load.gap();
    let mut books = load.stop();
    let totals = books.check(&mut cluster.connect_to_leader());
    verify(&cluster);
    println!(
        "transfers by an operator, longest gap {} ms; with a follower's end {} ms; {totals}; errors {:?}",
        moved_gap.as_millis(),
        gap.as_millis(),
        books.errors()
    );
}

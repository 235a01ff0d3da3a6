//! `talon cluster add | promote | remove` while writes go on.

use std::time::{Duration, Instant};

use talon_cluster_tests::{Finished, Load, LoadOptions, member_status, status, talon, verify_at};
use talon_tests_support::{Client, Cluster, Node, Value, wait_until};

use crate::{addresses, alone, ms};

const KEYS: usize = 20_000;
const PATIENCE: Duration = Duration::from_secs(60);

fn at(node: &Node) -> String {
    format!("127.0.0.1:{}", node.grpc_port)
}

fn operator(node: &Node, words: &[&str]) -> Finished {
    let at = at(node);
    let finished = talon(&[&["cluster"], words, &["--at", &at]].concat());
    assert_eq!(finished.code, Some(0), "{words:?}: {finished:?}");
    finished
}

fn fill(client: &mut Client, count: usize) {
    for page in (0..count).collect::<Vec<_>>().chunks(500) {
        let pairs = page.iter().flat_map(|number| [format!("fill:{number}"), format!("{number:0>100}")]);
        let words: Vec<String> = std::iter::once("MSET".to_owned()).chain(pairs).collect();
        assert_eq!(client.call(&words).expect("an answer"), Value::Simple("OK".to_owned()));
    }
}

fn count_of(node: &Node) -> i64 {
    let mut client = node.connect().expect("it serves");
    client.call(&["READONLY"]).expect("an answer");
    match client.call(&["COUNTPREFIX", "fill:"]).expect("an answer") {
        Value::Integer(count) => count,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_fourth_node_is_added_votes_and_is_removed() {
    let _turn = alone();
    let cluster = Cluster::start(3);
    fill(&mut cluster.connect_to_leader(), KEYS);
    // It is told of a member that does not exist, so it waits, empty, until it is added by hand.
    let [nobody] = talon_tests_support::free_ports(1)[..] else { panic!("one port was asked for") };
    let mut fourth = cluster.new_node(4, &["--join".to_owned(), format!("127.0.0.1:{nobody}")]);
    let addresses: Vec<_> = addresses(&cluster).into_iter().chain([fourth.address()]).collect();
    let load = Load::start(&addresses, &LoadOptions::new("members", 4));
    assert!(load.goes_on(100, PATIENCE));
    fourth.start().expect("it can be started");
    let begun = Instant::now();
    // A follower is asked: it finds the leader.
    let asked = &cluster.nodes[(cluster.leader() + 1) % 3];
    let reachable = wait_until(PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", fourth.raft_port)).is_ok());
    assert!(reachable, "the new node does not come up");
    operator(asked, &["add", &fourth.peer()]);
    let added_ms = ms(begun);
    assert_eq!(member_status(&status(asked), 4)["member"], "learner");
    assert!(wait_until(PATIENCE, || fourth.role().is_some()), "it does not serve");
    assert_eq!(count_of(&fourth), KEYS as i64, "the data is there");
    assert!(fourth.connect().unwrap().call(&["SET", "a", "b"]).unwrap().text().unwrap().starts_with("MOVED "));

    operator(asked, &["promote", "4"]);
    assert_eq!(member_status(&status(asked), 4)["member"], "voter");
    verify_at(asked, 4);
    operator(asked, &["transfer", "4"]);
    assert!(wait_until(PATIENCE, || status(asked)["leader_id"] == 4), "{}", status(asked));
    assert!(load.goes_on(200, PATIENCE), "writes go on under the new leader");

    // The leader itself is removed: another takes over.
    operator(asked, &["remove", "4"]);
    let seen = status(asked);
    assert_eq!(seen["nodes"].as_array().unwrap().len(), 3, "{seen}");
    assert!(load.goes_on(500, PATIENCE), "writes go on without it");
    // A removed node that still runs does not disturb the others.
    let term = status(asked)["term"].clone();
    assert!(load.goes_on(500, PATIENCE));
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(status(asked)["term"], term, "the removed node campaigns");
    let exit = fourth.terminate().expect("it ends in time");
    assert_eq!(exit.code(), Some(0), "{exit:?}");
    assert!(load.goes_on(100, PATIENCE));

    let gap = load.gap();
    assert!(gap < Duration::from_secs(3), "nothing was acknowledged for {} ms", gap.as_millis());
    let mut books = load.stop();
    let totals = books.check(&mut cluster.connect_to_leader());
    assert_eq!(count_of(&cluster.nodes[0]), KEYS as i64);
    let rows = verify_at(&cluster.nodes[0], 3);
    println!(
        "a fourth node: added after {added_ms} ms; {totals}; longest gap {} ms; errors {:?}; {rows} rows equal at the end",
        gap.as_millis(),
        books.errors()
    );
}

#[test]
fn a_node_told_of_the_cluster_adds_itself_and_nonsense_is_refused() {
    let _turn = alone();
    let cluster = Cluster::start(3);
    fill(&mut cluster.connect_to_leader(), 1000);
    let mut fourth = cluster.new_node(4, &["--join".to_owned(), at(&cluster.nodes[0])]);
    fourth.start().expect("it can be started");
    assert!(wait_until(PATIENCE, || fourth.role().is_some()), "it does not serve");
    assert_eq!(count_of(&fourth), 1000);
    for (words, complaint) in [
        (&["add", &fourth.peer()][..], "in the cluster already"),
        (&["promote", "9"], "not in the cluster"),
        (&["remove", "9"], "not in the cluster"),
        (&["promote", "1"], "votes already"),
        (&["transfer", "4"], "not a voter"),
    ] {
        let finished = talon(&[&["cluster"], words, &["--at", &at(&cluster.nodes[1])]].concat());
        assert_eq!(finished.code, Some(1), "{words:?}: {finished:?}");
        assert!(finished.complaint.contains(complaint), "{words:?}: {finished:?}");
    }
    verify_at(&cluster.nodes[0], 4);
    // A learner that is killed and restarted is a learner still.
    fourth.kill();
    fourth.start().expect("it can be started again");
    assert!(wait_until(PATIENCE, || fourth.role().is_some()), "it does not serve again");
    assert_eq!(member_status(&status(&fourth), 4)["role"], "learner");
    operator(&cluster.nodes[0], &["remove", "4"]);
    verify_at(&cluster.nodes[0], 3);
    println!("a learner joined by itself, and left again");
}

//! What nodes say of members that are dead or stand still, of a cluster that nobody leads, and what they answer who have just led.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
use talon_cluster_tests::{member_status, status};
use talon_tests_support::{Client, Cluster, Value, wait_until};

use crate::alone;

/// By then a member that is not heard is down everywhere: five seconds for the leader, one more until the others have asked it.
const DOWN_MAX: Duration = Duration::from_secs(15);

fn ask(client: &mut Client, text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    shown(&client.call(&words).unwrap_or_else(|error| panic!("{text}: {error}")))
}

/// Everything a reply says, word by word.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(" "),
        Value::Integer(number) => number.to_string(),
        Value::Simple(line) | Value::Error(line) => line.clone(),
        other => other.text().unwrap_or_default(),
    }
}

/// The line of `CLUSTER NODES` that is about the node with this port.
fn line(client: &mut Client, port: u16) -> String {
    let nodes = ask(client, "CLUSTER NODES");
    nodes.lines().find(|line| line.contains(&format!(":{port}@"))).unwrap_or_else(|| panic!("{nodes}")).to_owned()
}

#[test]
fn a_follower_that_is_stopped_or_dead_is_down_until_it_is_heard() {
    let _turn = alone();
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let (down, witness) = ((leader + 1) % 3, (leader + 2) % 3);
    let port = cluster.nodes[down].resp_port;
    for killed in [false, true] {
        if killed {
            cluster.nodes[down].kill();
        } else {
            cluster.nodes[down].process().expect("it runs").signal(SIGSTOP).expect("it can be stopped");
        }
        for place in [leader, witness] {
            let mut client = cluster.nodes[place].connect().expect("it serves");
            let failed = || line(&mut client, port).contains(" slave,fail ");
            assert!(wait_until(DOWN_MAX, failed), "killed: {killed}, asked {place}");
            assert!(line(&mut client, port).ends_with(" disconnected"));
            assert!(!ask(&mut client, "CLUSTER SLOTS").contains(&port.to_string()));
            assert_eq!(ask(&mut client, "CLUSTER SHARDS").matches(" health fail").count(), 1);
            let replicas = ask(&mut client, "SENTINEL REPLICAS talon");
            assert_eq!(replicas.matches("s_down,slave,disconnected").count(), 1, "{replicas}");
            assert!(ask(&mut client, "SENTINEL CKQUORUM talon").starts_with("OK "));
        }
        let mut client = cluster.connect_to_leader();
        assert!(ask(&mut client, "INFO replication").contains("connected_slaves:1\r\n"));
        assert!(!ask(&mut client, "ROLE").contains(&port.to_string()));
        let row = member_status(&status(&cluster.nodes[leader]), cluster.nodes[down].id);
        assert!(row["silent_ms"].as_u64().is_some_and(|silent_ms| silent_ms >= 5_000), "{row}");
        if killed {
            cluster.nodes[down].start().expect("it can be started again");
        } else {
            cluster.nodes[down].process().expect("it runs").signal(SIGCONT).expect("it can go on");
        }
        cluster.wait_until_serving();
        for place in [leader, witness] {
            let mut client = cluster.nodes[place].connect().expect("it serves");
            assert!(wait_until(DOWN_MAX, || line(&mut client, port).ends_with(" connected")), "asked {place}");
        }
        assert_eq!(cluster.leader(), leader, "a follower's end moves nothing");
    }
}

#[test]
fn alone_of_three_it_names_the_leader_that_has_failed() {
    let _turn = alone();
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let survivor = (leader + 1) % 3;
    let (own, led) = (cluster.nodes[survivor].resp_port, cluster.nodes[leader].resp_port);
    for place in (0..3).filter(|place| *place != survivor) {
        cluster.nodes[place].kill();
    }
    let mut client = cluster.nodes[survivor].connect().expect("it still takes connections");
    let left_alone = || ask(&mut client, "CLUSTER INFO").contains("cluster_state:fail");
    assert!(wait_until(DOWN_MAX, left_alone));
    let of_leader = line(&mut client, led);
    assert!(of_leader.contains(" master,fail - ") && of_leader.ends_with(" disconnected 0-16383"), "{of_leader}");
    assert!(line(&mut client, own).contains(" myself,slave "));
    let slots = ask(&mut client, "CLUSTER SLOTS");
    assert!(slots.starts_with(&format!("0 16383 127.0.0.1 {led} ")) && slots.contains(&own.to_string()), "{slots}");
    assert!(ask(&mut client, "ROLE").starts_with(&format!("slave 127.0.0.1 {led} connect ")));
    let info = ask(&mut client, "INFO replication");
    assert!(info.contains(&format!("master_port:{led}\r\nmaster_link_status:down\r\n")), "{info}");
    assert!(wait_until(DOWN_MAX, || ask(&mut client, "SENTINEL CKQUORUM talon").starts_with("NOQUORUM 1 ")));
}

/// A cluster client that connects again to the node that led reads there without `READONLY`, and is redirected by nothing.
#[test]
fn who_comes_to_a_node_that_has_just_led_reads_what_was_written_since() {
    let _turn = alone();
    let cluster = Cluster::start(3);
    for round in 0..6 {
        let old = cluster.leader();
        assert_eq!(ask(&mut cluster.connect_to_leader(), "FAILOVER TIMEOUT 10000"), "OK");
        assert!(wait_until(Duration::from_secs(10), || cluster.leader() != old));
        let mut writer = cluster.connect_to_leader();
        for number in 0..50 {
            let value = format!("{round}:{number}");
            assert_eq!(ask(&mut writer, &format!("SET register {value}")), "OK");
            let mut reader = cluster.nodes[old].connect().expect("it serves");
            assert_eq!(ask(&mut reader, "GET register"), value, "by a node that led before");
        }
        thread::sleep(Duration::from_millis(100));
    }
}

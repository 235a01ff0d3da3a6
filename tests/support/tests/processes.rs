//! The helpers themselves, on real processes.

use talon_tests_support::{Cluster, RedisServer, Value};

#[test]
fn a_cluster_serves_loses_a_node_and_takes_it_back() {
    let mut cluster = Cluster::start(3);
    let set = cluster.connect_to_leader().call(&["SET", "a", "1"]).expect("a reply");
    assert_eq!(set, Value::Simple("OK".to_owned()));
    let leader = cluster.leader();
    cluster.nodes[leader].kill();
    assert!(!cluster.nodes[leader].is_running());
    let other = cluster.leader();
    assert_ne!(other, leader);
    cluster.nodes[leader].start().expect("started again");
    cluster.wait_until_serving();
    let got = cluster.connect_to_leader().call_bytes(&["GET", "a"]).expect("a reply");
    assert_eq!(&got[..], b"$1\r\n1\r\n");
    let status = cluster.nodes[leader].terminate().expect("ends in time");
    assert!(status.success(), "{status}");
}

#[test]
fn the_judge_answers() {
    let redis = RedisServer::start(&[]);
    let mut client = talon_tests_support::Client::connect(redis.address()).expect("connected");
    client.send_bytes(b"PING\r\nQUIT\r\n").expect("sent");
    assert_eq!(&client.receive_until_closed().expect("closed")[..], b"+PONG\r\n+OK\r\n");
}

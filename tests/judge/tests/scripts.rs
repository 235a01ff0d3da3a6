//! The golden scripts where they have to hold: those of `redis/` on redis-server itself, and all public ones on a node that is
//! alone and on the leader of three, in both versions of the protocol.

use std::net::SocketAddr;

use talon_judge::scripts::{Server, load};
use talon_tests_support::{Cluster, RedisServer};

fn run(folder: &str, address: SocketAddr) {
    for script in load(folder) {
        for resp3 in [false, true] {
            let mut server = Server::connect(address, resp3).expect("the server answers");
            if let Err(error) = script.run(&mut server) {
                panic!("{folder}/{error} (in RESP{})", if resp3 { 3 } else { 2 });
            }
        }
    }
}

#[test]
fn the_judge_agrees_with_the_scripts() {
    run("redis", RedisServer::start(&[]).address());
}

#[test]
fn a_single_node_agrees_with_the_scripts() {
    let cluster = Cluster::start(1);
    let address = cluster.nodes[0].address();
    run("redis", address);
    run("talon", address);
}

#[test]
fn the_leader_of_three_nodes_agrees_with_the_scripts() {
    let cluster = Cluster::start(3);
    let address = cluster.nodes[cluster.leader()].address();
    run("redis", address);
    run("talon", address);
}

//! The golden scripts where they have to hold: those of `redis/` on redis-server itself, and all public ones on a node that is
//! alone and on the leader of three, in both versions of the protocol.

use std::net::SocketAddr;

use talon_judge::scripts::{Server, load};
use talon_tests_support::{Cluster, RedisServer};

fn run(folder: &str, address: SocketAddr, resp3: bool) {
    for script in load(folder) {
        let mut server = Server::connect(address, resp3).expect("the server answers");
        if let Err(error) = script.run(&mut server) {
            panic!("{folder}/{error} (in RESP{})", if resp3 { 3 } else { 2 });
        }
    }
}

/// A cluster for each version of the protocol: what ONCE has seen outlives the data.
fn run_on_clusters(nodes: u16) {
    for resp3 in [false, true] {
        let cluster = Cluster::start(nodes);
        let address = cluster.nodes[cluster.leader()].address();
        run("redis", address, resp3);
        run("talon", address, resp3);
    }
}

#[test]
fn the_judge_agrees_with_the_scripts() {
    let redis = RedisServer::start(&[]);
    for resp3 in [false, true] {
        run("redis", redis.address(), resp3);
    }
}

#[test]
fn a_single_node_agrees_with_the_scripts() {
    run_on_clusters(1);
}

#[test]
fn the_leader_of_three_nodes_agrees_with_the_scripts() {
    run_on_clusters(3);
}

//! What tools and libraries ask on connecting, though there is nothing to tell: answered as redis-server does that has nothing of it.

use talon_tests_support::{Client, Cluster, RedisServer};

#[test]
fn what_is_not_there_is_told_in_redis_words() {
    let redis = RedisServer::start(&[]);
    let cluster = Cluster::start(1);
    for resp3 in [false, true] {
        let mut theirs = Client::connect(redis.address()).expect("connected");
        let mut ours = Client::connect(cluster.nodes[0].address()).expect("connected");
        if resp3 {
            for client in [&mut theirs, &mut ours] {
                client.call(&["HELLO", "3"]).expect("answered");
            }
        }
        for line in [
            "MODULE LIST",
            "MODULE LIST x",
            "ACL WHOAMI",
            "ACL USERS",
            "ACL LIST",
            "ACL GETUSER default",
            "ACL GETUSER nosuch",
            "ACL CAT",
            "ACL CAT nosuch",
            "ACL CAT a b",
            "CLIENT TRACKINGINFO",
            "CLIENT TRACKINGINFO x",
            "PUBSUB SHARDCHANNELS",
            "PUBSUB SHARDCHANNELS a*",
            "PUBSUB SHARDCHANNELS a b",
            "PUBSUB CHANNELS a b",
            "PUBSUB SHARDNUMSUB",
            "PUBSUB SHARDNUMSUB a b",
            "LASTSAVE x",
            "CONFIG GET notify-keyspace-events",
            "CONFIG GET replica-read-only",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let (theirs, ours) = (theirs.call(&words).expect("answered"), ours.call(&words).expect("answered"));
            assert_eq!(ours, theirs, "{line}, RESP3: {resp3}");
        }
    }
}

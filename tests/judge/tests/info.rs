//! What `INFO` has, beside redis-server's: dashboards and exporters read its fields by name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use talon_tests_support::{Client, Cluster, RedisServer};

/// Sections whose fields follow from what has happened.
const OF_EVENTS: [&str; 5] = ["Commandstats", "Errorstats", "Latencystats", "Keyspace", "Modules"];

/// The fields of `INFO everything` and their values, by section.
fn fields(address: SocketAddr) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut client = Client::connect(address).expect("connected");
    let text = client.call(&["INFO", "everything"]).expect("answered").text().expect("a text");
    let mut sections = BTreeMap::<String, BTreeMap<String, String>>::new();
    let mut section = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match (line.strip_prefix("# "), line.split_once(':')) {
            (Some(title), _) => section = title.to_owned(),
            (None, Some((name, value))) => {
                let before = sections.entry(section.clone()).or_default().insert(name.to_owned(), value.to_owned());
                assert!(before.is_none(), "{name} is there twice");
            }
            (None, None) => panic!("{line} is no field"),
        }
    }
    sections
}

/// The list of what is left out: section and field.
fn left_out() -> BTreeSet<(String, String)> {
    let rows = include_str!("../INFO.md").lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let mut all = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [section, names, why] = cells[..] else { panic!("{row} has three cells") };
        assert!(!why.is_empty(), "{names} without a reason");
        for name in names.split_whitespace() {
            let name = name.trim_matches('`').to_owned();
            assert!(all.insert((section.to_owned(), name)), "{names} is there twice");
        }
    }
    all
}

#[test]
fn what_is_not_there_is_listed_with_its_reason() {
    // As here, what was answered is in a file.
    let redis = RedisServer::start(&["--appendonly", "yes"]);
    let cluster = Cluster::start(1);
    let (theirs, ours) = (fields(redis.address()), fields(cluster.nodes[0].address()));
    let mut missing = BTreeSet::new();
    for (section, names) in theirs.iter().filter(|(section, _)| !OF_EVENTS.contains(&section.as_str())) {
        for name in names.keys() {
            if !ours.get(section).is_some_and(|ours| ours.contains_key(name)) {
                missing.insert((section.clone(), name.clone()));
            }
        }
    }
    assert_eq!(missing, left_out());
}

#[test]
fn what_never_happens_here_is_said_as_redis_says_it_of_a_server_just_started() {
    let redis = RedisServer::start(&["--appendonly", "yes"]);
    let cluster = Cluster::start(1);
    let (theirs, ours) = (fields(redis.address()), fields(cluster.nodes[0].address()));
    for (section, name) in [
        ("Persistence", "rdb_last_bgsave_time_sec"),
        ("Persistence", "rdb_last_bgsave_status"),
        ("Persistence", "aof_enabled"),
        ("Persistence", "aof_last_rewrite_time_sec"),
        ("Persistence", "current_fork_perc"),
        ("Memory", "maxmemory_human"),
        ("Memory", "maxmemory_policy"),
        ("Stats", "evicted_keys"),
        ("Stats", "expired_keys"),
        ("Replication", "master_replid2"),
        ("Replication", "second_repl_offset"),
        ("Replication", "master_failover_state"),
    ] {
        assert_eq!(ours[section].get(name), theirs[section].get(name), "{name}");
    }
}

#[test]
fn a_key_that_ends_is_counted_once_on_every_node() {
    let cluster = Cluster::start(3);
    let mut leader = cluster.connect_to_leader();
    for key in ["a", "b", "c"] {
        leader.call(&["SET", key, "1", "PX", "1"]).expect("set");
    }
    leader.call(&["SET", "stays", "1"]).expect("set");
    for node in &cluster.nodes {
        let counted = || fields(node.address())["Stats"]["expired_keys"] == "3";
        assert!(talon_tests_support::wait_until(std::time::Duration::from_secs(20), counted), "three keys have ended");
    }
}

/// Calls, rejected and failed calls of these commands since the counters were set back.
fn counted(address: SocketAddr, lines: &[&str]) -> BTreeMap<String, String> {
    let mut client = Client::connect(address).expect("connected");
    for line in lines {
        client.call(&line.split(' ').collect::<Vec<_>>()).expect("answered");
    }
    let stats = fields(address).remove("Commandstats").expect("counts");
    let asked = ["get", "set", "incr", "config", "config|get", "multi", "exec"].map(|name| format!("cmdstat_{name}"));
    let without_times = |counts: &str| -> String {
        counts.split(',').filter(|count| !count.starts_with("usec")).collect::<Vec<_>>().join(",")
    };
    let of_asked = stats.iter().filter(|(name, _)| asked.contains(*name));
    of_asked.map(|(name, counts)| (name.clone(), without_times(counts))).collect()
}

#[test]
fn what_is_refused_is_no_call() {
    let redis = RedisServer::start(&[]);
    let cluster = Cluster::start(1);
    let lines = [
        "CONFIG RESETSTAT",
        "GET",
        "GET a",
        "CONFIG",
        "CONFIG GET",
        "CONFIG NOSUCH",
        "NOSUCH",
        "SET a x",
        "INCR a",
        "MULTI",
        "SET b 1",
        "GET",
        "EXEC",
        "MULTI",
        "SET b 1",
        "INCR a",
        "EXEC",
    ];
    let (theirs, ours) = (counted(redis.address(), &lines), counted(cluster.nodes[0].address(), &lines));
    assert_eq!(theirs["cmdstat_get"], "calls=1,rejected_calls=2,failed_calls=0");
    assert_eq!(ours, theirs);
}

//! What `COMMAND` says of the commands that both servers have, beside redis-server's words: clients route by them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use talon_tests_support::{Client, Cluster, RedisServer, Value};

/// Rows of the core, which are answered like any other read of the data, and so say that they are.
const READS: [&str; 2] = ["memory|help", "object|help"];
/// What `COMMAND INFO` has at each place, behind the name.
const PLACES: [&str; 9] =
    ["arity", "flags", "first key", "last key", "step", "categories", "tips", "key specifications", "subcommands"];

fn call(address: SocketAddr, words: &[&str]) -> Value {
    Client::connect(address).expect("connected").call(words).expect("answered")
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        other => panic!("{other:?} is no list"),
    }
}

/// All commands and subcommands by name.
fn described(address: SocketAddr) -> BTreeMap<String, Vec<Value>> {
    let mut all = BTreeMap::new();
    let mut rows: Vec<Value> = items(&call(address, &["COMMAND"])).to_vec();
    while let Some(row) = rows.pop() {
        let parts = items(&row);
        rows.extend(items(&parts[9]).iter().cloned());
        let name = parts[0].text().expect("a name");
        assert!(all.insert(name.clone(), parts[1..].to_vec()).is_none(), "{name} is there twice");
    }
    all
}

/// A list without order, as text.
fn set(value: &Value) -> BTreeSet<String> {
    items(value).iter().map(|item| format!("{item:?}")).collect()
}

/// Key specifications without the notes that explain some of them, and with flags in no order.
fn specifications(value: &Value) -> Vec<BTreeMap<String, String>> {
    let pairs = |specification: &Value| -> BTreeMap<String, String> {
        let all = items(specification).chunks_exact(2).filter_map(|pair| {
            let name = pair[0].text()?;
            let value = if name == "flags" { format!("{:?}", set(&pair[1])) } else { format!("{:?}", pair[1]) };
            (name != "notes").then_some((name, value))
        });
        all.collect()
    };
    items(value).iter().map(pairs).collect()
}

#[test]
fn shared_commands_are_described_in_the_same_words() {
    let redis = RedisServer::start(&[]);
    let cluster = Cluster::start(1);
    let (theirs, ours) = (described(redis.address()), described(cluster.nodes[0].address()));
    let shared: Vec<&String> = ours.keys().filter(|name| theirs.contains_key(*name)).collect();
    assert!(shared.len() > 100, "{shared:?}");
    let mut different = Vec::new();
    for name in shared {
        let (theirs, ours) = (&theirs[name], &ours[name]);
        for (place, what) in PLACES.iter().enumerate() {
            let same = match *what {
                "flags" | "categories" if READS.contains(&name.as_str()) => true,
                "flags" | "categories" | "tips" => set(&theirs[place]) == set(&ours[place]),
                "key specifications" => specifications(&theirs[place]) == specifications(&ours[place]),
                // Looked at by themselves.
                "subcommands" => true,
                _ => theirs[place] == ours[place],
            };
            if !same {
                different.push(format!("{name}: {what}: {:?}, and Redis has {:?}", ours[place], theirs[place]));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn keys_are_found_where_redis_finds_them() {
    let redis = RedisServer::start(&[]);
    let cluster = Cluster::start(1);
    for line in [
        "GET a",
        "SET a b",
        "SET a b GET",
        "SET a b EX 5 get",
        "MSET a 1 b 2 c 3",
        "MSETNX a 1 b 2",
        "MGET a b c",
        "DEL a b",
        "RENAME a b",
        "COPY a b",
        "LCS a b LEN",
        "GETEX a PERSIST",
        "GETDEL a",
        "APPEND a b",
        "EXPIRE a 5",
        "WATCH a b",
        "TOUCH a b",
        "SET a",
        "CONFIG GET a",
        "CONFIG NOSUCH a",
        "CLIENT SETNAME a",
        "PING a",
        "NOSUCH a",
        "INFO server",
    ] {
        for asked in ["GETKEYS", "GETKEYSANDFLAGS"] {
            let words: Vec<&str> = ["COMMAND", asked].into_iter().chain(line.split(' ')).collect();
            let (theirs, ours) = (call(redis.address(), &words), call(cluster.nodes[0].address(), &words));
            assert_eq!(ours, theirs, "COMMAND {asked} {line}");
        }
    }
    for words in [
        &["COMMAND", "GETKEYS"][..],
        &["COMMAND", "GETKEYS", "PING"],
        &["COMMAND", "NOSUCH"],
        &["COMMAND", "COUNT", "x"],
        &["COMMAND", "INFO", "nosuch", "config|nosuch"],
        &["COMMAND", "LIST", "x"],
        &["COMMAND", "LIST", "FILTERBY", "x", "y"],
        &["COMMAND", "LIST", "FILTERBY", "MODULE", "x"],
        &["COMMAND", "LIST", "FILTERBY", "ACLCAT", "nosuch"],
        &["COMMAND", "LIST", "FILTERBY", "PATTERN", "nosuch*"],
        &["COMMAND", "DOCS", "nosuch"],
    ] {
        let (theirs, ours) = (call(redis.address(), words), call(cluster.nodes[0].address(), words));
        assert_eq!(ours, theirs, "{words:?}");
    }
    let words = ["COMMAND", "LIST", "FILTERBY", "PATTERN", "slowlog*"];
    assert_eq!(set(&call(cluster.nodes[0].address(), &words)), set(&call(redis.address(), &words)));
    let words = ["COMMAND", "LIST", "FILTERBY", "ACLCAT", "transaction"];
    assert_eq!(set(&call(cluster.nodes[0].address(), &words)), set(&call(redis.address(), &words)));
}

/// The words of operators' commands that are the same on both.
#[test]
fn operators_are_refused_in_the_same_words() {
    let redis = RedisServer::start(&[]);
    let cluster = Cluster::start(1);
    for line in [
        "CLIENT KILL",
        "CLIENT KILL nobody",
        "CLIENT KILL ID 0",
        "CLIENT KILL ID x",
        "CLIENT KILL TYPE x",
        "CLIENT KILL TYPE pubsub",
        "CLIENT KILL TYPE master SKIPME no",
        "CLIENT KILL USER nobody",
        "CLIENT KILL ADDR 1:2 LADDR 3:4 ID 4",
        "CLIENT KILL SKIPME maybe ID 4",
        "CLIENT KILL ADDR",
        "CLIENT LIST TYPE",
        "CLIENT LIST TYPE x",
        "CLIENT LIST TYPE replica",
        "CLIENT LIST ID",
        "CLIENT LIST ID x",
        "CLIENT LIST ID 0",
        "CLIENT LIST TYPE normal ID 3",
        "CLIENT UNBLOCK 12345",
        "CLIENT UNBLOCK x",
        "CLIENT UNBLOCK 5 x",
        "CLIENT UNBLOCK 5 TIMEOUT",
        "CLIENT PAUSE x",
        "CLIENT PAUSE -1",
        "CLIENT PAUSE 1 x",
        "CLIENT PAUSE 1 WRITE",
        "CLIENT PAUSE 0",
        "CLIENT UNPAUSE",
        "CLIENT GETREDIR",
        "CLIENT NO-EVICT x",
        "CLIENT NO-EVICT on",
        "CLIENT REPLY x",
        "CLIENT",
        "CLIENT x",
        "SLOWLOG",
        "SLOWLOG x",
        "SLOWLOG GET x",
        "SLOWLOG GET -2",
        "SLOWLOG GET 1 2",
        "SLOWLOG GET 0",
        "SLOWLOG RESET",
        "SLOWLOG LEN",
        "LATENCY x",
        "LATENCY LATEST",
        "LATENCY LATEST x",
        "LATENCY HISTORY",
        "LATENCY HISTORY command",
        "LATENCY RESET",
        "LATENCY RESET a b",
        "LATENCY HISTOGRAM nosuch",
        "CONFIG REWRITE",
        "CONFIG GET",
        "CONFIG GET nosuch",
        "CONFIG GET timeout TIMEOUT",
        "CONFIG SET timeout",
        "CONFIG SET timeout 3 maxclients",
        "CONFIG SET nosuch 1 timeout 3",
        "CONFIG SET timeout 3 timeout 4",
        "CONFIG SET databases 4",
        "CONFIG SET timeout x",
        "CONFIG SET timeout -1",
        "CONFIG SET TIMEOUT 99999999999",
        "CONFIG SET maxclients 0",
        "CONFIG SET slowlog-log-slower-than -2",
        "CONFIG SET latency-monitor-threshold -1",
        "CONFIG SET loglevel loud",
        "CONFIG SET client-query-buffer-limit 10",
        "CONFIG SET client-query-buffer-limit 10tb",
        "CONFIG SET timeout 7 maxclients x",
        "CONFIG GET timeout",
        "CONFIG SET timeout 100 slowlog-log-slower-than -1 latency-monitor-threshold 50 client-query-buffer-limit 2mb",
        "CONFIG GET slowlog-log-slower-than",
        "CONFIG GET client-query-buffer-limit",
        "CONFIG GET latency-monitor-threshold",
        "CONFIG RESETSTAT",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let (theirs, ours) = (call(redis.address(), &words), call(cluster.nodes[0].address(), &words));
        assert_eq!(ours, theirs, "{line}");
    }
}

//! A short run of every part on real processes: it works, and its JSON has what the README's figures are made from. How fast anything
//! is, is not judged here.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use talon_tests_support::{Cluster, talon_binary};

/// Runs a part with `--json` and `--svg`; returns what is in the two files.
fn bench(arguments: &[&str]) -> (Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let (json, svg) = (folder.path().join("out.json"), folder.path().join("out.svg"));
    let draws = arguments[0] != "stages";
    let output = Command::new(env!("CARGO_BIN_EXE_talon-bench"))
        .args(arguments)
        .args([Path::new("--json"), &json])
        .args(draws.then_some([Path::new("--svg"), &svg]).into_iter().flatten())
        .env("TALON_BIN", talon_binary())
        .output()
        .unwrap();
    let texts = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{arguments:?}: {}\n{}\n{}", output.status, texts[0], texts[1]);
    let document: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert!(document["machine"]["cores"].as_u64().unwrap() > 0, "{document}");
    assert_eq!(document["command"], arguments[0], "{document}");
    (document["results"].clone(), std::fs::read_to_string(&svg).unwrap_or_default())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_running_cluster_is_driven_over_resp_and_grpc() {
    let cluster = Cluster::start(3);
    let list = |ports: Vec<u16>| ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    let resp = list(cluster.nodes.iter().map(|node| node.resp_port).collect());
    let grpc = list(cluster.nodes.iter().map(|node| node.grpc_port).collect());
    let common = ["--keys", "10000", "--seconds", "0.5", "-c", "8"];

    let mixed = ["run", "--at", &resp, "--mix", "get=50,set=30,incr=10,scan=10", "-P", "4", "--zipfian", "0.99"];
    let (closed, svg) = bench(&[&mixed[..], &common].concat());
    assert_eq!((number(&closed["hit_rate"]), number(&closed["errors"])), (1.0, 0.0), "{closed}");
    for kind in ["get", "set", "incr", "scan"] {
        let latency = &closed["latency"][kind];
        assert!(number(&latency["p50_ms"]) <= number(&latency["p999_ms"]), "{closed}");
    }
    assert!(number(&closed["scanned"]) > 0.0 && svg.starts_with("<svg"), "{closed}");

    let (open, _) =
        bench(&[&["run", "--at", &resp, "--mix", "set+get", "--rate", "400", "-P", "16"], &common[..]].concat());
    assert_eq!(number(&open["requests"]), 200.0, "all that fell due in half a second: {open}");
    assert_eq!(number(&open["load"]["rate"]), 400.0);

    let followers = ["run", "--at", &resp, "--mix", "get", "--followers", "--no-fill", "--value-bytes", "1000"];
    let (followed, _) = bench(&[&followers[..], &common].concat());
    assert!(number(&followed["requests_per_s"]) > 0.0 && number(&followed["misses"]) == 0.0, "{followed}");

    let (called, _) =
        bench(&[&["run", "--target", "grpc", "--at", &grpc, "--mix", "get=1,set=1,scan=1"], &common[..]].concat());
    assert_eq!((number(&called["hit_rate"]), number(&called["errors"])), (1.0, 0.0), "{called}");
    assert!(number(&called["scanned"]) > 0.0, "{called}");
}

#[test]
fn large_values_go_through() {
    let cluster = Cluster::start(3);
    let at: Vec<String> = cluster.nodes.iter().map(|node| node.address().to_string()).collect();
    let load = ["--mix", "set+get", "--keys", "2", "--value-bytes", "16777216", "-c", "2", "-n", "8"];
    let (large, _) = bench(&[&["run", "--at", &at.join(",")], &load[..]].concat());
    assert_eq!((number(&large["requests"]), number(&large["hit_rate"])), (8.0, 1.0), "{large}");
}

#[test]
fn the_embedded_database_is_driven() {
    let common = ["run", "--target", "embedded", "--mix", "get=1,set=1,incr=1,scan=1", "--keys", "10000"];
    for pipeline in ["1", "16"] {
        let (driven, _) = bench(&[&common[..], &["--seconds", "0.3", "-c", "2", "-P", pipeline]].concat());
        assert_eq!((number(&driven["hit_rate"]), number(&driven["errors"])), (1.0, 0.0), "{driven}");
        assert!(number(&driven["scanned"]) > 0.0, "{driven}");
    }
}

#[test]
fn the_embedded_database_stands_beside_raw_calls() {
    let (compared, svg) = bench(&["embedded", "--keys", "10000", "--rounds", "2", "--kept-count"]);
    let rows = compared["rows"].as_array().unwrap();
    assert!(rows.len() >= 7 && rows.iter().all(|row| number(&row["ratio"]) > 0.0), "{compared}");
    for side in ["talon", "raw"] {
        let rounds = compared["rounds"][side].as_array().unwrap();
        assert_eq!(rounds.len(), 2, "{compared}");
        assert!(number(&rounds[0]["memory"]["peak_mib"]) > 1.0 && number(&rounds[0]["written_bytes"]) > 0.0);
    }
    assert!(compared["kept_count_slower"]["new keys"].is_number() && svg.contains("raw RocksDB"), "{compared}");
}

#[test]
fn the_peers_stand_side_by_side() {
    let quick = ["compare", "--rounds", "1", "--quick", "--seconds", "0.1", "--pipelines", "1,16"];
    let (compared, svg) = bench(&quick);
    assert_eq!(number(&compared["hit_rate"]), 1.0, "{compared}");
    let bars = compared["bars"].as_array().unwrap();
    assert_eq!(bars.len(), 13, "{compared}");
    for bar in bars {
        assert!(number(&bar["ratio"]) > 0.0 && bar["passes"].is_boolean(), "{bar}");
    }
    let entries = compared["entries"].as_array().unwrap();
    for system in ["talon", "redis-replicas", "redis-always", "redis", "etcd"] {
        let cells: Vec<&Value> = entries.iter().filter(|entry| entry["system"] == system).collect();
        assert!(cells.len() >= 3, "{system}: {compared}");
        assert!(cells.iter().all(|cell| number(&cell["requests_per_s"]) > 0.0 && cell["leader_us"].is_number()));
    }
    assert!(svg.contains("SET -P 16"), "{svg}");
}

#[test]
fn large_rows_are_measured() {
    let (scaled, svg) = bench(&["scale", "--quick", "--large-bytes", "4194304"]);
    assert_eq!(scaled["faults"].as_array().unwrap().len(), 0, "{scaled}");
    let findings = scaled["findings"].as_array().unwrap();
    for part in ["cost", "disk", "memory", "scan", "restart", "rejoin", "delete", "large"] {
        let of_part: Vec<&Value> = findings.iter().filter(|finding| finding["part"] == part).collect();
        assert!(!of_part.is_empty(), "{part}: {scaled}");
        assert!(of_part.iter().any(|finding| finding["passes"].is_boolean()), "{part} has a bound: {scaled}");
        assert!(of_part.iter().all(|finding| finding["figure"].is_number()), "{part}: {scaled}");
    }
    assert!(svg.starts_with("<svg"), "{svg}");
}

#[test]
fn stages_are_told_from_profiles() {
    let can_profile = Command::new("perf").args(["record", "-q", "-o", "/dev/null", "--", "true"]).output();
    if !can_profile.is_ok_and(|output| output.status.success()) {
        eprintln!("not tried: perf is missing here, or not allowed");
        return;
    }
    let (rows, _) = bench(&["stages", "--keys", "10000", "--seconds", "1", "--loads", "set:16,get:16"]);
    for row in rows.as_array().unwrap() {
        let leader = &row["leader"];
        assert!(number(&leader["us"]) > 0.0 && number(&leader["samples"]) > 0.0, "{rows}");
        let known: f64 = leader["by_stage_us"].as_object().unwrap().iter().map(|(_, us)| number(us)).sum();
        assert!((known - number(&leader["us"])).abs() < 1e-6, "the stages add up: {rows}");
    }
    assert!(number(&rows[0]["leader"]["by_stage_us"]["apply"]) > 0.0, "{rows}");
}

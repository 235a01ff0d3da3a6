//! Disks that fill: each node has a small one of its own. Writes are refused with a clear error or another node takes them, reads go
//! on, and everything goes on by itself when there is room again.

use std::time::{Duration, Instant};

use talon_cluster_tests::verify;
use talon_damage_tests::{Data, Random, SmallDisk};
use talon_tests_support::{Client, Cluster, ClusterOptions, Value, wait_until};

use crate::alone;

const DISK_BYTES: u64 = 144 << 20;
/// A compaction may write all the data anew before it lets the old files go, while a checkpoint holds on to those and recent writes
/// become files, too; and a disk in memory takes all of that between two looks at the room.
const RESERVE_BYTES: u64 = 100 << 20;
/// Less than the reserve, and enough for what is under way.
const LEFT_BYTES: u64 = 8 << 20;
/// How long it may take until a node notices, and leadership has moved.
const NOTICE_MAX: Duration = Duration::from_secs(20);

/// Three nodes, each on a disk of its own; `None`, loudly, where that cannot be made.
fn cluster() -> Option<(Cluster, Vec<SmallDisk>)> {
    let options = ClusterOptions::nodes(3)
        .flag("--disk-reserve-bytes", &RESERVE_BYTES.to_string())
        .flag("--log-segment-bytes", "1048576")
        .flag("--log-bytes-before-checkpoint", "2097152")
        .flag("--log-bytes-max", "4194304");
    let probe = tempfile::tempdir().expect("a temporary folder");
    if let Err(error) = SmallDisk::mount(probe.path(), 1 << 20) {
        println!("==================================================================================");
        println!("SKIPPED: no full disk was tried. A small tmpfs cannot be mounted here: {error}");
        println!("Run this test as root (in a container: with CAP_SYS_ADMIN) to try it.");
        println!("==================================================================================");
        return None;
    }
    let mut disks = Vec::new();
    let cluster = Cluster::start_prepared(&options, |node| {
        disks.push(SmallDisk::mount(&node.data, DISK_BYTES).expect("a disk is mounted"));
    });
    Some((cluster, disks))
}

fn ok() -> Value {
    Value::Simple("OK".to_owned())
}

/// Writes until somebody takes it, as a client does that follows redirects; how long that took, and what it was told meanwhile.
fn write_until_taken(cluster: &Cluster, key: &str) -> (Duration, Vec<String>) {
    let (begun, mut told) = (Instant::now(), Vec::new());
    let taken = wait_until(NOTICE_MAX, || {
        let Some(leader) = cluster.nodes.iter().find(|node| node.role().as_deref() == Some("master")) else {
            return false;
        };
        let Ok(mut client) = leader.connect() else { return false };
        match client.call(&["SET", key, "value"]) {
            Ok(value) if value == ok() => true,
            Ok(value) => {
                told.extend(value.text().filter(|text| !told.contains(text)));
                false
            }
            Err(_) => false,
        }
    });
    assert!(taken, "nobody takes a write: {told:?}");
    (begun.elapsed(), told)
}

/// Waits until the leader refuses; what it says.
fn refused(cluster: &Cluster) -> String {
    let mut said = String::new();
    let in_time = wait_until(NOTICE_MAX, || {
        let mut client = cluster.connect_to_leader();
        // One that changes nothing, for the first may be taken still.
        said = client.call(&["DEL", "nothing"]).expect("an answer").text().unwrap_or_default();
        said.starts_with("MISCONF")
    });
    assert!(in_time, "writes are not refused: {said}");
    said
}

fn gauge(cluster: &Cluster, node: usize, name: &str) -> f64 {
    let mut client = Client::connect(([127, 0, 0, 1], cluster.nodes[node].http_port).into()).expect("the HTTP port");
    client.send_bytes(b"GET /metrics HTTP/1.1\r\nHost: talon\r\nConnection: close\r\n\r\n").expect("it is sent");
    let page = client.receive_until_closed().expect("a page");
    let page = String::from_utf8_lossy(&page).into_owned();
    let line =
        page.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}: {page}"));
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn a_follower_without_room_falls_behind_and_catches_up_by_itself() {
    let _turn = alone();
    let Some((mut cluster, disks)) = cluster() else { return };
    let (mut random, mut data) = (Random::new(4), Data::new());
    let leader = cluster.leader();
    let full = (leader + 1) % 3;
    let mut client = cluster.nodes[leader].connect().expect("it serves");
    data.write(&mut client, &mut random, "before", 1000, 500).expect("writes are taken");
    disks[full].fill_up_to(LEFT_BYTES).expect("it is filled");
    assert!(wait_until(NOTICE_MAX, || gauge(&cluster, full, "talon_disk_is_low") == 1.0), "it does not notice");
    let free_bytes = disks[full].free_bytes().expect("its room");
    // More than the log may keep for a follower that lags: it will need a checkpoint.
    data.write(&mut client, &mut random, "meanwhile", 12_000, 500).expect("a majority takes writes");
    assert!(cluster.nodes[full].is_running(), "it has stopped");
    let used_bytes = free_bytes.saturating_sub(disks[full].free_bytes().expect("its room"));
    assert!(used_bytes < LEFT_BYTES / 2, "it wrote {used_bytes} bytes into its reserve");
    let lag = gauge(&cluster, leader, "talon_raft_last_log_index") - gauge(&cluster, full, "talon_raft_last_log_index");
    assert!(lag > 0.0, "it took entries");
    // It hears its leader, and still must not pass off what it has for new.
    std::thread::sleep(Duration::from_secs(11));
    let mut reader = cluster.nodes[full].connect().expect("it serves");
    let stale = reader.call(&["GET", "before:1"]).expect("an answer").text().unwrap_or_default();
    assert!(stale.starts_with("STALE"), "{stale}");
    disks[full].make_room().expect("room");
    let begun = Instant::now();
    let caught_up = wait_until(Duration::from_secs(60), || {
        let seen = cluster.nodes[full].connect().and_then(|mut client| data.compare(&mut client));
        matches!(seen, Ok(None))
    });
    assert!(caught_up, "it does not catch up");
    println!(
        "a follower without room: {lag} entries behind, {used_bytes} bytes written meanwhile, reads there: {stale}; \
         equal again by itself {} ms after there was room",
        begun.elapsed().as_millis()
    );
    cluster.wait_until_serving();
    verify(&cluster);
}

#[test]
fn a_leader_without_room_lets_another_lead() {
    let _turn = alone();
    let Some((mut cluster, disks)) = cluster() else { return };
    let (mut random, mut data) = (Random::new(5), Data::new());
    let full = cluster.leader();
    let mut client = cluster.nodes[full].connect().expect("it serves");
    data.write(&mut client, &mut random, "before", 1000, 500).expect("writes are taken");
    disks[full].fill_up_to(LEFT_BYTES).expect("it is filled");
    let low = wait_until(NOTICE_MAX, || gauge(&cluster, full, "talon_disk_is_low") == 1.0);
    assert!(low, "it does not notice");
    let (gap, told) = write_until_taken(&cluster, "after");
    let moved = cluster.leader();
    assert_ne!(moved, full, "the node without room leads");
    data.insert("after", "value");
    let wrong = data.compare(&mut cluster.connect_to_leader()).expect("an answer");
    assert_eq!(wrong, None, "LOST");
    disks[full].make_room().expect("room");
    cluster.wait_until_serving();
    verify(&cluster);
    println!(
        "a leader without room: another leads, writes go on after {} ms; told meanwhile: {told:?}",
        gap.as_millis()
    );
}

#[test]
fn without_room_anywhere_writes_are_refused_and_reads_go_on() {
    let _turn = alone();
    let Some((mut cluster, disks)) = cluster() else { return };
    let (mut random, mut data) = (Random::new(6), Data::new());
    let mut client = cluster.connect_to_leader();
    data.write(&mut client, &mut random, "before", 1000, 500).expect("writes are taken");
    disks.iter().for_each(|disk| disk.fill_up_to(LEFT_BYTES).expect("it is filled"));
    let said = refused(&cluster);
    println!("without room anywhere: {said}");
    // A pipeline: what reads is answered, what writes is refused.
    let mut client = cluster.connect_to_leader();
    for words in [&["GET", "before:1"][..], &["SET", "x", "1"], &["STRLEN", "before:1"], &["DEL", "before:1"]] {
        client.send(words).expect("it is sent");
    }
    let answers: Vec<Value> = (0..4).map(|_| client.receive().expect("an answer")).collect();
    let is_refusal = |answer: &Value| matches!(answer, Value::Error(line) if line.starts_with("MISCONF"));
    assert!(
        answers[0].text().is_some_and(|text| text.len() == 500) && answers[2] == Value::Integer(500),
        "{answers:?}"
    );
    assert!(is_refusal(&answers[1]) && is_refusal(&answers[3]), "{answers:?}");
    let leader = cluster.leader();
    std::thread::sleep(Duration::from_secs(5));
    for node in &cluster.nodes {
        let wrong = data.compare(&mut node.connect().expect("it serves")).expect("reads go on");
        assert_eq!(wrong, None);
    }
    assert_eq!(cluster.leader(), leader, "leadership was tossed about");
    assert!((0..3).all(|node| cluster.nodes[node].is_running()));
    disks.iter().for_each(|disk| disk.make_room().expect("room"));
    let (gap, _) = write_until_taken(&cluster, "after");
    println!("writes go on {} ms after there is room again", gap.as_millis());
    data.insert("after", "value");
    let wrong = data.compare(&mut cluster.connect_to_leader()).expect("an answer");
    assert_eq!(wrong, None, "LOST");
    verify(&cluster);
}

#[test]
fn data_that_fills_the_disks_stops_at_the_reserve() {
    let _turn = alone();
    let Some((mut cluster, disks)) = cluster() else { return };
    let mut random = Random::new(7);
    let (mut acknowledged, mut said, mut refusals, mut unknown) = (Vec::new(), String::new(), 0, 0);
    let mut client = cluster.connect_to_leader();
    for number in 0..40_000 {
        let (key, value) = (format!("fill:{number}"), random.text(8_000));
        match client.call(&["SET", &key, &value]) {
            Ok(answer) if answer == ok() => {
                refusals = 0;
                acknowledged.push((key, value));
            }
            Ok(Value::Error(line)) if line.starts_with("MOVED") || line.starts_with("CLUSTERDOWN") => {
                client = cluster.connect_to_leader();
            }
            Ok(Value::Error(line)) if line.starts_with("MISCONF") => {
                said = line;
                // Another node may have room still, and lead soon; and a compaction may give some back.
                std::thread::sleep(Duration::from_millis(500));
                refusals += 1;
                if refusals > 12 {
                    break;
                }
                client = cluster.connect_to_leader();
            }
            // It was under way when leadership moved, or when the last voter with room had none any more.
            Ok(Value::Error(line)) if line.starts_with("INDOUBT") => unknown += 1,
            Ok(other) => panic!("{other:?}"),
            // Leadership has moved: connections to the old leader are closed.
            Err(_) => client = cluster.connect_to_leader(),
        }
    }
    let free: Vec<u64> = disks.iter().map(|disk| disk.free_bytes().expect("its room")).collect();
    println!("{} values of 8 KB taken, {unknown} of unknown fate, then: {said}; free: {free:?}", acknowledged.len());
    assert!(unknown < 5, "{unknown} writes waited for voters without room");
    assert!(!said.is_empty(), "the disks are never full");
    assert!(free.iter().all(|free| *free > RESERVE_BYTES / 4), "the reserve was used up: {free:?}");
    assert!((0..3).all(|node| cluster.nodes[node].is_running()));
    // Restarted without room they come back, and have everything.
    for node in 0..3 {
        cluster.nodes[node].kill();
    }
    for node in 0..3 {
        cluster.nodes[node].start().expect("it can be started");
    }
    cluster.wait_until_serving();
    let mut client = cluster.connect_to_leader();
    for (key, value) in &acknowledged {
        let found = client.call(&["GET", key]).expect("an answer").text();
        assert_eq!(found.as_ref(), Some(value), "LOST: {key}");
    }
}

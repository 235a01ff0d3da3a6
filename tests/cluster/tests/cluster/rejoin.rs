//! A node that lost its disk comes back while writes go on: memory stays bounded, and nothing half-done is served.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use talon_cluster_tests::{forget_peak, is_long, memory, verify};
use talon_tests_support::{Client, Cluster, ClusterOptions, Value, wait_until};

use crate::{alone, any, ms};

/// How far a process may go beyond what it normally has.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// The paced load.
const WRITES_PER_S: u64 = 5_000;
const BATCH: u64 = 100;
/// Over how many keys it goes.
const PACED_KEYS: u64 = 50_000;
const CATCH_UP_MAX: Duration = Duration::from_secs(300);

#[test]
fn a_wiped_node_comes_back_under_load() {
    let _turn = alone();
    let (data_bytes, options) = if is_long() {
        (1_u64 << 30, ClusterOptions::nodes(3).flag("--memory-bytes", "536870912"))
    } else {
        // A log that is cut as often, for the size, as that of the full run.
        let options = ClusterOptions::nodes(3).flag("--log-segment-bytes", "4194304");
        let options = options.flag("--log-bytes-before-checkpoint", "16777216").flag("--log-bytes-max", "134217728");
        (100_u64 << 20, options)
    };
    let mut cluster = Cluster::start_with(&options);
    let begun = Instant::now();
    fill(&mut cluster.connect_to_leader(), data_bytes);
    println!("{} MB written in {} ms", data_bytes >> 20, ms(begun));
    let paced = Paced::start(cluster.connect_to_leader());
    thread::sleep(Duration::from_secs(if is_long() { 20 } else { 5 }));

    let leader = cluster.leader();
    let wiped = (leader + 1) % 3;
    let pid = |cluster: &mut Cluster, place: usize| cluster.nodes[place].process().expect("it runs").pid();
    let normal = [leader, wiped].map(|place| memory(pid(&mut cluster, place)).expect("it runs").resident_bytes);
    forget_peak(pid(&mut cluster, leader)).expect("its peak can be forgotten");

    cluster.nodes[wiped].kill();
    fs::remove_dir_all(&cluster.nodes[wiped].data).expect("its data can be removed");
    // The first attempt is cut off by another kill -9, somewhere on the way.
    cluster.nodes[wiped].start().expect("it can be started");
    let data = cluster.nodes[wiped].data.clone();
    let cut_at_bytes = data_bytes / 10 + any(data_bytes / 2);
    assert!(wait_until(CATCH_UP_MAX, || folder_bytes(&data) > cut_at_bytes), "it receives nothing");
    let half_served = cluster.nodes[wiped].role().is_some();
    cluster.nodes[wiped].kill();
    cluster.nodes[wiped].start().expect("it can be started again");
    let begun = Instant::now();
    let node = &cluster.nodes[wiped];
    assert!(wait_until(CATCH_UP_MAX, || node.role().is_some()), "it does not come to serve");
    let caught_up_ms = ms(begun);
    // What it serves at once is whole.
    let mut client = node.connect().expect("it serves");
    client.call(&["READONLY"]).expect("an answer");
    let filled = client.call(&["COUNTPREFIX", "fill:"]).expect("an answer");
    assert_eq!(filled, Value::Integer(values(data_bytes) as i64), "half of the data is served");
    thread::sleep(Duration::from_secs(3));
    let peaks = [leader, wiped].map(|place| memory(pid(&mut cluster, place)).expect("it runs").peak_bytes);
    let report = paced.stop();
    let checked = report.check(&mut cluster.connect_to_leader());
    assert_eq!(cluster.leader(), leader, "there was an election");
    let log = fs::read_to_string(&cluster.nodes[leader].log).expect("its log");
    assert!(log.contains("the checkpoint is installed"), "it came back through the log alone");
    let rows = verify(&cluster);
    let mb = |bytes: u64| bytes >> 20;
    println!(
        "a wiped node is back after {caught_up_ms} ms (cut off once before by kill -9, at {} MB; it served by then: {half_served}) with {} writes/s, \
         the slowest batch {} ms, {checked} keys as last acknowledged; memory in MB, leader: normal {}, peak {}; wiped: normal \
         {}, peak {}; {rows} rows equal",
        mb(cut_at_bytes),
        report.rate,
        report.slowest_ms,
        mb(normal[0]),
        mb(peaks[0]),
        mb(normal[1]),
        mb(peaks[1]),
    );
    for (name, normal, peak) in [("the leader", normal[0], peaks[0]), ("the wiped node", normal[1], peaks[1])] {
        assert!(peak < normal + MEMORY_BYTES_MAX, "{name}: {} MB at its peak, {} MB normally", mb(peak), mb(normal));
    }
    assert!(report.rate > WRITES_PER_S * 6 / 10, "{} writes/s", report.rate);
}

const VALUE_BYTES: u64 = 4096;

fn values(data_bytes: u64) -> u64 {
    data_bytes / VALUE_BYTES
}

/// The size of all files below a folder; files may come and go meanwhile.
fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// Values that do not compress to nothing.
fn fill(client: &mut Client, data_bytes: u64) {
    let mut state = 7_u64;
    let mut value = move || -> Vec<u8> {
        let mut bytes = Vec::with_capacity(VALUE_BYTES as usize);
        while bytes.len() < VALUE_BYTES as usize {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.extend_from_slice(&state.to_be_bytes()[..4]);
        }
        bytes
    };
    let numbers: Vec<u64> = (0..values(data_bytes)).collect();
    for batch in numbers.chunks(200) {
        let mut bytes = Vec::new();
        for number in batch {
            let key = format!("fill:{number}");
            bytes.extend_from_slice(
                format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${VALUE_BYTES}\r\n", key.len()).as_bytes(),
            );
            bytes.extend_from_slice(&value());
            bytes.extend_from_slice(b"\r\n");
        }
        client.send_bytes(&bytes).expect("sent");
        for _ in batch {
            assert_eq!(client.receive().expect("an answer"), Value::Simple("OK".to_owned()));
        }
    }
}

/// One connection that writes at a steady rate.
struct Paced {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<PacedReport>,
}

struct PacedReport {
    batches: u64,
    rate: u64,
    slowest_ms: u128,
}

impl Paced {
    fn start(mut client: Client) -> Paced {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let begun = Instant::now();
            let (mut batch, mut slowest_ms) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                let due = Duration::from_millis(batch * BATCH * 1000 / WRITES_PER_S);
                thread::sleep(due.saturating_sub(begun.elapsed()));
                let sent = Instant::now();
                let mut words = String::new();
                for number in batch * BATCH..(batch + 1) * BATCH {
                    words += &format!("SET paced:{} {number:0>100}\r\n", number % PACED_KEYS);
                }
                client.send_bytes(words.as_bytes()).expect("the leader stays");
                for _ in 0..BATCH {
                    assert_eq!(client.receive().expect("the leader stays"), Value::Simple("OK".to_owned()));
                }
                slowest_ms = slowest_ms.max(ms(sent));
                batch += 1;
            }
            let rate = (batch * BATCH * 1000) / (ms(begun) as u64).max(1);
            PacedReport { batches: batch, rate, slowest_ms }
        });
        Paced { stop, thread }
    }

    fn stop(self) -> PacedReport {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("every write was acknowledged")
    }
}

impl PacedReport {
    /// Every key has the value that was acknowledged last.
    fn check(&self, client: &mut Client) -> u64 {
        let written = self.batches * BATCH;
        let last: Vec<u64> = (written.saturating_sub(PACED_KEYS)..written).collect();
        for page in last.chunks(500) {
            let keys = page.iter().map(|number| format!("paced:{}", number % PACED_KEYS));
            let words: Vec<String> = std::iter::once("MGET".to_owned()).chain(keys).collect();
            let Value::Array(values) = client.call(&words).expect("an answer") else { panic!("no values") };
            for (number, value) in page.iter().zip(values) {
                assert_eq!(value.text(), Some(format!("{number:0>100}")), "write {number} is lost");
            }
        }
        last.len() as u64
    }
}

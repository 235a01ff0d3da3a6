//! Clients that people use, through kill -9 of the leader: each goes on by itself within a bound, and what it was told
//! is there.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use talon_cluster_tests::{is_long, verify};
use talon_tests_support::{Cluster, Value};

use crate::{addresses, alone, ms};

/// How long a client may take until it writes again.
const GOES_ON_MAX: Duration = Duration::from_secs(30);
/// How much of a client's complaints is kept.
const COMPLAINTS_BYTES_MAX: usize = 64 * 1024;

/// A client that writes.
trait Writer {
    /// How many of its writes have been acknowledged.
    fn acknowledged(&mut self) -> u64;
    /// What went wrong so far, if it can be told.
    fn troubles(&self) -> String;
    /// Ends it and says which, what else, and the longest gap in milliseconds.
    fn finish(&mut self) -> Report;
}

struct Report {
    acknowledged: Vec<u64>,
    errors: String,
    gap_ms: u64,
}

fn through_kills(name: &str, cluster: &mut Cluster, mut writer: impl Writer) {
    let rounds = if is_long() { 5 } else { 1 };
    let goes_on = |writer: &mut dyn Writer| {
        let (target, end) = (writer.acknowledged() + 200, Instant::now() + GOES_ON_MAX);
        while writer.acknowledged() < target {
            assert!(Instant::now() < end, "{name} does not go on: {}", writer.troubles());
            thread::sleep(Duration::from_millis(10));
        }
    };
    for _ in 0..rounds {
        goes_on(&mut writer);
        let leader = cluster.leader();
        cluster.nodes[leader].kill();
        goes_on(&mut writer);
        cluster.nodes[leader].start().expect("it can be started again");
        cluster.wait_until_serving();
        goes_on(&mut writer);
    }
    let report = writer.finish();
    let mut leader = cluster.connect_to_leader();
    for page in report.acknowledged.chunks(500) {
        let words: Vec<String> = std::iter::once("MGET".to_owned())
            .chain(page.iter().map(|number| format!("{{{name}}}:{number}")))
            .collect();
        let Value::Array(values) = leader.call(&words).expect("an answer") else { panic!("no values") };
        for (number, value) in page.iter().zip(values) {
            assert_eq!(value.text(), Some(format!("v{number}")), "{name}: write {number} was acknowledged");
        }
    }
    verify(cluster);
    println!(
        "{name}: {} kills of the leader, {} acknowledged writes all there; longest gap {} ms; errors {}",
        rounds,
        report.acknowledged.len(),
        report.gap_ms,
        report.errors
    );
}

/// A program that writes until its input ends.
struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
    /// What it said of troubles.
    complaints: Arc<Mutex<String>>,
    acknowledged: u64,
}

impl Program {
    fn start(name: &str, program: &Path, script: &Path, cluster: &Cluster) -> Program {
        let leader = cluster.leader();
        let mut ports: Vec<String> = addresses(cluster).iter().map(|address| address.port().to_string()).collect();
        ports.swap(0, leader);
        let kind = name.split_once(' ').expect("a client and a kind").1;
        let mut child = Command::new(program)
            .arg(script)
            .args([kind, &ports.join(","), name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().expect("its output"));
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let complaints: Arc<Mutex<String>> = Arc::default();
        let (said, errors) = (Arc::clone(&complaints), BufReader::new(child.stderr.take().expect("its errors")));
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                if said.len() < COMPLAINTS_BYTES_MAX {
                    said.push_str(&line);
                    said.push('\n');
                }
            }
        });
        Program { name: name.to_owned(), child, lines, complaints, acknowledged: 0 }
    }

    /// What it said of troubles, once it has said all: it may have ended just now.
    fn complaints(&self) -> String {
        thread::sleep(Duration::from_millis(200));
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Writer for Program {
    fn acknowledged(&mut self) -> u64 {
        for line in self.lines.try_iter() {
            let count = line.strip_prefix("acknowledged ").and_then(|count| count.parse().ok());
            self.acknowledged = count.unwrap_or(self.acknowledged);
        }
        let ended = self.child.try_wait().expect("its state");
        assert!(ended.is_none(), "{} ended by itself: {ended:?}\n{}", self.name, self.complaints());
        self.acknowledged
    }

    fn troubles(&self) -> String {
        "it says at its end what went wrong".to_owned()
    }

    fn finish(&mut self) -> Report {
        drop(self.child.stdin.take());
        let end = Instant::now() + GOES_ON_MAX;
        loop {
            let line = self.lines.recv_timeout(end.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("{} does not end\n{}", self.name, self.complaints()));
            let Ok(report) = serde_json::from_str::<Json>(&line) else { continue };
            let numbers = report["acknowledged"].as_array().expect("numbers");
            return Report {
                acknowledged: numbers.iter().filter_map(Json::as_u64).collect(),
                errors: report["errors"].to_string(),
                gap_ms: report["gap_ms"].as_u64().expect("a gap"),
            };
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where clients are installed: once, for all runs.
fn clients_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients")
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {text}")) }
}

/// A Python that has redis-py.
fn python() -> PathBuf {
    let folder = clients_folder().join("python");
    let (python, done) = (folder.join("bin/python"), folder.join("installed"));
    if !done.is_file() {
        let begun = Instant::now();
        std::fs::create_dir_all(&folder).expect("a folder");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
            .expect("apt-get install python3-venv");
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "redis>=8,<9"];
        run(Command::new(&python).args(install)).expect("redis-py can be installed");
        std::fs::write(&done, "").expect("a mark");
        println!("installed redis-py in {} ms", ms(begun));
    }
    python
}

fn redis_py(kind: &str) {
    let _turn = alone();
    let python = python();
    let script = clients_folder().join("redis_py.py");
    std::fs::write(&script, include_str!("../../clients/redis_py.py")).expect("the script");
    let mut cluster = Cluster::start(3);
    let name = format!("redis-py {kind}");
    let writer = Program::start(&name, &python, &script, &cluster);
    through_kills(&name, &mut cluster, writer);
}

#[test]
fn redis_py_plain() {
    redis_py("plain");
}

#[test]
fn redis_py_sentinel() {
    redis_py("sentinel");
}

#[test]
fn redis_py_cluster() {
    redis_py("cluster");
}

/// A folder with the clients for Node.js; none if there is no Node.js.
fn node_clients() -> Option<PathBuf> {
    let folder = clients_folder().join("node");
    let done = folder.join("installed");
    if !done.is_file() {
        let begun = Instant::now();
        std::fs::create_dir_all(&folder).expect("a folder");
        let install = ["install", "--silent", "--no-audit", "--no-fund", "ioredis@6", "redis@6", "--prefix"];
        let installed = run(Command::new("node").arg("--version"))
            .and_then(|()| run(Command::new("npm").args(install).arg(&folder)));
        if let Err(error) = installed {
            println!("SKIPPED, the clients for Node.js are not tested: {error}");
            return None;
        }
        std::fs::write(&done, "").expect("a mark");
        println!("installed ioredis and node-redis in {} ms", ms(begun));
    }
    Some(folder)
}

fn node(kind: &str) {
    let _turn = alone();
    let Some(folder) = node_clients() else { return };
    // Beside what was installed, where Node.js looks for it.
    let script = folder.join("node.mjs");
    std::fs::write(&script, include_str!("../../clients/node.mjs")).expect("the script");
    let mut cluster = Cluster::start(3);
    let name = format!("node.js {kind}");
    let writer = Program::start(&name, Path::new("node"), &script, &cluster);
    through_kills(&name, &mut cluster, writer);
}

#[test]
fn ioredis_cluster() {
    node("ioredis-cluster");
}

#[test]
fn ioredis_sentinel() {
    node("ioredis-sentinel");
}

#[test]
fn node_redis_cluster() {
    node("node-redis-cluster");
}

/// A thread that writes with the Rust client.
struct Thread {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    errors: Arc<Mutex<Vec<String>>>,
    thread: Option<thread::JoinHandle<Report>>,
}

impl Thread {
    /// `set` writes a key, opening a connection where it needs one.
    fn start(name: &str, mut set: impl FnMut(&str, &str) -> redis::RedisResult<()> + Send + 'static) -> Thread {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let errors: Arc<Mutex<Vec<String>>> = Arc::default();
        let (stopped, count, name) = (Arc::clone(&stop), Arc::clone(&acknowledged), name.to_owned());
        let said = Arc::clone(&errors);
        let thread = thread::spawn(move || {
            let mut report = Report { acknowledged: Vec::new(), errors: String::new(), gap_ms: 0 };
            let mut last = Instant::now();
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                number += 1;
                match set(&format!("{{{name}}}:{number}"), &format!("v{number}")) {
                    Ok(()) => {
                        report.acknowledged.push(number);
                        report.gap_ms = report.gap_ms.max(ms(last) as u64);
                        last = Instant::now();
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => {
                        said.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
                        thread::sleep(Duration::from_millis(20));
                    }
                }
            }
            let said = said.lock().unwrap_or_else(PoisonError::into_inner);
            report.errors = format!("{}: {:?}…", said.len(), &said[..said.len().min(3)]);
            report
        });
        Thread { stop, acknowledged, errors, thread: Some(thread) }
    }
}

impl Writer for Thread {
    fn acknowledged(&mut self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn troubles(&self) -> String {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{} errors, the last {:?}", errors.len(), &errors[errors.len().saturating_sub(3)..])
    }

    fn finish(&mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it is ended once").join().expect("a report")
    }
}

fn urls(cluster: &Cluster) -> Vec<String> {
    addresses(cluster).iter().map(|address| format!("redis://{address}")).collect()
}

/// Its client for Sentinel cannot be tested: redis 1.8 insists that whoever is asked as a Sentinel says `sentinel` to ROLE,
/// and Talon's nodes are their own Sentinels, on one port.
#[test]
fn rust_redis_cluster() {
    let _turn = alone();
    let mut cluster = Cluster::start(3);
    let client = redis::cluster::ClusterClient::builder(urls(&cluster)).build().expect("a client");
    let mut connection = None;
    let name = "redis-rs cluster";
    let writer = Thread::start(name, move |key, value| {
        if connection.is_none() {
            let opened = client.get_connection()?;
            opened.set_read_timeout(Some(Duration::from_secs(10)))?;
            connection = Some(opened);
        }
        let Some(open) = &mut connection else { return Ok(()) };
        let result = redis::cmd("SET").arg(key).arg(value).exec(open);
        // A blocking connection of this client looks at the slots again when it is redirected, never when a node is gone; its
        // pools throw such a connection away.
        if result.as_ref().is_err_and(redis::RedisError::is_io_error) {
            connection = None;
        }
        result
    });
    through_kills(name, &mut cluster, writer);
}

//! `talon dev` as a person uses it: real processes, a client, kill -9, Ctrl-C, another start.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running `talon dev` and what it has shown so far.
struct Dev {
    process: Child,
    lines: Receiver<String>,
    shown: Vec<String>,
}

impl Dev {
    fn start(data: &Path, port: u16, flags: &[&str]) -> Dev {
        let mut process = Command::new(env!("CARGO_BIN_EXE_talon"))
            .args(["dev", "--data"])
            .arg(data)
            .args(["--port", &port.to_string()])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = process.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Dev { process, lines, shown: Vec::new() }
    }

    /// Waits for a line with this text and returns it.
    fn shows(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.shown.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("`{text}` is not shown; this is:\n{}", self.shown.join("\n")),
            }
        }
    }

    /// The process ids of the banner, by node.
    fn pids(&self) -> Vec<i32> {
        let lines = self.shown.iter().filter(|line| line.trim_start().starts_with("node ") && line.contains(" pid "));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    }

    fn end(&mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), signal).unwrap();
        self.process.wait().unwrap().code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // A failed assertion must not leave servers behind; they end with their parent.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A first port with all the ports of three nodes free, of a part of the range that is this test's own.
fn free_port(from: u16) -> u16 {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let all_free = |first: u16| (0..3).all(|node| (0..4).all(|kind| free(first + node + 1000 * kind)));
    (from..from + 300).step_by(3).find(|port| all_free(*port)).expect("twelve free ports")
}

/// One inline command and the first line of its answer.
fn ask(port: u16, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if line.starts_with('$') && !line.starts_with("$-1") {
        let mut value = vec![0; line[1..].trim().parse().unwrap()];
        reader.read_exact(&mut value)?;
        return Ok(String::from_utf8(value).unwrap());
    }
    Ok(line.trim_end().to_owned())
}

fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_killed_leader_costs_nothing_and_the_data_is_resumed() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let port = free_port(16_400);
    let mut dev = Dev::start(&data, port, &[]);
    assert!(dev.shows("nodes serve").contains("node 1 leads"), "the leader is on the first port");
    dev.shows("Ctrl-C");
    let pids = dev.pids();
    assert_eq!(pids.len(), 3);
    assert_eq!(ask(port, "SET greeting hello").unwrap(), "+OK");
    assert!(ask(port + 1, "SET greeting other").unwrap().starts_with("-MOVED"));

    kill(Pid::from_raw(pids[0]), Signal::SIGKILL).unwrap();
    dev.shows("was killed by signal 9");
    let leads = dev.shows("leads now");
    let leader = if leads.contains("node 2") { port + 1 } else { port + 2 };
    assert_eq!(ask(leader, "GET greeting").unwrap(), "hello");
    assert_eq!(ask(leader, "SET farewell bye").unwrap(), "+OK");
    assert!(!is_alive(pids[0]), "it stays dead");

    assert_eq!(dev.end(Signal::SIGINT), Some(0));
    assert!(pids.iter().all(|pid| !is_alive(*pid)), "no server is left behind");
    drop(dev);

    let mut again = Dev::start(&data, port, &[]);
    let banner = again.shows("nodes serve");
    let id: u16 = banner.split("node ").last().unwrap().split(' ').next().unwrap().parse().unwrap();
    again.shows("Ctrl-C");
    assert_eq!(ask(port + id - 1, "GET greeting").unwrap(), "hello");
    assert_eq!(ask(port + id - 1, "GET farewell").unwrap(), "bye");
    // Killed outright, it cannot end its servers: the kernel tells them.
    let pids = again.pids();
    again.end(Signal::SIGKILL);
    until("servers end with their parent", || pids.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn a_dead_node_is_started_again_when_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let port = free_port(16_720);
    let flags = ["--restart", "--", "--requirepass", "sesame", "--cluster-secret", "hush"];
    let mut dev = Dev::start(&root.path().join("data"), port, &flags);
    dev.shows("Ctrl-C");
    assert!(ask(port, "GET greeting").unwrap().starts_with("-NOAUTH"));
    let pids = dev.pids();
    kill(Pid::from_raw(pids[1]), Signal::SIGKILL).unwrap();
    dev.shows("starting node 2 again");
    until("node 2 serves again", || ask(port + 1, "AUTH sesame").is_ok_and(|answer| answer == "+OK"));
    assert_eq!(dev.end(Signal::SIGTERM), Some(0));
    let shown: Vec<String> = dev.lines.iter().chain(dev.shown.clone()).collect();
    assert!(!shown.iter().any(|line| line.contains("sesame") || line.contains("hush")), "secrets are not shown");
}

//! A node that others try to harm, and what must hold after each attempt: it runs, it serves another client at once, and its
//! memory has a bound.
//!
//! *Enters*: the binary, already built. *Leaves*: a process that is gone with the value. *Must never know*: anything inside it.

#![warn(missing_docs)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use talon_tests_support::{Bytes, Client, Node, Value, wait_until};
use tempfile::TempDir;

/// How long another client may wait for its answer. The machine may be busy with other tests; harm would be minutes, or for ever.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A node alone.
#[derive(Debug)]
pub struct Victim {
    node: Node,
    _folder: TempDir,
}

impl Victim {
    /// With the settings as they are.
    ///
    /// # Panics
    /// If it does not come to serve.
    pub fn start() -> Victim {
        Victim::start_with(&[])
    }

    /// With flags and their values.
    ///
    /// # Panics
    /// If it does not come to serve.
    pub fn start_with(flags: &[(&str, &str)]) -> Victim {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let flags = flags.iter().chain(&[("--disk-reserve-bytes", "0")]);
        let flags: Vec<String> = flags.flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]).collect();
        let mut node = Node::new(1, folder.path(), &flags);
        node.start().expect("a process can be started");
        // Whatever it answers: it may want a password.
        let serves =
            wait_until(START_TIMEOUT, || node.connect().is_ok_and(|mut client| client.call(&["PING"]).is_ok()));
        assert!(serves, "the node does not come to serve");
        Victim { node, _folder: folder }
    }

    /// A new connection.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn connect(&self) -> Client {
        let client = self.node.connect().expect("it listens");
        client.set_timeout(PATIENCE).expect("a time");
        client
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.node.address()
    }

    /// Sends bytes on a connection of their own, and gives everything that is answered until the connection is closed.
    ///
    /// # Panics
    /// If it is not closed in time.
    pub fn answer_until_closed(&self, bytes: &[u8]) -> Bytes {
        let mut client = self.connect();
        // The other side may close before everything is sent.
        let _ = client.send_bytes(bytes);
        client.receive_until_closed().unwrap_or_else(|error| panic!("{}: {error}", shown(bytes)))
    }

    /// That it still does its work for another client, after this was done to it.
    ///
    /// # Panics
    /// If it does not.
    pub fn is_well(&self, after: &str) {
        let begun = Instant::now();
        let mut client = self.connect();
        let mut call = |words: &[&str]| client.call(words).unwrap_or_else(|error| panic!("after {after}: {error}"));
        assert_eq!(call(&["SET", "still", "here"]), Value::Simple("OK".to_owned()), "after {after}");
        assert_eq!(call(&["GET", "still"]), Value::Bulk(Bytes::from("here")), "after {after}");
        assert!(begun.elapsed() < PATIENCE, "after {after}: it took {:?}", begun.elapsed());
    }

    /// Its memory, as the system counts it.
    ///
    /// # Panics
    /// If the process is gone.
    pub fn resident_bytes(&mut self) -> u64 {
        self.memory_bytes("VmRSS:")
    }

    /// The most that it ever was.
    ///
    /// # Panics
    /// If the process is gone.
    pub fn peak_bytes(&mut self) -> u64 {
        self.memory_bytes("VmHWM:")
    }

    fn memory_bytes(&mut self, name: &str) -> u64 {
        let pid = self.node.process().expect("it runs").pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its figures");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Its log lines so far.
    ///
    /// # Panics
    /// If there are none.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.node.log).expect("its log")).into_owned()
    }

    /// Whether its process runs.
    pub fn is_running(&mut self) -> bool {
        self.node.is_running()
    }
}

/// The beginning of some bytes, for messages.
pub fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(60)].escape_ascii().to_string()
}

/// One command as a client sends it.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

//! A node that others try to harm, and what must hold after each attempt: it runs, it serves another client at once, and its
//! memory has a bound.
//!
//! *Enters*: the binary, already built. *Leaves*: a process that is gone with the value. *Must never know*: anything inside it.

#![warn(missing_docs)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use talon_tests_support::{Bytes, Client, Cluster, ClusterOptions, Value};

/// How long another client may wait for its answer. The machine may be busy with other tests; harm would be minutes, or for ever.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A node alone.
#[derive(Debug)]
pub struct Victim {
    cluster: Cluster,
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
        let options = ClusterOptions::nodes(1).flag("--disk-reserve-bytes", "0");
        let options = flags.iter().fold(options, |options, (flag, value)| options.flag(flag, value));
        Victim { cluster: Cluster::start_with(&options) }
    }

    /// A new connection.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn connect(&self) -> Client {
        let client = self.cluster.nodes[0].connect().expect("it listens");
        client.set_timeout(PATIENCE).expect("a time");
        client
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.cluster.nodes[0].address()
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
        let pid = self.cluster.nodes[0].process().expect("it runs").pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its figures");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Its log lines so far.
    ///
    /// # Panics
    /// If there are none.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.cluster.nodes[0].log).expect("its log")).into_owned()
    }

    /// Whether its process runs.
    pub fn is_running(&mut self) -> bool {
        self.cluster.nodes[0].is_running()
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

//! Which stage of a command's way a sample of a profile belongs to: by the names in its stack, from the innermost outwards, and by its thread.
//! The first frame that a rule knows decides; a frame that serves everybody (memcpy, malloc, the kernel) is known to none.

use std::collections::BTreeMap;

use serde::Serialize;

/// A stage of a command's way through a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Bytes from a client's socket.
    Read,
    /// Bytes to requests; checks.
    Parse,
    /// Reads that are answered from the state.
    Answer,
    /// Requests of all connections to entries.
    Propose,
    /// openraft's own bookkeeping.
    Raft,
    /// Entries to the log, and its sync.
    Log,
    /// Entries to and from other nodes.
    Replicate,
    /// Entries to the state.
    Apply,
    /// Recent writes to the storage's files, in the background.
    Flush,
    /// Replies to bytes, and to the client's socket.
    Reply,
    /// Clocks, leases, watching.
    Upkeep,
    /// Threads that wait and wake each other.
    Runtime,
    /// No rule knows it.
    Other,
}

impl Stage {
    /// All, in the order of a command's way.
    pub const ALL: [Stage; 13] = [
        Stage::Read,
        Stage::Parse,
        Stage::Answer,
        Stage::Propose,
        Stage::Raft,
        Stage::Log,
        Stage::Replicate,
        Stage::Apply,
        Stage::Flush,
        Stage::Reply,
        Stage::Upkeep,
        Stage::Runtime,
        Stage::Other,
    ];

    /// For a row's head.
    pub fn title(self) -> &'static str {
        match self {
            Stage::Read => "read",
            Stage::Parse => "parse",
            Stage::Answer => "answer reads",
            Stage::Propose => "propose",
            Stage::Raft => "raft's bookkeeping",
            Stage::Log => "log",
            Stage::Replicate => "replicate",
            Stage::Apply => "apply",
            Stage::Flush => "drain, flush, compact",
            Stage::Reply => "reply",
            Stage::Upkeep => "clocks and watching",
            Stage::Runtime => "waiting and waking",
            Stage::Other => "not attributed",
        }
    }
}

/// What a frame's name says.
enum Says {
    /// The stage.
    Stage(Stage),
    /// The state is used: by an apply, or to answer a read; frames further out or the thread tell which.
    State,
    /// The connection's own loop: the system call in the stack tells whether it reads or replies.
    Connection,
}

/// Texts that a frame's name begins with or has behind `<`, `&` or `as `, the special ones first.
const RULES: &[(&str, Says)] = &[
    ("talon_resp::encode", Says::Stage(Stage::Reply)),
    ("talon_resp::", Says::Stage(Stage::Parse)),
    ("talon_server::resp::pipeline::Pipeline::encode", Says::Stage(Stage::Reply)),
    ("talon_server::resp::reply", Says::Stage(Stage::Reply)),
    ("talon_server::resp::connection::Connection<D,S>::flush", Says::Stage(Stage::Reply)),
    ("talon_server::resp::connection::Connection<D,S>::plan", Says::Stage(Stage::Parse)),
    ("talon_server::resp::connection", Says::Connection),
    ("talon_server::resp::listener", Says::Connection),
    ("talon_server::", Says::Stage(Stage::Parse)),
    ("talon_raft::log", Says::Stage(Stage::Log)),
    ("talon_raft::transport", Says::Stage(Stage::Replicate)),
    ("talon_raft::network", Says::Stage(Stage::Replicate)),
    ("openraft::replication", Says::Stage(Stage::Replicate)),
    ("openraft::network", Says::Stage(Stage::Replicate)),
    ("tonic", Says::Stage(Stage::Replicate)),
    ("h2::", Says::Stage(Stage::Replicate)),
    ("hyper", Says::Stage(Stage::Replicate)),
    ("prost", Says::Stage(Stage::Replicate)),
    ("tokio_util::codec", Says::Stage(Stage::Replicate)),
    ("talon_proto", Says::Stage(Stage::Replicate)),
    ("talon_raft::state", Says::Stage(Stage::Apply)),
    ("openraft::core::sm", Says::Stage(Stage::Apply)),
    ("talon::machine", Says::Stage(Stage::Apply)),
    ("talon::view", Says::Stage(Stage::Answer)),
    ("talon_raft::database", Says::Stage(Stage::Answer)),
    ("talon_raft::lease", Says::Stage(Stage::Answer)),
    ("rocksdb", Says::State),
    ("talon_storage::", Says::State),
    ("talon_core::proposal", Says::Stage(Stage::Propose)),
    ("talon_core::", Says::State),
    ("talon::", Says::State),
    ("talon_raft::proposer", Says::Stage(Stage::Propose)),
    ("talon_raft::pending", Says::Stage(Stage::Propose)),
    ("talon_raft::gathering", Says::Stage(Stage::Propose)),
    ("talon_raft::node", Says::Stage(Stage::Propose)),
    ("talon_raft::", Says::Stage(Stage::Upkeep)),
    ("openraft", Says::Stage(Stage::Raft)),
    ("mio::poll::Poll::poll", Says::Stage(Stage::Runtime)),
    ("mio::sys::unix::waker", Says::Stage(Stage::Runtime)),
    ("tokio::runtime::io::driver", Says::Stage(Stage::Runtime)),
    ("tokio::runtime::time", Says::Stage(Stage::Runtime)),
    ("tokio::runtime::scheduler", Says::Stage(Stage::Runtime)),
];

/// A sample: the name of its thread, and its stack from the innermost frame on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The thread.
    pub thread: String,
    /// The frames.
    pub frames: Vec<String>,
}

/// The samples in what `perf script -F comm,ip,sym` prints.
pub fn samples(text: &str) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut present: Option<Sample> = None;
    for line in text.lines() {
        let words = line.trim();
        if words.is_empty() {
            samples.extend(present.take());
        } else if line.starts_with(char::is_whitespace) {
            let name = words.split_once(' ').map_or("", |(_, name)| name);
            if let Some(sample) = &mut present {
                sample.frames.push(name.to_owned());
            }
        } else {
            samples.extend(present.take());
            present = Some(Sample { thread: words.to_owned(), frames: Vec::new() });
        }
    }
    samples.extend(present);
    samples
}

impl Sample {
    /// The stage it belongs to.
    pub fn stage(&self) -> Stage {
        if self.thread.starts_with("rocksdb") || self.thread == "talon-drain" {
            return Stage::Flush;
        }
        let by_thread = match &*self.thread {
            "talon-log" => Some(Stage::Log),
            "talon-apply" => Some(Stage::Apply),
            _ => None,
        };
        let mut uses_state = false;
        for frame in &self.frames {
            match says(frame) {
                None => {}
                Some(Says::State) => uses_state = true,
                Some(Says::Connection) if uses_state => return Stage::Answer,
                Some(Says::Connection) => return self.of_connection(),
                // The state may be used by a task that the runtime polls.
                Some(Says::Stage(Stage::Runtime)) if uses_state => {}
                Some(Says::Stage(Stage::Runtime)) => return Stage::Runtime,
                Some(Says::Stage(stage)) => return by_thread.filter(|_| uses_state).unwrap_or(*stage),
            }
        }
        match by_thread {
            Some(stage) => stage,
            None if uses_state => Stage::Answer,
            // Threads that wait have nothing of their own in their stacks.
            None if self.calls(&["schedule", "futex", "epoll"]) => Stage::Runtime,
            None => Stage::Other,
        }
    }

    fn of_connection(&self) -> Stage {
        if self.calls(&["recv", "sock_read", "poll_read"]) {
            Stage::Read
        } else if self.calls(&["send", "sock_write", "poll_write"]) {
            Stage::Reply
        } else {
            Stage::Parse
        }
    }

    fn calls(&self, names: &[&str]) -> bool {
        self.frames.iter().any(|frame| names.iter().any(|name| frame.contains(name)))
    }
}

/// What the first rule says that knows a frame's name.
fn says(frame: &str) -> Option<&'static Says> {
    // `<h2::client::Connection<T,B> as core::future::future::Future>::poll` is h2's.
    let name = frame.trim_start_matches(['<', '&']).trim_start_matches("mut ");
    RULES.iter().find(|(text, _)| name.starts_with(text)).map(|(_, says)| says)
}

/// How many samples belong to each stage.
pub fn count(samples: &[Sample]) -> BTreeMap<Stage, u64> {
    let mut counts = BTreeMap::new();
    for sample in samples {
        *counts.entry(sample.stage()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(thread: &str, frames: &[&str]) -> Stage {
        Sample { thread: thread.into(), frames: frames.iter().map(|&frame| frame.into()).collect() }.stage()
    }

    #[test]
    fn samples_are_read() {
        let text =
            "talon-apply \n\t   16d80f __memcpy\n\t  bc6782 talon_storage::batch::Batch::put\n\ntalon \n\t 12 a b\n";
        let samples = samples(text);
        assert_eq!(samples.len(), 2);
        assert_eq!(samples[0].thread, "talon-apply");
        assert_eq!(samples[0].frames, ["__memcpy", "talon_storage::batch::Batch::put"]);
        assert_eq!(samples[1].frames, ["a b"]);
    }

    #[test]
    fn stacks_are_told_apart() {
        let serve = "talon_server::resp::listener::serve::{{closure}}::{{closure}}";
        assert_eq!(stage("talon", &["tcp_recvmsg", "__libc_recv", serve]), Stage::Read);
        assert_eq!(stage("talon", &["tcp_sendmsg", serve]), Stage::Reply);
        assert_eq!(stage("talon", &["malloc", "talon_resp::request::RequestDecoder::next", serve]), Stage::Parse);
        assert_eq!(stage("talon", &["rocksdb::DBImpl::Get", "talon::view::ReadView::execute", serve]), Stage::Answer);
        assert_eq!(stage("talon", &["rocksdb::DBImpl::Get", serve]), Stage::Answer);
        assert_eq!(stage("talon-apply", &["rocksdb::MemTable::Add", "[unknown]"]), Stage::Apply);
        assert_eq!(stage("talon", &["rocksdb::MemTable::Add", "talon::machine::Machine::commit"]), Stage::Apply);
        assert_eq!(stage("rocksdb:high", &["write"]), Stage::Flush);
        assert_eq!(stage("talon-log", &["iowrite16", "talon_raft::log::writer::sync"]), Stage::Log);
        let client = "<h2::client::Connection<T,B> as core::future::future::Future>::poll";
        assert_eq!(
            stage("talon", &["tcp_recvmsg", "tokio::net::tcp::stream::TcpStream::poll_read_priv", client]),
            Stage::Replicate
        );
        assert_eq!(
            stage("talon", &["talon_core::proposal::Proposal::encode", "talon_raft::node::spawn"]),
            Stage::Propose
        );
        assert_eq!(stage("talon", &["openraft::core::raft_core::RaftCore<C>::flush_metrics"]), Stage::Raft);
        assert_eq!(stage("talon", &["schedule", "epoll_wait", "mio::poll::Poll::poll"]), Stage::Runtime);
        assert_eq!(stage("talon", &["who_knows"]), Stage::Other);
    }
}

//! Two servers that are sent the same.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use talon_resp::encode_command;
use talon_tests_support::{Client, Value};

use crate::agree::agree;
use crate::arguments::KEYS;
use crate::scripts;

/// One command of a sequence, and how it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The command's name and arguments.
    pub words: Vec<Bytes>,
    /// Sent together with the next one, without waiting for the reply.
    pub joined: bool,
    /// Sent as a line, as by hand over telnet.
    pub inline: bool,
    /// How long to wait when the reply has come, until what the command gave a short time has ended.
    pub wait_ms: u64,
}

impl Step {
    /// A command that is sent alone.
    pub fn new(words: Vec<Bytes>) -> Step {
        Step { words, joined: false, inline: false, wait_ms: 0 }
    }

    fn encode(&self, out: &mut BytesMut) {
        if !self.inline {
            return encode_command(&self.words, out);
        }
        for word in &self.words {
            out.extend_from_slice(scripts::quote(word).as_bytes());
            out.extend_from_slice(b" ");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Whether redis-server answers it with keys that have ended, until somebody touches them.
    pub fn sees_ended_keys(&self) -> bool {
        self.is(b"DBSIZE") || self.is(b"MEMORY")
    }

    fn is(&self, name: &[u8]) -> bool {
        self.words.first().is_some_and(|word| word.eq_ignore_ascii_case(name))
    }
}

/// A command that is answered otherwise.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// The command's place in the sequence.
    pub place: usize,
    /// Talon's reply.
    pub ours: Bytes,
    /// Redis's reply.
    pub theirs: Bytes,
    /// Redis's replies to all commands up to this one.
    pub replies: Vec<Bytes>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "talon: {:?}\nredis: {:?}", self.ours, self.theirs)
    }
}

/// A Talon node and the judge.
#[derive(Debug)]
pub struct Pair {
    talon: SocketAddr,
    redis: SocketAddr,
}

impl Pair {
    /// Of the two addresses.
    pub fn new(talon: SocketAddr, redis: SocketAddr) -> Pair {
        Pair { talon, redis }
    }

    /// Carries a sequence out on both servers, which are emptied before, over new connections: Redis's replies, or
    /// the first command that is answered otherwise.
    ///
    /// # Errors
    /// If a server does not answer.
    pub fn run(&self, steps: &[Step], resp3: bool) -> io::Result<Result<Vec<Bytes>, Mismatch>> {
        let mut ours = Client::connect(self.talon)?;
        let mut theirs = Client::connect(self.redis)?;
        let mut janitor = Client::connect(self.redis)?;
        for client in [&mut ours, &mut theirs] {
            client.call(&["FLUSHALL"])?;
            if resp3 {
                client.call(&["HELLO", "3"])?;
            }
        }
        let mut replies = Vec::with_capacity(steps.len());
        // The commands since MULTI, as far as they were taken.
        let mut queued: Option<Vec<Vec<Bytes>>> = None;
        let mut rest = steps;
        while !rest.is_empty() {
            let length = rest.iter().position(|step| !step.joined).map_or(rest.len(), |place| place + 1);
            let (together, after) = rest.split_at(length);
            rest = after;
            if together.iter().any(Step::sees_ended_keys) {
                janitor.call(&[&[&b"EXISTS"[..]], KEYS].concat())?;
            }
            let mut out = BytesMut::new();
            together.iter().for_each(|step| step.encode(&mut out));
            ours.send_bytes(&out)?;
            theirs.send_bytes(&out)?;
            for step in together {
                let (our_reply, their_reply) = (answer(&mut ours, "talon")?, answer(&mut theirs, "redis")?);
                replies.push(their_reply.clone());
                let results = queued.as_deref().filter(|_| step.is(b"EXEC"));
                if !agree(&step.words, results, &our_reply, &their_reply) {
                    let place = replies.len() - 1;
                    return Ok(Err(Mismatch { place, ours: our_reply, theirs: their_reply, replies }));
                }
                follow(&mut queued, step, &their_reply);
            }
            if let Some(wait_ms) = together.iter().map(|step| step.wait_ms).max().filter(|wait_ms| *wait_ms > 0) {
                thread::sleep(Duration::from_millis(wait_ms));
            }
        }
        Ok(Ok(replies))
    }
}

fn answer(client: &mut Client, name: &str) -> io::Result<Bytes> {
    client.receive_bytes().map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))
}

/// What MULTI has gathered after this step.
fn follow(queued: &mut Option<Vec<Vec<Bytes>>>, step: &Step, reply: &Bytes) {
    let ok = &reply[..] == b"+OK\r\n";
    if step.is(b"MULTI") && ok {
        *queued = Some(Vec::new());
    } else if step.is(b"EXEC") || (step.is(b"DISCARD") && ok) || &reply[..] == b"+RESET\r\n" {
        *queued = None;
    } else if let Some(queued) = queued.as_mut().filter(|_| &reply[..] == b"+QUEUED\r\n") {
        queued.push(step.words.clone());
    }
}

/// A sequence as a golden script, with Redis's replies; and Talon's other reply behind the last command.
pub fn as_script(steps: &[Step], mismatch: &Mismatch, resp3: bool) -> String {
    let mut lines = vec![format!("# in RESP{}", if resp3 { 3 } else { 2 })];
    for (step, reply) in steps.iter().zip(&mismatch.replies) {
        let notes = [
            (step.inline, "the next command is sent inline"),
            (step.joined, "the next command is sent together with the one behind it"),
        ];
        lines.extend(notes.iter().filter(|(is_so, _)| *is_so).map(|(_, note)| format!("# {note}")));
        lines.push(scripts::command_line(&step.words));
        lines.push(scripts::show(&read(reply)));
        if step.wait_ms > 0 {
            lines.push(format!("@ +{}ms", step.wait_ms));
        }
    }
    lines.push(format!("# but Talon's reply is\n# {}", scripts::show(&read(&mismatch.ours)).replace('\n', "\n# ")));
    lines.push(format!("# as bytes: {:?}\n#     redis: {:?}", mismatch.ours, mismatch.theirs));
    lines.join("\n")
}

fn read(reply: &Bytes) -> Value {
    Client::parse(reply).unwrap_or(Value::Null)
}

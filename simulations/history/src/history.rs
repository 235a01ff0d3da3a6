//! The history: every call with its times and what came of it.

use std::fmt;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::{Action, Word};

/// What a database answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing there, or not done.
    Nil,
    /// Done.
    Ok,
    /// A number.
    Int(i64),
    /// A value.
    Bytes(Word),
    /// Several; a scan answers pairs, each a `Many` of key and value.
    Many(Vec<Reply>),
    /// The command was carried out, and this is its refusal, the same on every node.
    Error(String),
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Nil => f.write_str("nil"),
            Reply::Ok => f.write_str("OK"),
            Reply::Int(number) => write!(f, "{number}"),
            Reply::Bytes(bytes) => write!(f, "{bytes:?}"),
            Reply::Many(replies) => {
                f.write_str("[")?;
                for (index, reply) in replies.iter().enumerate() {
                    write!(f, "{}{reply}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Reply::Error(text) => write!(f, "error {text:?}"),
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was carried out between call and return, with this answer.
    Reply(Reply),
    /// It was certainly not carried out, and never will be.
    Refused(String),
    /// It may have been carried out at any time from the call on, also later than it was given up; or never.
    Unknown(String),
}

impl Outcome {
    /// The answer, if there was one.
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Outcome::Reply(reply) => Some(reply),
            _ => None,
        }
    }
}

/// What a read was promised. Writes are linearizable always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consistency {
    /// To see every write that was acknowledged before it was called.
    #[default]
    Linearizable,
    /// To see at least what its client has seen and written before.
    Session,
    /// To see some state that was.
    Stale,
    /// To see every write that was acknowledged so many ms before it was called.
    Bounded(u64),
}

impl Consistency {
    /// Whether a read sees at least what its client has seen and written before.
    pub fn keeps_sessions(self) -> bool {
        matches!(self, Consistency::Linearizable | Consistency::Session)
    }
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its place in the history.
    pub id: u64,
    /// Who called. A client has one call open at a time; after an unknown outcome it may go on.
    pub client: u32,
    /// Which node was asked, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
    /// When it was called, on the history's one true clock.
    pub called_us: u64,
    /// When the answer had arrived; `None`: none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned_us: Option<u64>,
    /// What was asked for.
    pub action: Action,
    /// What came of it.
    pub outcome: Outcome,
    /// What was promised, for reads.
    #[serde(default)]
    pub consistency: Consistency,
    /// The applied index that it was answered at, if the driver knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<u64>,
    /// The term in which it was answered, if the driver knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
}

impl Operation {
    /// The answer, if there was one.
    pub fn reply(&self) -> Option<&Reply> {
        self.outcome.reply()
    }

    /// Whether it may have changed something: it can, and was not refused.
    pub fn may_have_written(&self) -> bool {
        self.action.writes() && !matches!(self.outcome, Outcome::Refused(_))
    }

    /// When it had certainly been carried out; `None`: perhaps never.
    pub fn certain_us(&self) -> Option<u64> {
        self.reply().and(self.returned_us)
    }

    /// Whether this was certainly over before `other` began.
    pub fn before(&self, other: &Operation) -> bool {
        self.certain_us().is_some_and(|returned| returned < other.called_us)
    }
}

/// One line for people: `#12 client 3 → node 1  1.250000..1.251300 s  SET a 1 → OK`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} client {}", self.id, self.client)?;
        if let Some(node) = self.node {
            write!(f, " → node {node}")?;
        }
        write!(f, "  {}..", Seconds(self.called_us))?;
        match self.returned_us {
            Some(returned) => write!(f, "{} s", Seconds(returned))?,
            None => f.write_str("never")?,
        }
        write!(f, "  {} → ", self.action)?;
        match &self.outcome {
            Outcome::Reply(reply) => write!(f, "{reply}")?,
            Outcome::Refused(text) => write!(f, "refused: {text}")?,
            Outcome::Unknown(text) => write!(f, "unknown: {text}")?,
        }
        if !self.action.writes() && self.consistency != Consistency::Linearizable {
            write!(f, " ({:?} read)", self.consistency)?;
        }
        if let Some(applied) = self.applied {
            write!(f, " at {applied}")?;
        }
        if let Some(term) = self.term {
            write!(f, " in term {term}")?;
        }
        Ok(())
    }
}

struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// All calls of a run, in the order in which they were called. The database was empty before the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    operations: Vec<Operation>,
}

impl History {
    /// An empty one.
    pub fn new() -> History {
        History::default()
    }

    /// Writes down that a client calls, and answers the number to say later what came of it. Until then, the outcome
    /// is unknown.
    pub fn call(&mut self, client: u32, node: Option<u64>, now_us: u64, action: Action) -> u64 {
        let id = self.operations.len() as u64;
        self.operations.push(Operation {
            id,
            client,
            node,
            called_us: now_us,
            returned_us: None,
            action,
            outcome: Outcome::Unknown("still open".to_owned()),
            consistency: Consistency::Linearizable,
            applied: None,
            term: None,
        });
        id
    }

    /// Writes down what came of a call.
    ///
    /// # Panics
    /// If there is no such call.
    pub fn returned(&mut self, id: u64, now_us: u64, outcome: Outcome) {
        let operation = self.operation_mut(id);
        operation.returned_us = Some(now_us);
        operation.outcome = outcome;
    }

    /// A call, to add what else is known of it (consistency, position, term).
    ///
    /// # Panics
    /// If there is no such call.
    pub fn operation_mut(&mut self, id: u64) -> &mut Operation {
        &mut self.operations[id as usize]
    }

    /// Adds a whole call; its number becomes its place.
    pub fn push(&mut self, operation: Operation) -> u64 {
        let id = self.operations.len() as u64;
        self.operations.push(Operation { id, ..operation });
        id
    }

    /// One history out of several that were written on the same clock, by clients of different numbers.
    pub fn merged(parts: impl IntoIterator<Item = History>) -> History {
        let mut operations: Vec<Operation> = parts.into_iter().flat_map(|part| part.operations).collect();
        operations.sort_by_key(|operation| (operation.called_us, operation.client, operation.id));
        let mut history = History::new();
        for operation in operations {
            history.push(operation);
        }
        history
    }

    /// The calls.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// One JSON object a line.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write_lines(&self, to: &mut impl Write) -> io::Result<()> {
        for operation in &self.operations {
            serde_json::to_writer(&mut *to, operation)?;
            to.write_all(b"\n")?;
        }
        Ok(())
    }

    /// What [`History::write_lines`] wrote.
    ///
    /// # Errors
    /// What the reader says, or `InvalidData` for a line that is no operation.
    pub fn read_lines(from: impl BufRead) -> io::Result<History> {
        let mut history = History::new();
        for line in from.lines() {
            history.push(serde_json::from_str(&line?)?);
        }
        Ok(history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Deadline, Ttl};

    #[test]
    fn lines_come_back_as_they_were() {
        let mut history = History::new();
        let set = Action::Set {
            key: "a".into(),
            value: Word::from(&b"\x00\xff \"\\"[..]),
            ttl: Some(Ttl::Until(Deadline::AtMs(5))),
            condition: None,
            get: true,
        };
        let id = history.call(3, Some(1), 1_250_000, set);
        history.returned(id, 1_251_300, Outcome::Reply(Reply::Nil));
        history.call(4, None, 1_260_000, Action::Transaction(vec![Action::get("a"), Action::del("b")]));
        let id = history.call(3, Some(2), 1_270_000, Action::Scan("p".into()));
        history.operation_mut(id).applied = Some(17);
        history.operation_mut(id).consistency = Consistency::Session;
        let pair = Reply::Many(vec![Reply::Bytes("p1".into()), Reply::Bytes("x".into())]);
        history.returned(id, 1_280_000, Outcome::Reply(Reply::Many(vec![pair])));

        let mut lines = Vec::new();
        history.write_lines(&mut lines).expect("into memory");
        assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 3);
        assert_eq!(History::read_lines(&lines[..]).expect("the same"), history);
        assert!(History::read_lines(&b"{}\n"[..]).is_err());

        let texts: Vec<String> = history.operations().iter().map(ToString::to_string).collect();
        assert_eq!(texts[0], r#"#0 client 3 → node 1  1.250000..1.251300 s  SET a "\x00\xff \"\\" GET PXAT 5 → nil"#);
        assert_eq!(texts[1], "#1 client 4  1.260000..never  MULTI; GET a; DEL b; EXEC → unknown: still open");
        assert!(texts[2].ends_with(r#"→ [["p1", "x"]] (Session read) at 17"#), "{}", texts[2]);
    }

    #[test]
    fn histories_of_several_threads_become_one() {
        let part = |client, times: &[u64]| {
            let mut history = History::new();
            for time in times {
                history.call(client, None, *time, Action::get("a"));
            }
            history
        };
        let history = History::merged([part(1, &[10, 30]), part(2, &[5, 20])]);
        let order: Vec<(u64, u64, u32)> =
            history.operations().iter().map(|one| (one.id, one.called_us, one.client)).collect();
        assert_eq!(order, [(0, 5, 2), (1, 10, 1), (2, 20, 2), (3, 30, 1)]);
    }
}

//! Golden scripts: commands and the replies they must get, in text that a person can read. The same files run on the
//! bare core, on the embedded database and on a live cluster.
//!
//! ```text
//! # A comment.
//! > SET greeting "hello\xff" EX 10
//! OK
//! @ +9500ms
//! > TTL greeting
//! (integer) 1
//! > MGET greeting missing
//! 1) "hello\xff"
//! 2) (nil)
//! ```
//!
//! - `> ` begins a command: words between spaces. A word in double quotes may hold anything, with the escapes
//!   `\n \r \t \a \b \" \\ \xHH`, as in redis-cli.
//! - The lines behind it, up to an empty line, a comment or the next command, are its reply as redis-cli shows it. Pairs of a
//!   map are shown as the flat array they are in RESP2, and a missing array as a missing string, so that the protocol makes
//!   no difference. `(integer) *` stands for any integer.
//! - `@ +1500ms` moves the clock on. Only a target that owns its clock can do so; others wait, or leave the script out
//!   ([`Script::moves_clock`]).
//!
//! [`MemorySource`] is the data below a transaction in plain maps, for tests.

mod format;
mod memory;

pub use format::{render, split_words};
pub use memory::MemorySource;

use bytes::Bytes;

use crate::commands;
use crate::reply::Reply;

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send a command, and compare its reply.
    Command {
        /// The command's name and arguments.
        words: Vec<Bytes>,
        /// The reply as text, lines joined by `\n`.
        expected: String,
    },
    /// Move the clock on.
    Advance {
        /// By so many milliseconds.
        by_ms: u64,
    },
}

/// A script that was read.
#[derive(Clone, Debug)]
pub struct Script {
    /// What it is called in messages, such as its file's name.
    pub name: String,
    /// Each step with its line, counted from 1.
    pub steps: Vec<(usize, Step)>,
}

/// What a script runs on.
pub trait Target {
    /// Carries out one command. `Err`: there was no reply at all.
    fn execute(&mut self, words: &[Bytes]) -> Result<Reply, String>;

    /// Moves the clock on by this much, or waits so long. `Err`: it cannot.
    fn advance(&mut self, by_ms: u64) -> Result<(), String>;
}

/// Where a script is wrong, or what went otherwise than it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{script}:{line}: {message}")]
pub struct ScriptError {
    /// The script's name.
    pub script: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is the matter.
    pub message: String,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// The first line that is no part of a script.
    pub fn parse(name: &str, text: &str) -> Result<Script, ScriptError> {
        let mut steps: Vec<(usize, Step)> = Vec::new();
        // Whether the next line may belong to the last command's reply.
        let mut open = false;
        for (place, line) in text.lines().enumerate() {
            let place = place + 1;
            let fail =
                |message: &str| ScriptError { script: name.to_owned(), line: place, message: message.to_owned() };
            if line.is_empty() || line.starts_with('#') {
                open = false;
            } else if let Some(command) = line.strip_prefix("> ") {
                let words = split_words(command).ok_or_else(|| fail("the quotes or escapes are wrong"))?;
                if words.is_empty() {
                    return Err(fail("there is no command"));
                }
                steps.push((place, Step::Command { words, expected: String::new() }));
                open = true;
            } else if let Some(by) = line.strip_prefix("@ +") {
                let by_ms = by.strip_suffix("ms").and_then(|by| by.parse().ok());
                steps.push((place, Step::Advance { by_ms: by_ms.ok_or_else(|| fail("no number of ms"))? }));
                open = false;
            } else if let Some((_, Step::Command { expected, .. })) = steps.last_mut().filter(|_| open) {
                if !expected.is_empty() {
                    expected.push('\n');
                }
                expected.push_str(line);
            } else {
                return Err(fail("a reply without a command"));
            }
        }
        for (line, step) in &steps {
            if matches!(step, Step::Command { expected, .. } if expected.is_empty()) {
                let message = "a command without a reply".to_owned();
                return Err(ScriptError { script: name.to_owned(), line: *line, message });
            }
        }
        Ok(Script { name: name.to_owned(), steps })
    }

    /// Whether it needs a clock that can be moved.
    pub fn moves_clock(&self) -> bool {
        self.steps.iter().any(|(_, step)| matches!(step, Step::Advance { .. }))
    }

    /// The names of the commands in it, in lower case; `object|encoding` for a subcommand.
    pub fn command_names(&self) -> impl Iterator<Item = String> {
        self.steps.iter().filter_map(|(_, step)| match step {
            Step::Command { words, .. } => Some(match commands::resolve(&words[0], &words[1..]) {
                Ok(row) => row.facts.name.to_owned(),
                Err(_) => String::from_utf8_lossy(&words[0]).to_ascii_lowercase(),
            }),
            Step::Advance { .. } => None,
        })
    }

    /// Carries it out on `target`.
    ///
    /// # Errors
    /// The first step that went otherwise.
    pub fn run(&self, target: &mut dyn Target) -> Result<(), ScriptError> {
        for (line, step) in &self.steps {
            let fail = |message: String| ScriptError { script: self.name.clone(), line: *line, message };
            match step {
                Step::Advance { by_ms } => target.advance(*by_ms).map_err(fail)?,
                Step::Command { words, expected } => {
                    let reply = render(&target.execute(words).map_err(fail)?);
                    if !agrees(expected, &reply) {
                        return Err(fail(format!("expected\n{expected}\nbut the reply is\n{reply}")));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether a reply is the expected one, line by line.
fn agrees(expected: &str, reply: &str) -> bool {
    let mut lines = expected.lines().zip(reply.lines());
    expected.lines().count() == reply.lines().count()
        && lines.all(|(expected, line)| match expected.strip_suffix("(integer) *") {
            Some(before) => line.strip_prefix(before).is_some_and(|line| line.starts_with("(integer) ")),
            None => expected == line,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl Target for Echo {
        fn execute(&mut self, words: &[Bytes]) -> Result<Reply, String> {
            match words {
                [_, word] => Ok(Reply::Bulk(word.clone())),
                [_, words @ ..] if !words.is_empty() => {
                    Ok(Reply::Array(words.iter().cloned().map(Reply::Bulk).collect()))
                }
                _ => Ok(Reply::Integer(7)),
            }
        }

        fn advance(&mut self, _by_ms: u64) -> Result<(), String> {
            Err("no clock".to_owned())
        }
    }

    #[test]
    fn a_script_is_read_and_run() {
        let script =
            Script::parse("a", "# hi\n> ECHO \"a b\"\n\"a b\"\n> echo a b\n1) \"a\"\n2) \"b\"\n\n> x\n(integer) *\n");
        let script = script.expect("readable");
        assert_eq!(script.command_names().collect::<Vec<_>>(), ["echo", "echo", "x"]);
        assert!(!script.moves_clock());
        assert_eq!(script.run(&mut Echo), Ok(()));
    }

    #[test]
    fn what_goes_otherwise_names_its_line() {
        let script = Script::parse("a", "> ECHO a\n\"a\"\n\n> ECHO b\n\"c\"\n").expect("readable");
        let error = script.run(&mut Echo).expect_err("another reply");
        assert_eq!(error.line, 4);
        assert!(error.to_string().contains("\"c\"\nbut the reply is\n\"b\""), "{error}");
        let script = Script::parse("a", "> x\n(integer) 8\n").expect("readable");
        assert!(script.run(&mut Echo).is_err());
        let script = Script::parse("a", "@ +5ms\n").expect("readable");
        assert!(script.moves_clock());
        assert_eq!(script.run(&mut Echo).map_err(|error| error.message), Err("no clock".to_owned()));
    }

    #[test]
    fn a_broken_script_is_refused() {
        for (text, line) in
            [("OK\n", 1), ("> x\n\n> y\n", 1), ("> x\nOK\n\nOK\n", 4), ("> \"x\nOK\n", 1), ("@ +5\n", 1)]
        {
            assert_eq!(Script::parse("a", text).map_err(|error| error.line).err(), Some(line), "{text:?}");
        }
    }
}

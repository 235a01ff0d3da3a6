//! `ONCE session sequence command …`: a write that a client may send again when it did not hear the answer.
//!
//! For each session the last sequence number is noted, with the reply (`sessions.rs`). The same number again is answered with that reply, and
//! nothing is carried out; a smaller one is refused. A session that is not known begins with 1; with any other number it may have been
//! forgotten, and then nobody can say whether the command was carried out before. While no other session can be noted, none begins.

use bytes::Bytes;

use super::sessions::{Session, Sessions};
use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands;
use crate::error::{Error, Fault, Refusal};
use crate::numbers::parse_integer;
use crate::planted::{Bug, is_planted};
use crate::reply::{self, Reply};
use crate::transaction::Transaction;

/// The row.
pub static ONCE: Command = Command {
    id: 206,
    kind: Kind::Write,
    facts: Facts {
        name: "once",
        arity: -4,
        // Without `movablekeys`, for which cluster clients ask a node before every single call, and some of them a dead one
        // for ever: where a key mostly is will do for them.
        flags: &[Flag::Write, Flag::Denyoom],
        keys: KeySpec { first: 4, last: 4, step: 1 },
        group: Group::Talon,
        summary: "Carries out a write unless the session has sent this number before; then it repeats the reply.",
        since: "0.1.0",
        complexity: "O(1) beside what the command takes.",
    },
    execute,
};

/// How many words stand before the command's arguments.
const WORDS_BEFORE: usize = 3;
/// The longest name of a session, in bytes.
const SESSION_BYTES_MAX: usize = 256;
const NOT_FOR_ONCE: Refusal = Refusal::new("ERR ONCE is for commands that write");
const BAD_SEQUENCE: Refusal = Refusal::new("ERR the sequence of ONCE is a number from 1 on");

/// The command that is carried out, where another one stands around it, and how many of the arguments come before its own.
pub fn inside(command: &'static Command, args: &[Bytes]) -> (&'static Command, usize) {
    match args {
        [_, _, name, own @ ..] if command.id == ONCE.id => {
            commands::resolve(name, own).map_or((command, 0), |inner| (inner, WORDS_BEFORE))
        }
        _ => (command, 0),
    }
}

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let [session, sequence, name, own @ ..] = args else { return Err(NOT_FOR_ONCE.into()) };
    if session.len() > SESSION_BYTES_MAX {
        let line = format!("ERR the session of ONCE has a name of more than {SESSION_BYTES_MAX} bytes");
        return Err(Refusal::from_string(line).into());
    }
    let sequence = parse_integer(sequence).and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
    let sequence = sequence.ok_or(BAD_SEQUENCE)?;
    let command = commands::resolve(name, own)?;
    if command.kind != Kind::Write || command.id == ONCE.id {
        return Err(NOT_FOR_ONCE.into());
    }
    let mut sessions = Sessions::load(transaction)?;
    let before = Session::load(transaction, session)?;
    match &before {
        Some(known) if known.sequence == sequence && !is_planted(Bug::OnceForgets) => {
            let reply = repeat(known)?;
            // Whoever still asks has not gone.
            sessions.note(transaction, session, before.as_ref(), sequence, known.reply.clone())?;
            return Ok(reply);
        }
        Some(known) if known.sequence > sequence => {
            let line =
                format!("ONCEOLD sequence {sequence} is behind {}, the last one of this session", known.sequence);
            return Err(Refusal::from_string(line).into());
        }
        Some(_) => {}
        None if sequence > 1 => {
            let line = "NOSESSION this session is not known, or no longer: begin another one, with sequence 1";
            return Err(Refusal::new(line).into());
        }
        None => sessions.make_room(transaction)?,
    }
    let reply = match (command.execute)(transaction, own) {
        Ok(reply) => reply,
        Err(Error::Refusal(refusal)) => Reply::Error(refusal),
        Err(fault @ Error::Fault(_)) => return Err(fault),
    };
    sessions.note(transaction, session, before.as_ref(), sequence, Some(reply::encode(&reply)))?;
    Ok(reply)
}

fn repeat(known: &Session) -> Result<Reply, Fault> {
    match &known.reply {
        Some(reply) => reply::decode(reply),
        None => {
            Ok(Reply::Error(Refusal::new("ONCEDONE the command was carried out; its reply was too long to be kept")))
        }
    }
}

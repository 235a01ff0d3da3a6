//! `ONCE session sequence command …`: a write that a client may send again when it did not hear the answer.
//!
//! For each session the last sequence number is noted, with the reply. The same number again is answered with that reply, and nothing is carried
//! out; a smaller one is refused. The table is replicated like the data, and bounded: the sessions that were used least lately go first. A
//! session that is not in it begins with 1; with any other number it may have been forgotten, and then nobody can say whether the command was
//! carried out before.
//!
//! Notes: `s` and the session's name: its last number, its place in the order of use, its reply. `u` and such a place: the session's name. `t`: the totals.

use bytes::{BufMut, Bytes, BytesMut};

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands;
use crate::error::{Error, Fault, Refusal};
use crate::numbers::parse_integer;
use crate::planted::{Bug, is_planted};
use crate::reader::Reader;
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
/// How many sessions are remembered.
const SESSIONS_MAX: u64 = 65_536;
/// How many bytes their names and replies take together at most.
const TABLE_BYTES_MAX: u64 = 64 << 20;
/// A longer reply is not kept, only that the command was carried out.
const REPLY_BYTES_MAX: usize = 16 << 10;

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

/// What is noted of a session.
struct Session {
    sequence: u64,
    /// When it was used last, counted in uses of all sessions.
    used: u64,
    /// `None` = it was too long to be kept.
    reply: Option<Bytes>,
}

/// What is noted of all of them.
#[derive(Default)]
struct Totals {
    sessions: u64,
    bytes: u64,
    /// The place of the next use.
    next: u64,
    /// No session was used last before this place.
    oldest: u64,
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
    let before = Session::load(transaction, session)?;
    match &before {
        Some(known) if known.sequence == sequence && !is_planted(Bug::OnceForgets) => return repeat(known),
        Some(known) if known.sequence > sequence => {
            let line =
                format!("ONCEOLD sequence {sequence} is behind {}, the last one of this session", known.sequence);
            return Err(Refusal::from_string(line).into());
        }
        None if sequence > 1 => {
            let line = "NOSESSION this session is not known, or no longer: begin another one, with sequence 1";
            return Err(Refusal::new(line).into());
        }
        _ => {}
    }
    let reply = match (command.execute)(transaction, own) {
        Ok(reply) => reply,
        Err(Error::Refusal(refusal)) => Reply::Error(refusal),
        Err(fault @ Error::Fault(_)) => return Err(fault),
    };
    let kept = Some(reply::encode(&reply)).filter(|kept| kept.len() <= REPLY_BYTES_MAX);
    note(transaction, session, before, sequence, kept)?;
    Ok(reply)
}

fn repeat(known: &Session) -> Result<Reply, Error> {
    match &known.reply {
        Some(reply) => Ok(reply::decode(reply)?),
        None => Err(Refusal::new("ONCEDONE the command was carried out; its reply was too long to be kept").into()),
    }
}

/// Notes a session's last number and reply, and forgets others if there are too many.
fn note(
    transaction: &mut Transaction<'_>,
    name: &Bytes,
    before: Option<Session>,
    sequence: u64,
    reply: Option<Bytes>,
) -> Result<(), Fault> {
    let mut totals = Totals::load(transaction)?;
    if let Some(before) = before {
        totals.forget(transaction, name, &before);
    }
    let session = Session { sequence, used: totals.next, reply };
    totals.next += 1;
    totals.sessions += 1;
    totals.bytes += session.bytes(name);
    transaction.put_note(used_key(session.used), Some(name.clone()));
    transaction.put_note(session_key(name), Some(session.encode()));
    while totals.sessions > SESSIONS_MAX || totals.bytes > TABLE_BYTES_MAX {
        let oldest = transaction.first_note(&used_key(totals.oldest), &used_key(session.used))?;
        let Some((place, name)) = oldest else { break };
        let known = Session::load(transaction, &name)?;
        let known = known.ok_or_else(|| Fault("a session of ONCE is in the order of use, and not there".into()))?;
        if used_key(known.used) != place {
            return Err(Fault("a session of ONCE is at another place in the order of use".into()));
        }
        totals.oldest = known.used + 1;
        totals.forget(transaction, &name, &known);
    }
    transaction.put_note(Bytes::from_static(b"t"), Some(totals.encode()));
    Ok(())
}

fn session_key(name: &[u8]) -> Bytes {
    Bytes::from([b"s", name].concat())
}

fn used_key(used: u64) -> Bytes {
    // Big-endian, so that they sort.
    Bytes::from([&b"u"[..], &used.to_be_bytes()].concat())
}

impl Session {
    fn load(transaction: &Transaction<'_>, name: &[u8]) -> Result<Option<Session>, Fault> {
        let Some(note) = transaction.note(&session_key(name))? else { return Ok(None) };
        let mut reader = Reader::new(&note, "a session of ONCE");
        let (sequence, used) = (reader.u64("sequence")?, reader.u64("place")?);
        let reply = match reader.byte("reply")? {
            0 => None,
            _ => Some(reader.slice("reply")?),
        };
        reader.end()?;
        Ok(Some(Session { sequence, used, reply }))
    }

    fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u64_le(self.sequence);
        out.put_u64_le(self.used);
        out.put_u8(u8::from(self.reply.is_some()));
        if let Some(reply) = &self.reply {
            out.put_u32_le(reply.len() as u32);
            out.put_slice(reply);
        }
        out.freeze()
    }

    /// What it counts for.
    fn bytes(&self, name: &[u8]) -> u64 {
        (2 * name.len() + self.reply.as_ref().map_or(0, Bytes::len)) as u64
    }
}

impl Totals {
    fn load(transaction: &Transaction<'_>) -> Result<Totals, Fault> {
        let Some(note) = transaction.note(b"t")? else { return Ok(Totals::default()) };
        let mut reader = Reader::new(&note, "the totals of ONCE");
        let totals = Totals {
            sessions: reader.u64("number of sessions")?,
            bytes: reader.u64("number of bytes")?,
            next: reader.u64("next place")?,
            oldest: reader.u64("oldest place")?,
        };
        reader.end()?;
        Ok(totals)
    }

    fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        [self.sessions, self.bytes, self.next, self.oldest].into_iter().for_each(|number| out.put_u64_le(number));
        out.freeze()
    }

    fn forget(&mut self, transaction: &mut Transaction<'_>, name: &[u8], session: &Session) {
        self.sessions = self.sessions.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(session.bytes(name));
        transaction.put_note(used_key(session.used), None);
        transaction.put_note(session_key(name), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Request;
    use crate::script::MemorySource;

    fn once(source: &mut MemorySource, line: &str) -> Reply {
        let words: Vec<Bytes> = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        let request = Request::parse(b"ONCE", words).unwrap();
        source.transact(1, |transaction| request.execute(transaction).unwrap())
    }

    #[test]
    fn a_long_reply_is_not_kept_and_nothing_is_done_twice() {
        let mut source = MemorySource::default();
        let long = "v".repeat(REPLY_BYTES_MAX);
        once(&mut source, &format!("s 1 SET k {long}"));
        let old = once(&mut source, "s 2 GETSET k 1");
        assert_eq!(old, Reply::Bulk(Bytes::from(long)));
        let again = once(&mut source, "s 2 GETSET k 2");
        assert!(matches!(&again, Reply::Error(refusal) if refusal.line().starts_with("ONCEDONE ")), "{again:?}");
        assert_eq!(source.data[&b"k"[..]].value, "1");
    }

    #[test]
    fn the_least_lately_used_sessions_are_forgotten() {
        let mut source = MemorySource::default();
        for number in 0..SESSIONS_MAX {
            once(&mut source, &format!("{number} 1 INCR n"));
        }
        assert_eq!(once(&mut source, "0 2 INCR n"), Reply::Integer(SESSIONS_MAX as i64 + 1));
        once(&mut source, "one-more 1 INCR n");
        let forgotten = once(&mut source, "1 2 INCR n");
        assert!(
            matches!(&forgotten, Reply::Error(refusal) if refusal.line().starts_with("NOSESSION ")),
            "{forgotten:?}"
        );
        assert_eq!(once(&mut source, "0 2 INCR n"), Reply::Integer(SESSIONS_MAX as i64 + 1), "it was used lately");
        assert_eq!(once(&mut source, "2 2 INCR n"), Reply::Integer(SESSIONS_MAX as i64 + 3));
        let totals = source.transact(1, |transaction| Totals::load(transaction).unwrap());
        assert_eq!((totals.sessions, source.notes.len() as u64), (SESSIONS_MAX, 2 * SESSIONS_MAX + 1));
        let bytes: usize = source
            .notes
            .iter()
            .filter(|(key, _)| key[0] == b's')
            .map(|(key, note)| 2 * (key.len() - 1) + note.len() - 21)
            .sum();
        assert_eq!(totals.bytes, bytes as u64);
    }
}

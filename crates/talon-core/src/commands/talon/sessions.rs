//! The sessions of `ONCE`: a table that is replicated like the data, and bounded.
//!
//! A session is kept for [`KEPT_MS`] after its last command, by the replicated clock, and for longer while there is room: those that were used
//! least lately go first. While none may go, no other one can begin; those that are there go on.
//!
//! Short replies are always kept, for the number of sessions bounds them. Longer ones are kept while there is room for them. Without its reply a
//! command is carried out once all the same; who sends it again is told so, and not what came of it.
//!
//! Notes: `s` and the session's name: its last number, its place in the order of use, its reply, when it was used. `u` and such a place: the
//! session's name. `t`: the totals.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{Error, Fault, Refusal};
use crate::reader::Reader;
use crate::transaction::Transaction;

/// How many sessions are remembered.
const SESSIONS_MAX: u64 = 65_536;
/// So long after its last command no session is forgotten, ms.
const KEPT_MS: u64 = 60_000;
/// Names and replies take so many bytes together, before a reply that is not short.
const TABLE_BYTES_MAX: u64 = 64 << 20;
/// A longer reply is never kept.
const REPLY_BYTES_MAX: usize = 16 << 10;
/// One that is not longer always is.
const SHORT_REPLY_BYTES_MAX: usize = 256;
/// How many sessions go at most to make room for one reply.
const FORGOTTEN_MAX: usize = 32;

/// While no session may be forgotten.
const FULL: Refusal = Refusal::new("ONCEFULL 65536 sessions were used within the last 60 s: no other can begin now");

/// What is noted of a session.
pub(super) struct Session {
    pub sequence: u64,
    /// When it was used last, counted in uses of all sessions.
    used: u64,
    /// The same by the clock `T`, Unix ms. (Not noted by older builds: 0.)
    used_ms: u64,
    /// `None` = it was not kept.
    pub reply: Option<Bytes>,
}

/// What is noted of all of them.
#[derive(Default)]
pub(super) struct Sessions {
    count: u64,
    bytes: u64,
    /// The place of the next use.
    next: u64,
    /// No session was used last before this place.
    oldest: u64,
}

fn session_key(name: &[u8]) -> Bytes {
    Bytes::from([b"s", name].concat())
}

fn used_key(used: u64) -> Bytes {
    // Big-endian, so that they sort.
    Bytes::from([&b"u"[..], &used.to_be_bytes()].concat())
}

impl Session {
    pub fn load(transaction: &Transaction<'_>, name: &[u8]) -> Result<Option<Session>, Fault> {
        let Some(note) = transaction.note(&session_key(name))? else { return Ok(None) };
        let mut reader = Reader::new(&note, "a session of ONCE");
        let (sequence, used) = (reader.u64("sequence")?, reader.u64("place")?);
        let reply = match reader.byte("reply")? {
            0 => None,
            _ => Some(reader.slice("reply")?),
        };
        let used_ms = if reader.rest().is_empty() { 0 } else { reader.u64("time")? };
        reader.end()?;
        Ok(Some(Session { sequence, used, used_ms, reply }))
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
        out.put_u64_le(self.used_ms);
        out.freeze()
    }

    fn may_go(&self, clock_ms: u64) -> bool {
        clock_ms.saturating_sub(self.used_ms) > KEPT_MS
    }
}

/// What a session counts for.
fn counted_bytes(name: &[u8], reply: Option<&Bytes>) -> u64 {
    (2 * name.len() + reply.map_or(0, Bytes::len)) as u64
}

impl Sessions {
    pub fn load(transaction: &Transaction<'_>) -> Result<Sessions, Fault> {
        let Some(note) = transaction.note(b"t")? else { return Ok(Sessions::default()) };
        let mut reader = Reader::new(&note, "the totals of ONCE");
        let sessions = Sessions {
            count: reader.u64("number of sessions")?,
            bytes: reader.u64("number of bytes")?,
            next: reader.u64("next place")?,
            oldest: reader.u64("oldest place")?,
        };
        reader.end()?;
        Ok(sessions)
    }

    fn store(&self, transaction: &mut Transaction<'_>) {
        let mut out = BytesMut::new();
        [self.count, self.bytes, self.next, self.oldest].into_iter().for_each(|number| out.put_u64_le(number));
        transaction.put_note(Bytes::from_static(b"t"), Some(out.freeze()));
    }

    /// Makes room for one more session.
    ///
    /// # Errors
    /// A refusal while none of those that are there may be forgotten.
    pub fn make_room(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Error> {
        if self.count < SESSIONS_MAX {
            return Ok(());
        }
        let before = self.oldest;
        if self.forget_oldest(transaction)? {
            return Ok(());
        }
        if self.oldest != before {
            // The next one who asks need not look from there again.
            self.store(transaction);
        }
        Err(FULL.into())
    }

    /// Notes a session's last number and reply.
    pub fn note(
        &mut self,
        transaction: &mut Transaction<'_>,
        name: &Bytes,
        before: Option<&Session>,
        sequence: u64,
        reply: Option<Bytes>,
    ) -> Result<(), Fault> {
        if let Some(before) = before {
            self.forget(transaction, name, before);
        }
        let reply = match reply {
            Some(reply) if self.keeps(transaction, name, &reply)? => Some(reply),
            _ => None,
        };
        self.count += 1;
        self.bytes += counted_bytes(name, reply.as_ref());
        let session = Session { sequence, used: self.next, used_ms: transaction.clock_ms(), reply };
        self.next += 1;
        transaction.put_note(used_key(session.used), Some(name.clone()));
        transaction.put_note(session_key(name), Some(session.encode()));
        self.store(transaction);
        Ok(())
    }

    /// Whether there is room for a reply, or could be made.
    fn keeps(&mut self, transaction: &mut Transaction<'_>, name: &[u8], reply: &Bytes) -> Result<bool, Fault> {
        if reply.len() <= SHORT_REPLY_BYTES_MAX || reply.len() > REPLY_BYTES_MAX {
            return Ok(reply.len() <= SHORT_REPLY_BYTES_MAX);
        }
        let wanted = counted_bytes(name, Some(reply));
        for _ in 0..FORGOTTEN_MAX {
            if self.bytes + wanted <= TABLE_BYTES_MAX || !self.forget_oldest(transaction)? {
                break;
            }
        }
        Ok(self.bytes + wanted <= TABLE_BYTES_MAX)
    }

    /// Forgets the session that was used least lately, if that may be.
    fn forget_oldest(&mut self, transaction: &mut Transaction<'_>) -> Result<bool, Fault> {
        let oldest = transaction.first_note(&used_key(self.oldest), &used_key(self.next))?;
        let Some((place, name)) = oldest else { return Ok(false) };
        let known = Session::load(transaction, &name)?;
        let known = known.ok_or_else(|| Fault("a session of ONCE is in the order of use, and not there".into()))?;
        if used_key(known.used) != place {
            return Err(Fault("a session of ONCE is at another place in the order of use".into()));
        }
        self.oldest = known.used;
        let may_go = known.may_go(transaction.clock_ms());
        if may_go {
            self.forget(transaction, &name, &known);
        }
        Ok(may_go)
    }

    fn forget(&mut self, transaction: &mut Transaction<'_>, name: &[u8], session: &Session) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(counted_bytes(name, session.reply.as_ref()));
        transaction.put_note(used_key(session.used), None);
        transaction.put_note(session_key(name), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Reply;
    use crate::request::Request;
    use crate::script::MemorySource;

    const START_MS: u64 = 1_000_000;

    struct Table {
        source: MemorySource,
        clock_ms: u64,
    }

    impl Table {
        fn new() -> Table {
            Table { source: MemorySource::default(), clock_ms: START_MS }
        }

        fn once(&mut self, line: &str) -> Reply {
            let words: Vec<Bytes> = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
            let request = Request::parse(b"ONCE", words).unwrap();
            self.source.transact(self.clock_ms, |transaction| request.execute(transaction).unwrap())
        }

        /// What a refusal begins with.
        fn refused(&mut self, line: &str) -> String {
            match self.once(line) {
                Reply::Error(refusal) => refusal.line().split(' ').next().unwrap_or_default().to_owned(),
                other => panic!("{line}: {other:?}"),
            }
        }

        /// Fills it with sessions `0`, `1` and so on, each with this command.
        fn fill(&mut self, count: u64, command: &str) {
            for number in 0..count {
                self.once(&format!("{number} 1 {command}"));
            }
        }

        /// What it says of itself is true.
        fn check(&mut self) {
            let sessions = self.source.transact(1, |transaction| Sessions::load(transaction).unwrap());
            assert_eq!(self.source.notes.len() as u64, 2 * sessions.count + 1);
            let session_notes = self.source.notes.iter().filter(|(key, _)| key[0] == b's');
            let fixed_bytes = |note: &Bytes| if note[16] == 0 { 25 } else { 29 };
            let bytes: usize =
                session_notes.map(|(key, note)| 2 * (key.len() - 1) + note.len() - fixed_bytes(note)).sum();
            assert_eq!(sessions.bytes, bytes as u64);
        }
    }

    #[test]
    fn a_long_reply_is_not_kept_and_nothing_is_done_twice() {
        let mut table = Table::new();
        let long = "v".repeat(REPLY_BYTES_MAX);
        table.once(&format!("s 1 SET k {long}"));
        assert_eq!(table.once("s 2 GETSET k 1"), Reply::Bulk(Bytes::from(long)));
        assert_eq!(table.refused("s 2 GETSET k 2"), "ONCEDONE");
        assert_eq!(table.source.data[&b"k"[..]].value, "1");
        table.check();
    }

    #[test]
    fn no_session_is_forgotten_before_its_time_and_none_begins_instead() {
        let mut table = Table::new();
        table.fill(SESSIONS_MAX, "INCR n");
        let full = SESSIONS_MAX as i64;
        table.clock_ms += KEPT_MS - 1;
        assert_eq!(table.once("0 2 INCR n"), Reply::Integer(full + 1), "those that are there go on");
        assert_eq!(table.once("1 1 INCR n"), Reply::Integer(2), "whoever asks again has not gone");
        table.clock_ms += 1;
        assert_eq!(table.refused("one-more 1 INCR n"), "ONCEFULL");
        assert!(
            FULL.line().contains(&format!(" {SESSIONS_MAX} "))
                && FULL.line().contains(&format!(" {} s:", KEPT_MS / 1000))
        );
        assert_eq!(table.once("2 1 INCR n"), Reply::Integer(3), "in time to the last");
        assert_eq!(table.once("3 2 INCR n"), Reply::Integer(full + 2));
        table.check();
        table.clock_ms += 1;
        assert_eq!(table.once("one-more 1 INCR n"), Reply::Integer(full + 3));
        assert_eq!(table.refused("4 2 INCR n"), "NOSESSION", "the one that was used least lately");
        for (line, reply) in [
            ("0 2 INCR n", full + 1),
            ("1 1 INCR n", 2),
            ("2 1 INCR n", 3),
            ("3 2 INCR n", full + 2),
            ("5 1 INCR n", 6),
        ] {
            assert_eq!(table.once(line), Reply::Integer(reply), "{line}");
        }
        table.check();
        assert_eq!(table.source.data[&b"n"[..]].value, (full + 3).to_string());
    }

    #[test]
    fn long_replies_give_way_and_short_ones_are_always_kept() {
        let mut table = Table::new();
        let value = "v".repeat(REPLY_BYTES_MAX - 100);
        table.once(&format!("first 1 SET k {value}"));
        let full = TABLE_BYTES_MAX / (REPLY_BYTES_MAX as u64 - 100);
        table.fill(full + 10, "SET k x GET");
        table.once(&format!("first 2 SET k {value}"));
        let with_reply = "SET k w GET";
        for number in 0..full + 10 {
            table.once(&format!("{number} 2 SET k {value} GET"));
        }
        assert_eq!(table.once(&format!("0 2 {with_reply}")), Reply::Bulk(Bytes::from(value.clone())));
        assert_eq!(table.refused(&format!("{} 2 {with_reply}", full + 9)), "ONCEDONE", "there was no room for it");
        assert_eq!(table.once("new 1 INCR n"), Reply::Integer(1));
        assert_eq!(table.once("new 1 INCR n"), Reply::Integer(1), "a short one has room");
        table.check();
        table.clock_ms += KEPT_MS + 1;
        assert_eq!(table.once("new 2 SET k y GET"), Reply::Bulk(Bytes::from(value.clone())));
        assert_eq!(table.once("new 2 SET k z GET"), Reply::Bulk(Bytes::from(value)), "others gave way");
        assert_eq!(table.refused("first 3 INCR n"), "NOSESSION");
        table.check();
    }

    #[test]
    fn a_session_that_an_older_build_noted_is_known() {
        let mut table = Table::new();
        table.once("s 1 INCR n");
        let note = table.source.notes.get_mut(&b"ss"[..]).unwrap();
        note.truncate(note.len() - 8);
        assert_eq!(table.once("s 1 INCR n"), Reply::Integer(1));
        assert_eq!(table.once("s 2 INCR n"), Reply::Integer(2));
        table.check();
    }
}

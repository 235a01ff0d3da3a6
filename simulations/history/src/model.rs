//! The reference: what each action does, in order, with the clock that was replicated with it. It shares nothing with
//! Talon but the rules: the clock only rises, and a key is gone exactly when `expire_at <= clock`.

use std::collections::BTreeMap;

use crate::{Action, Condition, Deadline, Reply, Ttl, Word};

const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const OVERFLOW: &str = "ERR increment or decrement would overflow";
const NO_SUCH_KEY: &str = "ERR no such key";
const NO_SESSION: &str = "NOSESSION this session is not known, or no longer: begin another one, with sequence 1";
const INVALID_SET: &str = "ERR invalid expire time in 'set' command";
const INVALID_PEXPIRE: &str = "ERR invalid expire time in 'pexpire' command";

/// A value, and when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Word,
    /// Unix ms; `None` = never.
    pub expire_at_ms: Option<i64>,
}

/// A database that does one thing after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    clock_ms: i64,
    entries: BTreeMap<Word, Entry>,
    /// The last sequence of each session of `ONCE`, and the reply to it.
    sessions: BTreeMap<Word, (u64, Reply)>,
}

impl Model {
    /// An empty one, with its clock at 0.
    pub fn new() -> Model {
        Model::default()
    }

    /// The replicated clock, Unix ms.
    pub fn clock_ms(&self) -> i64 {
        self.clock_ms
    }

    /// Raises the clock; an older time changes nothing.
    pub fn raise_clock(&mut self, clock_ms: i64) {
        if clock_ms > self.clock_ms {
            self.clock_ms = clock_ms;
            self.entries.retain(|_, entry| entry.expire_at_ms.is_none_or(|end| end > clock_ms));
        }
    }

    /// What is there.
    pub fn entries(&self) -> &BTreeMap<Word, Entry> {
        &self.entries
    }

    /// Raises the clock, then carries out one action.
    pub fn carry_out(&mut self, clock_ms: i64, action: &Action) -> Reply {
        self.raise_clock(clock_ms);
        match action {
            Action::Get(key) => self.value(key),
            Action::Set { key, value, ttl, condition, get } => self.set(key, value, *ttl, condition.as_ref(), *get),
            Action::Del(keys) => {
                Reply::Int(keys.iter().filter(|key| self.entries.remove(*key).is_some()).count() as i64)
            }
            Action::IncrBy(key, by) => self.increase(key, *by),
            Action::Append(key, tail) => {
                let old = self.entries.get(key);
                let value = [old.map_or(&[][..], |entry| &entry.value), tail].concat();
                let expire_at_ms = old.and_then(|entry| entry.expire_at_ms);
                let length = value.len() as i64;
                self.entries.insert(key.clone(), Entry { value: value.into(), expire_at_ms });
                Reply::Int(length)
            }
            Action::GetSet(key, value) => {
                let old = self.value(key);
                self.put(key, value, None);
                old
            }
            Action::Expire(key, deadline) => self.expire(key, *deadline),
            Action::Persist(key) => {
                let end = self.entries.get_mut(key).and_then(|entry| entry.expire_at_ms.take());
                Reply::Int(end.is_some().into())
            }
            Action::Pttl(key) => Reply::Int(match self.entries.get(key) {
                None => -2,
                Some(Entry { expire_at_ms: None, .. }) => -1,
                Some(Entry { expire_at_ms: Some(end), .. }) => end - self.clock_ms,
            }),
            Action::Exists(key) => Reply::Int(self.entries.contains_key(key).into()),
            Action::Rename { from, to } => match self.entries.remove(from) {
                None => Reply::Error(NO_SUCH_KEY.to_owned()),
                Some(entry) => {
                    self.entries.insert(to.clone(), entry);
                    Reply::Ok
                }
            },
            Action::Mset(pairs) => {
                for (key, value) in pairs {
                    self.put(key, value, None);
                }
                Reply::Ok
            }
            Action::Mget(keys) => Reply::Many(keys.iter().map(|key| self.value(key)).collect()),
            Action::DelPrefix(prefix) => {
                let before = self.entries.len();
                self.entries.retain(|key, _| !key.starts_with(prefix));
                Reply::Int((before - self.entries.len()) as i64)
            }
            Action::Scan(prefix) => {
                let from = self.entries.range(prefix..).take_while(|(key, _)| key.starts_with(prefix));
                let pair = |(key, entry): (&Word, &Entry)| {
                    Reply::Many(vec![Reply::Bytes(key.clone()), Reply::Bytes(entry.value.clone())])
                };
                Reply::Many(from.map(pair).collect())
            }
            Action::Once { session, sequence, action } => self.once(clock_ms, session, *sequence, action),
            Action::Transaction(actions) | Action::Watched { actions, .. } => {
                Reply::Many(actions.iter().map(|action| self.carry_out(clock_ms, action)).collect())
            }
        }
    }

    fn once(&mut self, clock_ms: i64, session: &Word, sequence: u64, action: &Action) -> Reply {
        match self.sessions.get(session) {
            Some((known, reply)) if *known == sequence => return reply.clone(),
            Some((known, _)) if *known > sequence => {
                let last = format!("{known}, the last one of this session");
                return Reply::Error(format!("ONCEOLD sequence {sequence} is behind {last}"));
            }
            None if sequence > 1 => return Reply::Error(NO_SESSION.to_owned()),
            _ => {}
        }
        let reply = self.carry_out(clock_ms, action);
        self.sessions.insert(session.clone(), (sequence, reply.clone()));
        reply
    }

    fn value(&self, key: &Word) -> Reply {
        self.entries.get(key).map_or(Reply::Nil, |entry| Reply::Bytes(entry.value.clone()))
    }

    /// Puts a value there; one that has ended already is none.
    fn put(&mut self, key: &Word, value: &Word, expire_at_ms: Option<i64>) {
        if expire_at_ms.is_some_and(|end| end <= self.clock_ms) {
            self.entries.remove(key);
        } else {
            self.entries.insert(key.clone(), Entry { value: value.clone(), expire_at_ms });
        }
    }

    fn end_ms(&self, deadline: Deadline) -> Option<i64> {
        match deadline {
            Deadline::AfterMs(ms) => self.clock_ms.checked_add(ms),
            Deadline::AtMs(ms) => Some(ms),
        }
    }

    fn set(&mut self, key: &Word, value: &Word, ttl: Option<Ttl>, condition: Option<&Condition>, get: bool) -> Reply {
        let old = self.entries.get(key).cloned();
        let expire_at_ms = match ttl {
            None => None,
            Some(Ttl::Keep) => old.as_ref().and_then(|entry| entry.expire_at_ms),
            Some(Ttl::Until(deadline @ (Deadline::AfterMs(ms) | Deadline::AtMs(ms)))) => {
                match self.end_ms(deadline).filter(|_| ms > 0) {
                    None => return Reply::Error(INVALID_SET.to_owned()),
                    end => end,
                }
            }
        };
        let allowed = match condition {
            None => true,
            Some(Condition::Missing) => old.is_none(),
            Some(Condition::Exists) => old.is_some(),
            Some(Condition::Equals(wanted)) => old.as_ref().is_some_and(|entry| entry.value == *wanted),
        };
        if allowed {
            self.put(key, value, expire_at_ms);
        }
        match (get, allowed) {
            (true, _) => old.map_or(Reply::Nil, |entry| Reply::Bytes(entry.value)),
            (false, true) => Reply::Ok,
            (false, false) => Reply::Nil,
        }
    }

    fn increase(&mut self, key: &Word, by: i64) -> Reply {
        let old = self.entries.get(key);
        let Some(number) = old.map_or(Some(0), |entry| entry.value.integer()) else {
            return Reply::Error(NOT_AN_INTEGER.to_owned());
        };
        let Some(new) = number.checked_add(by) else { return Reply::Error(OVERFLOW.to_owned()) };
        let expire_at_ms = old.and_then(|entry| entry.expire_at_ms);
        self.entries.insert(key.clone(), Entry { value: new.to_string().into(), expire_at_ms });
        Reply::Int(new)
    }

    fn expire(&mut self, key: &Word, deadline: Deadline) -> Reply {
        let Some(end) = self.end_ms(deadline) else { return Reply::Error(INVALID_PEXPIRE.to_owned()) };
        let Some(entry) = self.entries.get(key) else { return Reply::Int(0) };
        let value = entry.value.clone();
        self.put(key, &value, Some(end));
        Reply::Int(1)
    }
}

//! What a client can ask of a database, as far as the workloads ask for it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Word;

/// When a key ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deadline {
    /// So many milliseconds after the command is carried out.
    AfterMs(i64),
    /// At a Unix time in milliseconds.
    AtMs(i64),
}

/// What becomes of a key's end when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ttl {
    /// It gets one.
    Until(Deadline),
    /// It stays (`KEEPTTL`).
    Keep,
}

/// When a SET may write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// `NX`: only if the key is missing.
    Missing,
    /// `XX`: only if it is there.
    Exists,
    /// `IFEQ old`: only if it has this value.
    Equals(Word),
}

/// One thing that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// `GET`
    Get(Word),
    /// `SET`, with its options.
    Set {
        /// The key.
        key: Word,
        /// Its new value.
        value: Word,
        /// Its end; `None`: it gets none, and loses one that it had.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl: Option<Ttl>,
        /// Whether it writes at all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        condition: Option<Condition>,
        /// Whether it answers with the old value.
        #[serde(default)]
        get: bool,
    },
    /// `DEL`
    Del(Vec<Word>),
    /// `INCRBY`
    IncrBy(Word, i64),
    /// `APPEND`
    Append(Word, Word),
    /// `GETSET`
    GetSet(Word, Word),
    /// `PEXPIRE` or `PEXPIREAT`
    Expire(Word, Deadline),
    /// `PERSIST`
    Persist(Word),
    /// `PTTL`
    Pttl(Word),
    /// `EXISTS`
    Exists(Word),
    /// `RENAME`
    Rename {
        /// The old name.
        from: Word,
        /// The new one.
        to: Word,
    },
    /// `MSET`
    Mset(Vec<(Word, Word)>),
    /// `MGET`
    Mget(Vec<Word>),
    /// `DELPREFIX`
    DelPrefix(Word),
    /// `SCANPREFIX`: all keys with a prefix, in order, in pairs with their values.
    Scan(Word),
    /// `MULTI` … `EXEC` around others.
    Transaction(Vec<Action>),
    /// `MULTI` … `EXEC` around others, behind a `WATCH`.
    Watched {
        /// When the `WATCH` had been answered, on the history's clock.
        since_us: u64,
        /// The watched keys, and the values that were read after the `WATCH`.
        seen: Vec<(Word, Option<Word>)>,
        /// What is done if nobody has touched them.
        actions: Vec<Action>,
    },
    /// `ONCE session sequence` before another write.
    Once {
        /// The session's name.
        session: Word,
        /// The number within the session; what is sent again has the same one.
        sequence: u64,
        /// The write.
        action: Box<Action>,
    },
}

impl Action {
    /// `SET key value` without options.
    pub fn set(key: impl Into<Word>, value: impl Into<Word>) -> Action {
        Action::Set { key: key.into(), value: value.into(), ttl: None, condition: None, get: false }
    }

    /// `SET key value PX ms`.
    pub fn set_for_ms(key: impl Into<Word>, value: impl Into<Word>, ms: i64) -> Action {
        let ttl = Some(Ttl::Until(Deadline::AfterMs(ms)));
        Action::Set { key: key.into(), value: value.into(), ttl, condition: None, get: false }
    }

    /// `SET key value IFEQ old`: compare and set.
    pub fn compare_and_set(key: impl Into<Word>, old: impl Into<Word>, value: impl Into<Word>) -> Action {
        let condition = Some(Condition::Equals(old.into()));
        Action::Set { key: key.into(), value: value.into(), ttl: None, condition, get: false }
    }

    /// `GET key`.
    pub fn get(key: impl Into<Word>) -> Action {
        Action::Get(key.into())
    }

    /// `INCRBY key by`.
    pub fn incr_by(key: impl Into<Word>, by: i64) -> Action {
        Action::IncrBy(key.into(), by)
    }

    /// `DEL key`.
    pub fn del(key: impl Into<Word>) -> Action {
        Action::Del(vec![key.into()])
    }

    /// Whether it can change anything.
    pub fn writes(&self) -> bool {
        match self {
            Action::Get(_) | Action::Pttl(_) | Action::Exists(_) | Action::Mget(_) | Action::Scan(_) => false,
            Action::Transaction(actions) | Action::Watched { actions, .. } => actions.iter().any(Action::writes),
            _ => true,
        }
    }

    /// The keys that it names, prefixes not counted.
    pub fn keys(&self) -> Vec<&Word> {
        match self {
            Action::Get(key)
            | Action::Set { key, .. }
            | Action::IncrBy(key, _)
            | Action::Append(key, _)
            | Action::GetSet(key, _)
            | Action::Expire(key, _)
            | Action::Persist(key)
            | Action::Pttl(key)
            | Action::Exists(key) => vec![key],
            Action::Rename { from, to } => vec![from, to],
            Action::Del(keys) | Action::Mget(keys) => keys.iter().collect(),
            Action::Mset(pairs) => pairs.iter().map(|(key, _)| key).collect(),
            Action::DelPrefix(_) | Action::Scan(_) => Vec::new(),
            Action::Transaction(actions) => actions.iter().flat_map(Action::keys).collect(),
            Action::Watched { seen, actions, .. } => {
                seen.iter().map(|(key, _)| key).chain(actions.iter().flat_map(Action::keys)).collect()
            }
            Action::Once { action, .. } => action.keys(),
        }
    }
}

/// The words of the command, as a person would type them.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Action::Watched { seen, .. } = self {
            for (key, value) in seen {
                match value {
                    Some(value) => write!(f, "WATCH {key:?}, seen as {value:?}; ")?,
                    None => write!(f, "WATCH {key:?}, missing; ")?,
                }
            }
        }
        for (index, command) in self.commands().iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            for (index, word) in command.iter().enumerate() {
                let space = if index > 0 { " " } else { "" };
                let quote = if word.is_empty() || word.contains(&b' ') { "\"" } else { "" };
                write!(f, "{space}{quote}{}{quote}", word.escape_ascii())?;
            }
        }
        Ok(())
    }
}

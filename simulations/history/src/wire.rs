//! Actions as words to send over RESP, and what came back as an outcome: so that a driver only has to move bytes.

use bytes::Bytes;

use crate::{Action, Condition, Deadline, Outcome, Reply, Ttl};

/// How many pairs a scan asks for: more than any workload has.
const SCAN_PAIRS_MAX: &[u8] = b"1000000";

/// Errors that say that nothing was carried out, by their first words.
const REFUSALS: &[&str] = &[
    "MOVED",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "STALE",
    "EXECABORT",
    "MISCONF",
    "OOM",
    "NOAUTH",
    "NOREPLICAS",
    "ERR max number of clients",
];

/// A reply as it came over the wire, RESP2 or RESP3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A null of any kind.
    Nil,
    /// A simple string.
    Simple(String),
    /// An error's line, without the `-`.
    Error(String),
    /// An integer.
    Int(i64),
    /// A bulk string.
    Bulk(Bytes),
    /// An array.
    Array(Vec<Value>),
}

impl Action {
    /// The commands to send, in order and on one connection: one, except for a transaction, which is `MULTI`, its
    /// commands, and `EXEC` (a `WATCH` comes before, and is not among them). Each answers one value, and all of these go to [`Action::judge`].
    pub fn commands(&self) -> Vec<Vec<Vec<u8>>> {
        match self {
            Action::Transaction(actions) | Action::Watched { actions, .. } => {
                let mut commands = vec![words(&[b"MULTI"])];
                commands.extend(actions.iter().flat_map(Action::commands));
                commands.push(words(&[b"EXEC"]));
                commands
            }
            _ => vec![self.command()],
        }
    }

    fn command(&self) -> Vec<Vec<u8>> {
        match self {
            Action::Get(key) => words(&[b"GET", key]),
            Action::Set { key, value, ttl, condition, get } => {
                let mut command = words(&[b"SET", key, value]);
                match condition {
                    None => {}
                    Some(Condition::Missing) => command.push(b"NX".to_vec()),
                    Some(Condition::Exists) => command.push(b"XX".to_vec()),
                    Some(Condition::Equals(old)) => command.extend(words(&[b"IFEQ", old])),
                }
                if *get {
                    command.push(b"GET".to_vec());
                }
                match ttl {
                    None => {}
                    Some(Ttl::Keep) => command.push(b"KEEPTTL".to_vec()),
                    Some(Ttl::Until(Deadline::AfterMs(ms))) => command.extend(words(&[b"PX", &number(*ms)])),
                    Some(Ttl::Until(Deadline::AtMs(ms))) => command.extend(words(&[b"PXAT", &number(*ms)])),
                }
                command
            }
            Action::Del(keys) => many(b"DEL", keys.iter().map(|key| &key[..])),
            Action::IncrBy(key, by) => words(&[b"INCRBY", key, &number(*by)]),
            Action::Append(key, tail) => words(&[b"APPEND", key, tail]),
            Action::GetSet(key, value) => words(&[b"GETSET", key, value]),
            Action::Expire(key, Deadline::AfterMs(ms)) => words(&[b"PEXPIRE", key, &number(*ms)]),
            Action::Expire(key, Deadline::AtMs(ms)) => words(&[b"PEXPIREAT", key, &number(*ms)]),
            Action::Persist(key) => words(&[b"PERSIST", key]),
            Action::Pttl(key) => words(&[b"PTTL", key]),
            Action::Exists(key) => words(&[b"EXISTS", key]),
            Action::Rename { from, to } => words(&[b"RENAME", from, to]),
            Action::Mset(pairs) => many(b"MSET", pairs.iter().flat_map(|(key, value)| [&key[..], &value[..]])),
            Action::Mget(keys) => many(b"MGET", keys.iter().map(|key| &key[..])),
            Action::DelPrefix(prefix) => words(&[b"DELPREFIX", prefix]),
            Action::Scan(prefix) => words(&[b"SCANPREFIX", prefix, b"0", SCAN_PAIRS_MAX]),
            Action::Once { session, sequence, action } => {
                let mut command = words(&[b"ONCE", session, sequence.to_string().as_bytes()]);
                command.extend(action.command());
                command
            }
            Action::Transaction(_) | Action::Watched { .. } => words(&[b"MULTI"]),
        }
    }

    /// What the values that came back say; one for each of [`Action::commands`], in order. Fewer of them, because the
    /// connection broke or the time was over, is [`Outcome::Unknown`].
    pub fn judge(&self, values: Vec<Value>) -> Outcome {
        let asked = self.commands().len();
        if values.len() < asked {
            return Outcome::Unknown(format!("{} of {asked} answers", values.len()));
        }
        let accepted = |value: &Value| !matches!(value, Value::Error(_));
        if let Action::Transaction(actions) | Action::Watched { actions, .. } = self
            && values.first().is_some_and(|multi| !accepted(multi))
        {
            // Without MULTI, each command stood for itself.
            return match values[1..=actions.len()].iter().all(|value| !accepted(value)) {
                true => Outcome::Refused("MULTI was refused".to_owned()),
                false => Outcome::Unknown("MULTI was refused, and commands of the transaction were not".to_owned()),
            };
        }
        let Some(value) = values.into_iter().nth(asked - 1) else {
            return Outcome::Unknown("no answer".to_owned());
        };
        match (self, value) {
            (_, Value::Error(text)) => error(text),
            (Action::Transaction(_) | Action::Watched { .. }, Value::Nil) => {
                Outcome::Refused("EXEC answered nil".to_owned())
            }
            (Action::Transaction(_) | Action::Watched { .. }, Value::Array(values)) => {
                // One write with an unknown fate makes that of the whole unknown.
                let inside = values.iter().find_map(|value| match value {
                    Value::Error(text) => Some(error(text.clone())).filter(|outcome| outcome.reply().is_none()),
                    _ => None,
                });
                inside.unwrap_or_else(|| Outcome::Reply(reply(Value::Array(values))))
            }
            (_, value) => Outcome::Reply(reply(value)),
        }
    }
}

fn error(text: String) -> Outcome {
    if text.starts_with("INDOUBT") {
        return Outcome::Unknown(text);
    }
    match REFUSALS.iter().any(|refusal| text.starts_with(refusal)) {
        true => Outcome::Refused(text),
        false => Outcome::Reply(Reply::Error(text)),
    }
}

fn reply(value: Value) -> Reply {
    match value {
        Value::Nil => Reply::Nil,
        Value::Simple(text) if text == "OK" => Reply::Ok,
        Value::Simple(text) => Reply::Bytes(text.into()),
        Value::Error(text) => Reply::Error(text),
        Value::Int(number) => Reply::Int(number),
        Value::Bulk(bytes) => Reply::Bytes(bytes.into()),
        Value::Array(values) => Reply::Many(values.into_iter().map(reply).collect()),
    }
}

fn number(number: i64) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn words(words: &[&[u8]]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.to_vec()).collect()
}

fn many<'a>(name: &'a [u8], rest: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    std::iter::once(name).chain(rest).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_what_a_person_would_type() {
        let set = Action::Set {
            key: "a".into(),
            value: "b c".into(),
            ttl: Some(Ttl::Until(Deadline::AfterMs(5))),
            condition: Some(Condition::Equals("old".into())),
            get: true,
        };
        assert_eq!(set.to_string(), r#"SET a "b c" IFEQ old GET PX 5"#);
        let both = Action::Transaction(vec![
            Action::Mset(vec![("a".into(), "1".into()), ("b".into(), "2".into())]),
            Action::Expire("a".into(), Deadline::AtMs(9)),
        ]);
        assert_eq!(both.to_string(), "MULTI; MSET a 1 b 2; PEXPIREAT a 9; EXEC");
        assert_eq!(both.commands().len(), 4);
        assert_eq!(Action::Scan("p:".into()).to_string(), "SCANPREFIX p: 0 1000000");
    }

    #[test]
    fn refusals_and_doubts_are_told_apart() {
        let get = Action::get("a");
        assert_eq!(get.judge(vec![Value::Nil]), Outcome::Reply(Reply::Nil));
        assert_eq!(get.judge(vec![Value::Bulk("x".into())]), Outcome::Reply(Reply::Bytes("x".into())));
        for text in ["MOVED 3 h:1", "CLUSTERDOWN The cluster is down", "TRYAGAIN too many", "LOADING …"] {
            assert_eq!(get.judge(vec![Value::Error(text.into())]), Outcome::Refused(text.into()));
        }
        let doubt = "INDOUBT the write may or may not have been applied";
        assert_eq!(get.judge(vec![Value::Error(doubt.into())]), Outcome::Unknown(doubt.into()));
        let own = "ERR value is not an integer or out of range";
        assert_eq!(get.judge(vec![Value::Error(own.into())]), Outcome::Reply(Reply::Error(own.into())));
        assert!(matches!(get.judge(vec![]), Outcome::Unknown(_)));
    }

    #[test]
    fn a_transaction_is_judged_by_exec() {
        let both = Action::Transaction(vec![Action::set("a", "1"), Action::get("a")]);
        let ok = || Value::Simple("OK".into());
        let queued = || Value::Simple("QUEUED".into());
        let exec = Value::Array(vec![ok(), Value::Bulk("1".into())]);
        let done = Outcome::Reply(Reply::Many(vec![Reply::Ok, Reply::Bytes("1".into())]));
        assert_eq!(both.judge(vec![ok(), queued(), queued(), exec]), done);
        let moved = || Value::Error("MOVED 1 h:1".into());
        assert!(matches!(both.judge(vec![ok(), moved(), queued(), moved()]), Outcome::Refused(_)));
        assert!(matches!(both.judge(vec![moved(), moved(), moved(), moved()]), Outcome::Refused(_)));
        assert!(matches!(both.judge(vec![moved(), ok(), Value::Nil, moved()]), Outcome::Unknown(_)));
        assert!(matches!(both.judge(vec![ok(), queued(), queued()]), Outcome::Unknown(_)), "it broke before EXEC");
        let doubt = Value::Array(vec![Value::Error("INDOUBT".into()), Value::Nil]);
        assert!(matches!(both.judge(vec![ok(), queued(), queued(), doubt]), Outcome::Unknown(_)));
    }
}

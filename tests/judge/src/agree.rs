//! What counts as the same reply. The bytes have to be the same, except where the two servers cannot be asked at the same
//! moment, or Redis has no order.

use bytes::Bytes;
use talon_tests_support::{Client, Value};

/// How far the two servers may be apart in time, in ms: they are asked one after the other, on a machine that may be busy.
const APART_MS_MAX: i64 = 3_000;

/// How the replies to a command are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Byte for byte.
    Bytes,
    /// A time in so many ms a unit, within `APART_MS_MAX`; 0 and below are no times and have to be the same.
    Time {
        /// The unit.
        unit_ms: i64,
    },
    /// Keys in any order.
    Keys,
    /// A cursor, and keys in any order.
    Page,
    /// The same kind of reply: what it says is chance, or about the server itself.
    Kind,
    /// As `Kind`, but the judge may see a key that has ended.
    KindUnlessGone,
    /// The judge may count keys that have ended.
    AtLeast,
}

/// The rule for a command. `in_multi`: its reply came with EXEC.
pub fn rule(words: &[Bytes], in_multi: bool) -> Rule {
    let name = words.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    match &name[..] {
        b"ttl" | b"expiretime" => Rule::Time { unit_ms: 1000 },
        b"pttl" | b"pexpiretime" => Rule::Time { unit_ms: 1 },
        b"keys" => Rule::Keys,
        b"scan" => Rule::Page,
        // Chance, and facts of the server (its version, the connection's number).
        b"randomkey" | b"hello" => Rule::Kind,
        // How each server holds its keys, which in Redis depends on how they came to be what they are.
        b"memory" if in_multi => Rule::KindUnlessGone,
        b"object" | b"memory" => Rule::Kind,
        // Redis counts a key that has ended until somebody touches it. Outside MULTI the runner touches them all before.
        b"dbsize" if in_multi => Rule::AtLeast,
        _ => Rule::Bytes,
    }
}

/// Whether two replies are the same. `queued` = the commands between MULTI and EXEC, for EXEC's reply.
pub fn agree(words: &[Bytes], queued: Option<&[Vec<Bytes>]>, ours: &Bytes, theirs: &Bytes) -> bool {
    if ours == theirs {
        return true;
    }
    if ours.starts_with(b"-") && theirs.starts_with(b"-") {
        // Talon's error lines are text: bytes of the request that are not are replaced.
        return ours[..] == *String::from_utf8_lossy(theirs).as_bytes();
    }
    let (Ok(ours_read), Ok(theirs_read)) = (Client::parse(ours), Client::parse(theirs)) else { return false };
    match (queued, &ours_read, &theirs_read) {
        (Some(queued), Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len()
                && queued.len() == ours.len()
                && queued
                    .iter()
                    .zip(ours.iter().zip(theirs))
                    .all(|(words, (ours, theirs))| same(rule(words, true), ours, theirs))
        }
        (Some(_), ..) => false,
        (None, ..) => rule(words, false) != Rule::Bytes && same(rule(words, false), &ours_read, &theirs_read),
    }
}

fn same(rule: Rule, ours: &Value, theirs: &Value) -> bool {
    match (rule, ours, theirs) {
        (Rule::Time { unit_ms }, Value::Integer(ours), Value::Integer(theirs)) if *ours > 0 && *theirs > 0 => {
            // A time in seconds is rounded, so that two that are near may be one unit further apart.
            ours.abs_diff(*theirs) <= (APART_MS_MAX / unit_ms) as u64 + 1
        }
        (Rule::Keys, Value::Array(ours), Value::Array(theirs)) => sorted(ours) == sorted(theirs),
        (Rule::Page, Value::Array(ours), Value::Array(theirs)) => match (&ours[..], &theirs[..]) {
            ([our_cursor, Value::Array(ours)], [their_cursor, Value::Array(theirs)]) => {
                our_cursor == their_cursor && sorted(ours) == sorted(theirs)
            }
            _ => false,
        },
        (Rule::Kind, Value::Error(ours), Value::Error(theirs)) => ours == theirs,
        // HELLO within MULTI: Redis goes on in the other protocol in the middle of EXEC's reply.
        (Rule::Kind, Value::Array(_), Value::Map(_)) | (Rule::Kind, Value::Map(_), Value::Array(_)) => true,
        (Rule::Kind, ours, theirs) => std::mem::discriminant(ours) == std::mem::discriminant(theirs),
        (Rule::KindUnlessGone, Value::Null, Value::Integer(_)) => true,
        (Rule::KindUnlessGone, ours, theirs) => same(Rule::Kind, ours, theirs),
        (Rule::AtLeast, Value::Integer(ours), Value::Integer(theirs)) => theirs >= ours,
        _ => ours == theirs,
    }
}

fn sorted(keys: &[Value]) -> Option<Vec<&Bytes>> {
    let mut keys: Vec<&Bytes> = keys
        .iter()
        .map(|key| match key {
            Value::Bulk(key) => Some(key),
            _ => None,
        })
        .collect::<Option<_>>()?;
    keys.sort();
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agrees(command: &str, ours: &'static str, theirs: &'static str) -> bool {
        let words: Vec<Bytes> = command.split(' ').map(|word| Bytes::from(word.to_owned())).collect();
        agree(&words, None, &Bytes::from(ours), &Bytes::from(theirs))
    }

    #[test]
    fn bytes_count_unless_a_rule_says_otherwise() {
        assert!(agrees("GET a", "$1\r\nx\r\n", "$1\r\nx\r\n"));
        assert!(!agrees("GET a", "$1\r\nx\r\n", "+x\r\n"));
        assert!(!agrees("GET a", "$-1\r\n", "_\r\n"), "a null of the other protocol");
        assert!(!agrees("GET a", "-ERR a\r\n", "-ERR b\r\n"));
        assert!(agrees("PTTL a", ":1000\r\n", ":3999\r\n"));
        assert!(!agrees("PTTL a", ":1000\r\n", ":9000\r\n"));
        assert!(agrees("TTL a", ":10\r\n", ":13\r\n"));
        assert!(!agrees("TTL a", ":10\r\n", ":-1\r\n"));
        assert!(!agrees("TTL a", ":-2\r\n", ":-1\r\n"));
        assert!(agrees("keys *", "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*2\r\n$1\r\nb\r\n$1\r\na\r\n"));
        assert!(!agrees("KEYS *", "*1\r\n$1\r\na\r\n", "*1\r\n$1\r\nb\r\n"));
        assert!(!agrees("DBSIZE", ":1\r\n", ":2\r\n"));
        assert!(agrees("RANDOMKEY", "$1\r\na\r\n", "$1\r\nb\r\n"));
        assert!(!agrees("RANDOMKEY", "$1\r\na\r\n", "$-1\r\n"));
    }

    #[test]
    fn the_replies_of_exec_follow_their_commands() {
        let queued = [vec![Bytes::from("TTL"), Bytes::from("a")], vec![Bytes::from("GET"), Bytes::from("a")]];
        let exec = [Bytes::from("EXEC")];
        let agrees = |ours: &'static str, theirs: &'static str| {
            agree(&exec, Some(&queued), &Bytes::from(ours), &Bytes::from(theirs))
        };
        assert!(agrees("*2\r\n:10\r\n$1\r\nx\r\n", "*2\r\n:11\r\n$1\r\nx\r\n"));
        assert!(!agrees("*2\r\n:10\r\n$1\r\nx\r\n", "*2\r\n:11\r\n$1\r\ny\r\n"));
        assert!(!agrees("*1\r\n:10\r\n", "*1\r\n:11\r\n"));
    }
}

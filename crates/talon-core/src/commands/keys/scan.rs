//! `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type] [PREFIX prefix] [WITHVALUES]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::{Error, Refusal, SYNTAX};
use crate::glob::Glob;
use crate::limits::{SCAN_BYTES_MAX, SCAN_KEYS_MAX};
use crate::numbers::integer;
use crate::reply::Reply;
use crate::transaction::{Transaction, prefix_end};

/// The row.
pub static SCAN: Command = Command {
    id: 119,
    kind: Kind::Read,
    facts: Facts {
        name: "scan",
        arity: -2,
        flags: &[Flag::Readonly],
        keys: KeySpec::NONE,
        group: Group::Generic,
        summary: "Returns some keys, in order, and a cursor to go on from.",
        since: "2.8.0",
        complexity: "O(1) for every call. O(N) for a complete iteration, where N is the number of keys that begin as asked.",
    },
    execute,
};

/// How many keys are visited if nothing is said.
const COUNT_DEFAULT: usize = 10;
/// Begins a cursor that is not the start.
const CURSOR_MARK: u8 = 1;

/// The cursor here is `0` for the start, or a byte 1 and then the last key that was visited: the front doors stand a
/// decimal number for it, as Redis's clients expect. So a scan returns every key that stays for its whole duration,
/// each once.
///
/// `COUNT` bounds the keys that are visited, expired ones included; [`SCAN_KEYS_MAX`] and [`SCAN_BYTES_MAX`] bound a
/// call too. What `PREFIX`, or `MATCH` before its first wildcard, rules out is not visited.
fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let resume = match args[0].as_ref() {
        b"0" => None,
        [CURSOR_MARK, ..] => Some(args[0].slice(1..)),
        _ => return Err(Refusal::new("ERR invalid cursor").into()),
    };
    let options = Options::parse(&args[1..])?;
    let glob = Glob::new(&options.pattern);
    let Some(prefix) = narrower(&options.prefix, glob.literal_prefix()) else {
        return Ok(reply(None, Vec::new()));
    };
    let from = match resume {
        // The smallest key above the last one.
        Some(last) => [&last[..], &[0]].concat().max(prefix.clone()),
        None => prefix.clone(),
    };
    let clock_ms = transaction.clock_ms();
    let (mut found, mut last, mut more) = (Vec::new(), None, false);
    let (mut visited, mut bytes) = (0, 0);
    transaction.scan_stored(&from, prefix_end(&prefix).as_deref(), |key, record| {
        if visited == options.count || bytes >= SCAN_BYTES_MAX {
            more = true;
            return false;
        }
        visited += 1;
        last = Some(key.clone());
        if options.strings && !record.expired_at(clock_ms) && glob.matches(key) {
            bytes += key.len();
            let key = Reply::Bulk(key.clone());
            if options.with_values {
                bytes += record.value.len();
                found.push(Reply::Array(vec![key, Reply::Bulk(record.value.clone())]));
            } else {
                found.push(key);
            }
        }
        true
    })?;
    Ok(reply(last.filter(|_| more), found))
}

fn reply(last: Option<Bytes>, found: Vec<Reply>) -> Reply {
    let cursor = match last {
        Some(last) => Bytes::from([&[CURSOR_MARK], &last[..]].concat()),
        None => Bytes::from_static(b"0"),
    };
    Reply::Array(vec![Reply::Bulk(cursor), Reply::Array(found)])
}

/// The longer of two prefixes, if it begins with the shorter; else no key has both.
fn narrower(a: &[u8], b: Vec<u8>) -> Option<Vec<u8>> {
    if a.starts_with(&b) {
        Some(a.to_vec())
    } else if b.starts_with(a) {
        Some(b)
    } else {
        None
    }
}

struct Options {
    pattern: Bytes,
    count: usize,
    /// Whether strings are among what is asked for: there is nothing else.
    strings: bool,
    prefix: Bytes,
    with_values: bool,
}

impl Options {
    fn parse(mut args: &[Bytes]) -> Result<Options, Refusal> {
        let mut options = Options {
            pattern: Bytes::from_static(b"*"),
            count: COUNT_DEFAULT,
            strings: true,
            prefix: Bytes::new(),
            with_values: false,
        };
        while let [option, rest @ ..] = args {
            args = rest;
            if option.eq_ignore_ascii_case(b"WITHVALUES") {
                options.with_values = true;
                continue;
            }
            let [value, rest @ ..] = rest else { return Err(SYNTAX) };
            args = rest;
            if option.eq_ignore_ascii_case(b"COUNT") {
                let count = integer(value)?;
                if count < 1 {
                    return Err(SYNTAX);
                }
                options.count = usize::try_from(count).unwrap_or(SCAN_KEYS_MAX).min(SCAN_KEYS_MAX);
            } else if option.eq_ignore_ascii_case(b"MATCH") {
                options.pattern = value.clone();
            } else if option.eq_ignore_ascii_case(b"TYPE") {
                options.strings = value.eq_ignore_ascii_case(b"string");
            } else if option.eq_ignore_ascii_case(b"PREFIX") {
                options.prefix = value.clone();
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }
}

//! `COMMAND …`: the table of commands, in the form Redis 7 gives it. Clients route by it.

use bytes::Bytes;
use talon_core::command::wrong_arity;
use talon_core::error::SYNTAX;
use talon_core::{Facts, Flag, Group, Refusal, Reply};

use super::{help, lossy, name_pattern};
use crate::resp::session::Context;
use crate::resp::table::{self, Action, Entry, ServerCommand, facts, now};

/// How many commands one question may name.
const NAMES_MAX: usize = 1_024;

const OPEN: &[Flag] = &[Flag::Loading, Flag::Stale];

/// The rows of this family.
pub(super) static ROWS: &[ServerCommand] = &[ServerCommand {
    facts: facts("command", -1, OPEN, Group::Server, "2.8.13", "Describes all commands."),
    action: Action::Container { rows: SUBCOMMANDS, bare: Some(&BARE) },
}];

static SUBCOMMANDS: &[ServerCommand] = &[
    now(facts("command|count", 2, OPEN, Group::Server, "2.8.13", "Answers how many commands there are."), |_, _| {
        Ok(Reply::Integer(table::entries().len() as i64))
    }),
    now(facts("command|docs", -2, OPEN, Group::Server, "7.0.0", "Documents all commands, or those named."), docs),
    now(facts("command|getkeys", -4, OPEN, Group::Server, "2.8.13", "Answers the keys of a command line."), get_keys),
    now(
        facts(
            "command|getkeysandflags",
            -4,
            OPEN,
            Group::Server,
            "7.0.0",
            "Answers the keys of a command line, and what is done with each.",
        ),
        get_keys_and_flags,
    ),
    now(facts("command|info", -2, OPEN, Group::Server, "2.8.13", "Describes all commands, or those named."), info),
    now(facts("command|list", -2, OPEN, Group::Server, "7.0.0", "Answers the names of all commands."), list),
    now(facts("command|help", 2, OPEN, Group::Server, "5.0.0", "Lists the subcommands."), |_, _| {
        Ok(help("COMMAND", SUBCOMMANDS))
    }),
];

/// `COMMAND` without a subcommand.
static BARE: ServerCommand = now(facts("command", -1, OPEN, Group::Server, "2.8.13", "Describes all commands."), all);

fn all(_: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Refusal> {
    Ok(Reply::Array(table::entries().iter().map(describe_entry).collect()))
}

/// A row by its name, or a subcommand's facts by `container|name`.
enum Found {
    Entry(&'static Entry),
    Subcommand(&'static Facts),
}

fn find(name: &[u8]) -> Option<Found> {
    let mut parts = name.splitn(2, |byte| *byte == b'|');
    let entry = table::lookup(parts.next()?)?;
    match parts.next() {
        None => Some(Found::Entry(entry)),
        Some(own) => table::subcommand_entry(entry, own).map(Entry::facts).map(Found::Subcommand),
    }
}

fn info(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    if args.len() == 1 {
        return all(context, args);
    }
    check_names(args)?;
    let described = args[1..].iter().map(|name| match find(name) {
        None => Reply::Null,
        Some(Found::Entry(entry)) => describe_entry(entry),
        Some(Found::Subcommand(facts)) => describe(facts, &[]),
    });
    Ok(Reply::Array(described.collect()))
}

fn docs(_: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let pair = |found: Found| match found {
        Found::Entry(entry) => (Reply::bulk(entry.facts().name), document(entry.facts(), &entry.subcommands())),
        Found::Subcommand(facts) => (Reply::bulk(facts.name), document(facts, &[])),
    };
    if args.len() == 1 {
        return Ok(Reply::Map(table::entries().iter().map(|entry| pair(Found::Entry(entry))).collect()));
    }
    check_names(args)?;
    Ok(Reply::Map(args[1..].iter().filter_map(|name| find(name)).map(pair).collect()))
}

/// What is said of one name may be many times as long as the name.
fn check_names(args: &[Bytes]) -> Result<(), Refusal> {
    if args.len() > 1 + NAMES_MAX {
        return Err(Refusal::from_string(format!(
            "ERR more than {NAMES_MAX} names; without any, all commands are described"
        )));
    }
    Ok(())
}

fn document(facts: &'static Facts, subcommands: &[&'static Facts]) -> Reply {
    let mut pairs = vec![
        (Reply::bulk("summary"), Reply::bulk(facts.summary)),
        (Reply::bulk("since"), Reply::bulk(facts.since)),
        (Reply::bulk("group"), Reply::bulk(facts.group.name())),
        (Reply::bulk("complexity"), Reply::bulk(facts.complexity)),
    ];
    if !subcommands.is_empty() {
        let documents = subcommands.iter().map(|facts| (Reply::bulk(facts.name), document(facts, &[])));
        pairs.push((Reply::bulk("subcommands"), Reply::Map(documents.collect())));
    }
    Reply::Map(pairs)
}

fn list(_: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let fits: Box<dyn Fn(&Facts) -> bool> = match &args[1..] {
        [] => Box::new(|_| true),
        [filter, kind, value] if filter.eq_ignore_ascii_case(b"filterby") => {
            match kind.to_ascii_lowercase().as_slice() {
                b"pattern" => {
                    let pattern = name_pattern(value);
                    Box::new(move |facts| pattern.matches(facts.name.as_bytes()))
                }
                b"aclcat" => {
                    let wanted = format!("@{}", lossy(value).to_ascii_lowercase());
                    Box::new(move |facts| categories(facts).iter().any(|category| *category == wanted))
                }
                // There are none.
                b"module" => Box::new(|_| false),
                _ => return Err(SYNTAX),
            }
        }
        _ => return Err(SYNTAX),
    };
    let names = table::entries().iter().flat_map(|entry| std::iter::once(entry.facts()).chain(entry.subcommands()));
    // Without a filter, Redis lists containers only.
    let with_subcommands = args.len() > 1;
    let names = names
        .filter(|facts| (with_subcommands || !facts.name.contains('|')) && fits(facts))
        .map(|facts| Reply::bulk(facts.name));
    Ok(Reply::Array(names.collect()))
}

fn get_keys(_: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let (_, keys) = keys_of(&args[1..])?;
    Ok(Reply::Array(keys.into_iter().map(Reply::Bulk).collect()))
}

fn get_keys_and_flags(_: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let (facts, keys) = keys_of(&args[1..])?;
    let gets = args[2..].iter().skip(2).any(|word| word.eq_ignore_ascii_case(b"get"));
    let uses = match facts.name {
        // What the variable flags come to.
        "set" if gets => &[&["RW", "access", "update"][..]][..],
        "set" => &[&["OW", "update"][..]][..],
        _ => key_uses(facts),
    };
    let pair = |(place, key): (usize, Bytes)| {
        let uses = uses.get(place).or(uses.last()).copied().unwrap_or_default();
        Reply::Array(vec![Reply::Bulk(key), Reply::Set(uses.iter().map(|name| Reply::Simple(name)).collect())])
    };
    Ok(Reply::Array(keys.into_iter().enumerate().map(pair).collect()))
}

/// The keys of a command line, and the command that it is.
fn keys_of(line: &[Bytes]) -> Result<(&'static Facts, Vec<Bytes>), Refusal> {
    let Some((name, words)) = line.split_first() else { return Err(wrong_arity("command|getkeys")) };
    let invalid = Refusal::new("ERR Invalid command specified");
    let Some(entry) = table::lookup(name) else { return Err(invalid) };
    let facts = match words.first() {
        Some(own) if !entry.subcommands().is_empty() => {
            table::subcommand_entry(entry, own).map(Entry::facts).ok_or_else(|| invalid.clone())?
        }
        _ => entry.facts(),
    };
    if let (table::Row::Data(command), [_, _, inner @ ..]) = (entry.row, words)
        && command.id == talon_core::commands::talon::ONCE.id
    {
        // Its keys are those of the command inside, which is no other ONCE.
        let nested = inner.first().is_some_and(|name| name.eq_ignore_ascii_case(b"once"));
        return if nested { Err(invalid) } else { keys_of(inner) };
    }
    if facts.keys.first == 0 {
        return Err(Refusal::new("ERR The command has no key arguments"));
    }
    facts.check_arity(line.len()).map_err(|_| Refusal::new("ERR Invalid number of arguments specified for command"))?;
    let keys = facts.keys.places(words.len()).filter_map(|place| words.get(place).cloned());
    Ok((facts, keys.collect()))
}

fn describe_entry(entry: &'static Entry) -> Reply {
    describe(entry.facts(), &entry.subcommands())
}

fn describe(facts: &'static Facts, subcommands: &[&'static Facts]) -> Reply {
    let simple = |names: Vec<&'static str>| Reply::Set(names.into_iter().map(Reply::Simple).collect());
    Reply::Array(vec![
        Reply::bulk(facts.name),
        Reply::Integer(i64::from(facts.arity)),
        simple(facts.flags.iter().map(|flag| flag.name()).collect()),
        Reply::Integer(i64::from(facts.keys.first)),
        Reply::Integer(i64::from(facts.keys.last)),
        Reply::Integer(i64::from(facts.keys.step)),
        simple(categories(facts)),
        Reply::Set(tips(facts.name).iter().map(|tip| Reply::bulk(tip)).collect()),
        Reply::Set(key_specifications(facts)),
        match subcommands {
            // Redis's form for none.
            [] => Reply::Set(vec![]),
            several => Reply::Array(several.iter().map(|facts| describe(facts, &[])).collect()),
        },
    ])
}

/// Redis's categories of commands, in its order, derived from flags and group.
pub(super) fn categories(facts: &Facts) -> Vec<&'static str> {
    let has = |flag| facts.flags.contains(&flag);
    let works_on_keys = has(Flag::Write) || has(Flag::Readonly);
    let mut categories = Vec::new();
    let mut add = |applies: bool, category| {
        if applies {
            categories.push(category);
        }
    };
    let on_values = matches!(facts.group, Group::String | Group::Bitmap) || facts.name.starts_with("memory");
    add(works_on_keys && !on_values, "@keyspace");
    add(has(Flag::Readonly), "@read");
    add(has(Flag::Write), "@write");
    add(facts.group == Group::String, "@string");
    add(facts.group == Group::Bitmap, "@bitmap");
    add(has(Flag::Pubsub), "@pubsub");
    add(has(Flag::Admin) || matches!(facts.name, "role" | "lastsave"), "@admin");
    add(has(Flag::Fast), "@fast");
    add(!has(Flag::Fast), "@slow");
    add(
        has(Flag::Admin)
            || matches!(facts.name, "info" | "keys" | "flushall" | "flushdb" | "swapdb" | "role" | "lastsave"),
        "@dangerous",
    );
    let connection = matches!(facts.name, "readonly" | "readwrite" | "asking" | "wait")
        || facts.name.starts_with("command")
        || (facts.group == Group::Connection && facts.name != "client");
    add(connection, "@connection");
    add(facts.group == Group::Transactions, "@transaction");
    categories
}

/// What cluster clients need to know to send a command to the right nodes. With one shard, sending it to the one that owns
/// slot 0 would always do; the tips are Redis's, so that clients do what they do there.
fn tips(name: &str) -> &'static [&'static str] {
    match name {
        "del" | "unlink" | "exists" | "touch" => &["request_policy:multi_shard", "response_policy:agg_sum"],
        "mset" => &["request_policy:multi_shard", "response_policy:all_succeeded"],
        "mget" => &["request_policy:multi_shard"],
        "msetnx" => &["request_policy:multi_shard", "response_policy:agg_min"],
        "object|encoding"
        | "object|freq"
        | "object|idletime"
        | "object|refcount"
        | "ttl"
        | "pttl"
        | "time"
        | "client|info"
        | "client|list"
        | "cluster|info"
        | "cluster|nodes"
        | "cluster|shards"
        | "cluster|getkeysinslot"
        | "cluster|links"
        | "cluster|replicas"
        | "cluster|slaves"
        | "cluster|slots"
        | "lastsave" => &["nondeterministic_output"],
        "randomkey" => &["request_policy:all_shards", "nondeterministic_output"],
        "keys" => &["request_policy:all_shards", "nondeterministic_output_order"],
        "dbsize" => &["request_policy:all_shards", "response_policy:agg_sum"],
        "flushall" | "flushdb" | "ping" => &["request_policy:all_shards", "response_policy:all_succeeded"],
        "scan" => &["nondeterministic_output", "request_policy:special"],
        "info" => &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
        "config|set" | "slowlog|reset" | "latency|reset" => {
            &["request_policy:all_nodes", "response_policy:all_succeeded"]
        }
        "latency|doctor" | "latency|histogram" | "latency|history" | "latency|latest" => {
            &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]
        }
        "slowlog|get" => &["request_policy:all_nodes", "nondeterministic_output"],
        "slowlog|len" => &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"],
        "wait" => &["request_policy:all_shards", "response_policy:agg_min"],
        "command" | "command|docs" | "command|info" | "command|list" | "module|list" => {
            &["nondeterministic_output_order"]
        }
        _ => &[],
    }
}

/// What a command does with its first keys and, where that differs, with its second.
fn key_uses(facts: &Facts) -> &'static [&'static [&'static str]] {
    match facts.name {
        "set" | "bitfield" => &[&["RW", "access", "update", "variable_flags"]],
        "getset" | "incr" | "incrby" | "decr" | "decrby" | "incrbyfloat" | "getex" | "setbit" | "move" => {
            &[&["RW", "access", "update"]]
        }
        "getdel" => &[&["RW", "access", "delete"]],
        "append" => &[&["RW", "insert"]],
        "setnx" | "msetnx" => &[&["OW", "insert"]],
        "mset" | "setex" | "psetex" => &[&["OW", "update"]],
        "del" | "unlink" => &[&["RM", "delete"]],
        "exists" | "strlen" | "type" | "touch" | "watch" | "memory|usage" | "object|encoding" | "object|freq"
        | "object|idletime" | "object|refcount" => &[&["RO"]],
        // Which keys there are is the inner command's business.
        "once" => &[&["RW", "update", "incomplete"]],
        "delex" => &[&["RW", "delete", "variable_flags"]],
        "bitop" => &[&["OW", "update"], &["RO", "access"]],
        "rename" => &[&["RW", "access", "delete"], &["OW", "update"]],
        "renamenx" => &[&["RW", "access", "delete"], &["OW", "insert"]],
        "copy" => &[&["RO", "access"], &["OW", "update"]],
        _ if facts.flags.contains(&Flag::Write) => &[&["RW", "update"]],
        _ => &[&["RO", "access"]],
    }
}

fn key_specifications(facts: &Facts) -> Vec<Reply> {
    let keys = facts.keys;
    if keys.first == 0 {
        return vec![];
    }
    let uses = key_uses(facts);
    let specification = |uses: &[&'static str], first: i32, last: i32| {
        let range = vec![
            // Counted from the first key; negative from the end.
            (Reply::bulk("lastkey"), Reply::Integer(i64::from(if last < 0 { last } else { last - first }))),
            (Reply::bulk("keystep"), Reply::Integer(i64::from(keys.step))),
            (Reply::bulk("limit"), Reply::Integer(0)),
        ];
        let index = vec![(Reply::bulk("index"), Reply::Integer(i64::from(first)))];
        let part = |kind, spec| Reply::Map(vec![(Reply::bulk("type"), Reply::bulk(kind)), (Reply::bulk("spec"), spec)]);
        Reply::Map(vec![
            (Reply::bulk("flags"), Reply::Set(uses.iter().map(|name| Reply::Simple(name)).collect())),
            (Reply::bulk("begin_search"), part("index", Reply::Map(index))),
            (Reply::bulk("find_keys"), part("range", Reply::Map(range))),
        ])
    };
    match uses {
        [one] => vec![specification(one, keys.first, keys.last)],
        // One key each; the last use is that of all keys that are left.
        several => several
            .iter()
            .zip(keys.first..)
            .enumerate()
            .map(|(number, (uses, place))| {
                specification(uses, place, if number + 1 == several.len() { keys.last } else { place })
            })
            .collect(),
    }
}

//! `CONFIG …`: what can be asked, and the little that can be changed while the server runs.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use talon_core::numbers::parse_integer;
use talon_core::{Flag, Group, Refusal, Reply};

use super::{help, lossy, name_pattern, text};
use crate::resp::session::{Context, Shared};
use crate::resp::table::{Action, ServerCommand, facts, now};

const ADMIN: &[Flag] = &[Flag::Admin, Flag::Noscript, Flag::Loading, Flag::Stale];

/// The rows of this family.
pub(super) static ROWS: &[ServerCommand] = &[ServerCommand {
    facts: facts("config", -2, &[], Group::Server, "2.0.0", "A container for commands about settings."),
    action: Action::Container { rows: SUBCOMMANDS, bare: None },
}];

static SUBCOMMANDS: &[ServerCommand] = &[
    now(facts("config|get", -3, ADMIN, Group::Server, "2.0.0", "Answers settings by patterns of their names."), get),
    now(facts("config|set", -4, ADMIN, Group::Server, "2.0.0", "Changes settings that can change while running."), set),
    now(
        facts("config|resetstat", 2, ADMIN, Group::Server, "2.0.0", "Sets the counters of INFO back to zero."),
        |context, _| {
            context.shared.metrics.reset();
            Ok(Reply::Ok)
        },
    ),
    now(
        facts("config|help", 2, &[Flag::Loading, Flag::Stale], Group::Server, "5.0.0", "Lists the subcommands."),
        |_, _| Ok(help("CONFIG", SUBCOMMANDS)),
    ),
];

type Get = fn(&Shared) -> String;
type Set = fn(&Shared, i64);

/// One setting under the name Redis gives it.
struct Parameter {
    name: &'static str,
    get: Get,
    /// How it changes while running, and from what on; none = it cannot.
    set: Option<(i64, Set)>,
}

const fn fixed(name: &'static str, get: Get) -> Parameter {
    Parameter { name, get, set: None }
}

static PARAMETERS: &[Parameter] = &[
    // Every acknowledged write is in a log that was synced; there are no dumps.
    fixed("appendfsync", |_| "always".to_owned()),
    fixed("appendonly", |_| "yes".to_owned()),
    fixed("client-query-buffer-limit", |shared| shared.settings.query_bytes_max.to_string()),
    fixed("databases", |_| "1".to_owned()),
    Parameter {
        name: "maxclients",
        get: |shared| shared.clients_max.load(Ordering::Relaxed).to_string(),
        set: Some((1, |shared, number| {
            shared.clients_max.store(usize::try_from(number).unwrap_or(usize::MAX), Ordering::Relaxed);
        })),
    },
    fixed("maxmemory", |_| "0".to_owned()),
    fixed("maxmemory-policy", |_| "noeviction".to_owned()),
    fixed("port", |shared| shared.port.to_string()),
    fixed("protected-mode", |shared| yes_or_no(shared.settings.protected_mode)),
    fixed("proto-max-bulk-len", |shared| shared.settings.bulk_bytes_max.to_string()),
    // Never the password itself.
    fixed("requirepass", |shared| if shared.settings.password.is_some() { "(set)".to_owned() } else { String::new() }),
    fixed("save", |_| String::new()),
    fixed("tcp-keepalive", |_| "300".to_owned()),
    Parameter {
        name: "timeout",
        get: |shared| shared.idle_timeout_s.load(Ordering::Relaxed).to_string(),
        set: Some((0, |shared, number| shared.idle_timeout_s.store(number.unsigned_abs(), Ordering::Relaxed))),
    },
];

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn get(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let patterns: Vec<_> = args[1..].iter().map(name_pattern).collect();
    let wanted =
        PARAMETERS.iter().filter(|parameter| patterns.iter().any(|pattern| pattern.matches(parameter.name.as_bytes())));
    Ok(Reply::Map(
        wanted.map(|parameter| (Reply::bulk(parameter.name), text((parameter.get)(context.shared)))).collect(),
    ))
}

fn set(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let pairs = &args[1..];
    if !pairs.len().is_multiple_of(2) {
        return Err(talon_core::command::wrong_arity("config|set"));
    }
    // All or nothing: everything is checked before anything changes.
    let mut changes: Vec<(&str, Set, i64)> = Vec::new();
    for pair in pairs.chunks_exact(2) {
        let name = lossy(&pair[0]).to_ascii_lowercase();
        let Some(parameter) = PARAMETERS.iter().find(|parameter| parameter.name == name) else {
            return Err(Refusal::from_string(format!(
                "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                lossy(&pair[0])
            )));
        };
        let failed = |why: &str| {
            Refusal::from_string(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"))
        };
        let Some((least, change)) = parameter.set else { return Err(failed("can't set immutable config")) };
        if changes.iter().any(|(earlier, ..)| *earlier == parameter.name) {
            return Err(failed("duplicate parameter"));
        }
        let number = parse_integer(&pair[1]).ok_or_else(|| failed("argument couldn't be parsed into an integer"))?;
        if !(least..=i64::from(u32::MAX)).contains(&number) {
            return Err(failed(&format!("argument must be between {least} and {} inclusive", u32::MAX)));
        }
        changes.push((parameter.name, change, number));
    }
    for (_, change, number) in changes {
        change(context.shared, number);
    }
    Ok(Reply::Ok)
}

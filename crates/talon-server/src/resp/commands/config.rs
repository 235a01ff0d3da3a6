//! `CONFIG …`: settings under the names that Redis gives them and under Talon's own, and what of them can change while the
//! server runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use talon_core::error::SYNTAX;
use talon_core::numbers::parse_integer;
use talon_core::{Flag, Group, Refusal, Reply};

use super::{help, lossy, name_pattern, text};
use crate::resp::deferred::Deferred;
use crate::resp::parameters::{Changed, RewriteError};
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
            context.shared.metrics.reset(context.status.expired_keys);
            Ok(Reply::Ok)
        },
    ),
    ServerCommand {
        facts: facts(
            "config|rewrite",
            2,
            ADMIN,
            Group::Server,
            "2.8.0",
            "Puts what CONFIG SET has changed into the file the node was started with.",
        ),
        action: Action::Deferred(|_, _| Ok(Deferred::Rewrite)),
    },
    now(
        facts("config|help", 2, &[Flag::Loading, Flag::Stale], Group::Server, "5.0.0", "Lists the subcommands."),
        |_, _| Ok(help("CONFIG", SUBCOMMANDS)),
    ),
];

type Get = fn(&Shared) -> String;

/// A setting under the name Redis gives it, which cannot change while the server runs.
struct Fixed(&'static str, Get);

/// As `INFO` has it.
const CLUSTER_ENABLED: &str = "cluster-enabled";

static FIXED: &[Fixed] = &[
    // Every acknowledged write is in a log that was synced; there are no dumps.
    Fixed("appendfsync", |_| "always".to_owned()),
    Fixed("appendonly", |_| "yes".to_owned()),
    Fixed("bind", |shared| node_setting(shared, "listen")),
    Fixed("client-output-buffer-limit", |shared| {
        let (replies, messages) = (shared.tunables.output_bytes_max(), shared.settings.push_bytes_max);
        format!("normal {replies} 0 0 slave 0 0 0 pubsub {messages} 0 0")
    }),
    // After so long without a word from the leader another one is elected.
    Fixed("cluster-node-timeout", |shared| node_setting(shared, "election_timeout_ms_max")),
    Fixed("databases", |_| "1".to_owned()),
    Fixed("dir", |shared| node_setting(shared, "data_dir")),
    Fixed("maxmemory", |_| "0".to_owned()),
    Fixed("maxmemory-policy", |_| "noeviction".to_owned()),
    // None are sent.
    Fixed("notify-keyspace-events", |_| String::new()),
    Fixed("port", |shared| shared.port.to_string()),
    Fixed("protected-mode", |shared| yes_or_no(shared.settings.protected_mode)),
    Fixed("proto-max-bulk-len", |shared| shared.settings.bulk_bytes_max.to_string()),
    Fixed("replica-read-only", |_| "yes".to_owned()),
    // Never the password itself.
    Fixed("requirepass", |shared| if shared.settings.password.is_some() { "(set)".to_owned() } else { String::new() }),
    Fixed("save", |_| String::new()),
    Fixed("slave-read-only", |_| "yes".to_owned()),
    Fixed("tcp-keepalive", |_| crate::resp::socket::KEEPALIVE.as_secs().to_string()),
];

/// A number that can change while the server runs.
struct Tunable {
    redis: Option<&'static str>,
    talon: &'static str,
    least: i64,
    most: i64,
    /// Whether it counts bytes, so that `2mb` is a number, too.
    is_memory: bool,
    get: fn(&Shared) -> i64,
    set: fn(&Shared, i64),
}

/// A getter and a setter of a field of `Tunables`.
macro_rules! field {
    ($field:ident as $number:ty) => {
        (
            |shared| i64::try_from(shared.tunables.$field.load(Ordering::Relaxed)).unwrap_or(i64::MAX),
            |shared, number| {
                shared.tunables.$field.store(<$number>::try_from(number).unwrap_or(<$number>::MAX), Ordering::Relaxed)
            },
        )
    };
}

type Field = (fn(&Shared) -> i64, fn(&Shared, i64));

const fn tunable(
    redis: Option<&'static str>,
    talon: &'static str,
    (least, most): (i64, i64),
    is_memory: bool,
    (get, set): Field,
) -> Tunable {
    Tunable { redis, talon, least, most, is_memory, get, set }
}

/// Less room for requests or replies than this would only cut clients off.
const BUFFER_BYTES_MIN: i64 = 1024 * 1024;

static TUNABLES: &[Tunable] = &[
    tunable(Some("maxclients"), "maxclients", (1, u32::MAX as i64), false, field!(clients_max as usize)),
    tunable(None, "clients_reserved", (0, u32::MAX as i64), false, field!(clients_reserved as usize)),
    tunable(Some("timeout"), "timeout_s", (0, i32::MAX as i64), false, field!(idle_timeout_s as u64)),
    tunable(
        Some("client-query-buffer-limit"),
        "query_bytes_max",
        (BUFFER_BYTES_MIN, i64::MAX),
        true,
        field!(query_bytes_max as usize),
    ),
    tunable(None, "output_bytes_max", (BUFFER_BYTES_MIN, i64::MAX), true, field!(output_bytes_max as usize)),
    tunable(
        Some("slowlog-log-slower-than"),
        "slowlog_slower_than_us",
        (-1, i64::MAX),
        false,
        field!(slowlog_slower_than_us as i64),
    ),
    tunable(
        Some("slowlog-max-len"),
        "slowlog_entries_max",
        (0, SLOWLOG_ENTRIES_MOST),
        false,
        field!(slowlog_entries_max as usize),
    ),
    tunable(
        Some("latency-monitor-threshold"),
        "latency_threshold_ms",
        (0, i64::MAX),
        false,
        field!(latency_threshold_ms as u64),
    ),
];

/// An entry may take a few kilobytes, and a list without an end would take them all.
const SLOWLOG_ENTRIES_MOST: i64 = 1024 * 1024;

/// Redis's name for it, and Talon's.
const LOG_LEVEL: [&str; 2] = ["loglevel", "log_level"];

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn node_setting(shared: &Shared, name: &str) -> String {
    shared
        .settings
        .parameters
        .all()
        .into_iter()
        .find(|(known, _)| known == name)
        .map_or(String::new(), |(_, value)| value)
}

/// Everything, by name.
fn settings(Context { shared, status, .. }: &Context<'_>) -> BTreeMap<String, String> {
    // What has been changed is stronger than what the node was started with.
    let mut all: BTreeMap<String, String> = shared.settings.parameters.all().into_iter().collect();
    for Fixed(name, get) in FIXED {
        all.insert((*name).to_owned(), get(shared));
    }
    all.insert(CLUSTER_ENABLED.to_owned(), yes_or_no(status.clustered));
    for tunable in TUNABLES {
        for name in tunable.redis.into_iter().chain([tunable.talon]) {
            all.insert(name.to_owned(), (tunable.get)(shared).to_string());
        }
    }
    let level = shared.settings.parameters.log_level();
    all.insert(LOG_LEVEL[0].to_owned(), redis_level(&level).to_owned());
    all.insert(LOG_LEVEL[1].to_owned(), level);
    all
}

/// The nearest of Redis's levels.
fn redis_level(level: &str) -> &'static str {
    match level.split(',').next().unwrap_or_default().trim() {
        "off" | "error" | "warn" => "warning",
        "debug" | "trace" => "debug",
        _ => "notice",
    }
}

/// One of Redis's levels as Talon's.
fn level_of_redis(level: &str) -> Option<&'static str> {
    match level.to_ascii_lowercase().as_str() {
        "debug" => Some("debug"),
        "verbose" | "notice" => Some("info"),
        "warning" => Some("warn"),
        _ => None,
    }
}

fn get(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let patterns: Vec<_> = args[1..].iter().map(name_pattern).collect();
    let wanted = settings(context)
        .into_iter()
        .filter(|(name, _)| patterns.iter().any(|pattern| pattern.matches(name.as_bytes())));
    Ok(Reply::Map(wanted.map(|(name, value)| (text(name), text(value))).collect()))
}

/// One pair of CONFIG SET that has been checked.
enum Change {
    Number(&'static Tunable, i64),
    LogLevel(String),
}

impl Change {
    /// Talon's name of what is changed.
    fn name(&self) -> &'static str {
        match self {
            Change::Number(tunable, _) => tunable.talon,
            Change::LogLevel(_) => LOG_LEVEL[1],
        }
    }
}

fn set(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let shared = context.shared;
    let pairs = &args[1..];
    if !pairs.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    // All or nothing: everything is checked before anything changes.
    let mut changes: Vec<Change> = Vec::new();
    for pair in pairs.chunks_exact(2) {
        let given = lossy(&pair[0]);
        let name = given.to_ascii_lowercase();
        let failed = |why: &str| {
            Refusal::from_string(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"))
        };
        let found = TUNABLES.iter().find(|tunable| tunable.redis == Some(&name) || tunable.talon == name);
        let change = if let Some(tunable) = found {
            Change::Number(tunable, number(shared, tunable, &pair[1]).map_err(|why| failed(&why))?)
        } else if LOG_LEVEL.contains(&name.as_str()) {
            Change::LogLevel(log_level(shared, &name, &lossy(&pair[1])).map_err(|why| failed(&why))?)
        } else if settings(context).contains_key(&name) {
            return Err(failed("can't set immutable config"));
        } else {
            return Err(Refusal::from_string(format!(
                "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                given
            )));
        };
        if changes.iter().any(|earlier| earlier.name() == change.name()) {
            return Err(failed("duplicate parameter"));
        }
        changes.push(change);
    }
    // First what may still fail, though it was checked.
    changes.sort_by_key(|change| matches!(change, Change::Number(..)));
    for change in changes {
        let name = change.name();
        match change {
            Change::LogLevel(level) => shared.settings.parameters.set_log_level(&level).map_err(|why| {
                Refusal::from_string(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"))
            })?,
            Change::Number(tunable, number) => (tunable.set)(shared, number),
        }
        shared.has_changed(name);
    }
    Ok(Reply::Ok)
}

/// The new value of a number, in Redis's words if it is none.
fn number(shared: &Shared, tunable: &Tunable, arg: &Bytes) -> Result<i64, String> {
    let number = if tunable.is_memory {
        memory(arg).ok_or("argument must be a memory value")?
    } else {
        parse_integer(arg).ok_or("argument couldn't be parsed into an integer")?
    };
    let Tunable { least, most, .. } = *tunable;
    if !(least..=most).contains(&number) {
        return Err(format!("argument must be between {least} and {most} inclusive"));
    }
    let clients_most = i64::try_from(shared.settings.clients_most).unwrap_or(i64::MAX);
    if tunable.talon == "maxclients" && number > clients_most {
        return Err(format!(
            "The operating system is not able to handle the specified number of clients, try with {clients_most}"
        ));
    }
    Ok(number)
}

/// Bytes as Redis's file of settings counts them: `2mb` are 2 × 1024 × 1024, `2m` two million.
fn memory(arg: &Bytes) -> Option<i64> {
    let lower = arg.to_ascii_lowercase();
    let digits = lower.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let unit: i64 = match unit {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    parse_integer(number)?.checked_mul(unit)
}

fn log_level(shared: &Shared, name: &str, value: &str) -> Result<String, String> {
    let level = if name == LOG_LEVEL[0] {
        level_of_redis(value)
            .ok_or("argument(s) must be one of the following: debug, verbose, notice, warning")?
            .to_owned()
    } else {
        value.to_owned()
    };
    shared.settings.parameters.check_log_level(&level).map(|()| level)
}

/// One at a time, on a thread that may wait for the disk.
pub(crate) async fn rewrite(shared: &Arc<Shared>) -> Reply {
    let turn = shared.rewriting.clone().lock_owned().await;
    let shared = shared.clone();
    let writing = tokio::task::spawn_blocking(move || {
        // To the end, also when nobody waits for it any more.
        let _turn = turn;
        shared.settings.parameters.rewrite(&changed(&shared))
    });
    let why = match writing.await {
        Ok(Ok(())) => return Reply::Ok,
        Ok(Err(RewriteError::NoFile)) => {
            return Reply::Error(Refusal::new("ERR The server is running without a config file"));
        }
        Ok(Err(RewriteError::Failed(why))) => why,
        Err(error) => error.to_string(),
    };
    tracing::warn!(%why, "CONFIG REWRITE failed");
    Reply::Error(Refusal::from_string(format!("ERR Rewriting config file: {why}")))
}

/// What CONFIG SET has changed, as it is now.
fn changed(shared: &Shared) -> Vec<(&'static str, Changed)> {
    shared
        .changed()
        .into_iter()
        .map(|name| {
            let tunable = TUNABLES.iter().find(|tunable| tunable.talon == name);
            let value = tunable.map_or_else(
                || Changed::Text(shared.settings.parameters.log_level()),
                |tunable| Changed::Number((tunable.get)(shared)),
            );
            (name, value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        let memory = |text: &'static str| memory(&Bytes::from(text));
        assert_eq!(memory("7"), Some(7));
        assert_eq!(memory("2MB"), Some(2 << 20));
        assert_eq!(memory("2m"), Some(2_000_000));
        assert_eq!((memory("mb"), memory("-1"), memory("1tb"), memory("9999999999gb")), (None, None, None, None));
    }

    #[test]
    fn every_name_is_there_once() {
        let names = FIXED.iter().map(|fixed| fixed.0).chain([CLUSTER_ENABLED]).chain(LOG_LEVEL);
        let names = names.chain(TUNABLES.iter().flat_map(|tunable| tunable.redis)).collect::<Vec<_>>();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
    }
}

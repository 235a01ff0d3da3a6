//! Every command of Redis 7, and whether Talon has it: the table in `crates/talon-server/COMMANDS.md`.

use std::collections::{BTreeMap, BTreeSet};

use crate::deviations::DEVIATIONS;

/// Why the commands of a group are not there.
const GROUPS_LEFT_OUT: &[(&str, &str)] = &[
    ("list", "Talon keeps strings only"),
    ("set", "Talon keeps strings only"),
    ("sorted-set", "Talon keeps strings only"),
    ("hash", "Talon keeps strings only"),
    ("stream", "Talon keeps strings only"),
    ("geo", "Talon keeps strings only"),
    ("hyperloglog", "Talon keeps strings only"),
    (
        "scripting",
        "no scripts: `SET … IFEQ`, `DELEX`, `MULTI` with `WATCH`, and `ONCE` do what locks and counters need",
    ),
];

/// Why single commands are not there; a container's name stands for its subcommands.
const LEFT_OUT: &[(&str, &str)] = &[
    ("acl", "one user, `default`, with a password"),
    ("bgrewriteaof", "there is no file to rewrite: the log is cut by itself"),
    ("bgsave", "nothing is dumped: every acknowledged write is on a majority's disks"),
    ("client|caching", "no client-side caching"),
    ("client|tracking", "no client-side caching"),
    ("cluster", "nodes join, leave and lead by raft: see `talon cluster`"),
    ("debug", "nothing that crashes, sleeps or fakes is there to be called"),
    ("dump", "no serialised values"),
    ("latency|graph", "`LATENCY HISTORY` has the numbers"),
    ("lolwut", "no art"),
    ("memory", "what it tells is about Redis's allocator"),
    ("migrate", "one shard: there is nowhere to"),
    ("module", "no modules"),
    ("psync", "followers speak raft"),
    ("replconf", "followers speak raft"),
    ("replicaof", "who follows is decided by raft: see `talon cluster`"),
    ("restore", "no serialised values"),
    ("restore-asking", "no serialised values"),
    ("save", "nothing is dumped: every acknowledged write is on a majority's disks"),
    ("shutdown", "a node is ended by its service manager (SIGTERM)"),
    ("slaveof", "who follows is decided by raft: see `talon cluster`"),
    ("sort", "it sorts lists and sets"),
    ("sort_ro", "it sorts lists and sets"),
    ("spublish", "no sharded channels"),
    ("ssubscribe", "no sharded channels"),
    ("sunsubscribe", "no sharded channels"),
    ("sync", "followers speak raft"),
];

/// A command as `COMMAND DOCS` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Redis's group.
    pub group: String,
    /// One line.
    pub summary: String,
}

/// By their names, `client|list` for subcommands.
pub type Commands = BTreeMap<String, Described>;

/// The whole file.
///
/// # Errors
/// Names of commands that Talon has not, and for which no reason is written down; or that are said not to be there, and are.
pub fn page(redis: &Commands, talon: &Commands) -> Result<String, Vec<String>> {
    let mut out = vec![
        "# Commands".to_owned(),
        String::new(),
        "Made by `tests/judge` from what a real redis-server 7.0 and Talon say of themselves (`COMMAND DOCS`), and from the deviations"
            .to_owned(),
        "that are tested there; `TALON_WRITE=1 cargo test --release -p talon-judge --test commands_table` writes it anew.".to_owned(),
        "Where nothing is said of a difference, the reply is Redis's, to the byte.".to_owned(),
        String::new(),
        "## Those of Redis 7.0".to_owned(),
        String::new(),
        "| command | there | how it differs, or why it is not there |".to_owned(),
        "|---|---|---|".to_owned(),
    ];
    let mut unexplained = Vec::new();
    for (name, command) in redis {
        let note = match (talon.contains_key(name), reason(name, &command.group)) {
            // A container may be there with some of its subcommands.
            (true, Some(_))
                if LEFT_OUT.iter().any(|(left_out, _)| left_out == name)
                    && !talon.keys().any(|other| other.starts_with(&format!("{name}|"))) =>
            {
                unexplained.push(format!("{name} is there, and said not to be"));
                continue;
            }
            (true, _) => ("yes", differences(name)),
            (false, Some(why)) => ("–", why.to_owned()),
            (false, None) => {
                unexplained.push(format!("{name} ({}) is not there, and nobody says why", command.group));
                continue;
            }
        };
        out.push(format!("| `{}` | {} | {} |", shown(name), note.0, note.1));
    }
    out.extend(
        ["", "## Those that Redis 7.0 has not", "", "| command | what it does |", "|---|---|"].map(str::to_owned),
    );
    let own: BTreeSet<&String> = talon.keys().filter(|name| !redis.contains_key(*name)).collect();
    out.extend(own.into_iter().map(|name| format!("| `{}` | {} |", shown(name), talon[name].summary)));
    out.push(String::new());
    if unexplained.is_empty() { Ok(out.join("\n")) } else { Err(unexplained) }
}

fn shown(name: &str) -> String {
    name.replace('|', " ").to_ascii_uppercase()
}

fn reason(name: &str, group: &str) -> Option<&'static str> {
    let container = name.split('|').next().unwrap_or(name);
    let single = LEFT_OUT.iter().find(|(left_out, _)| *left_out == name);
    let single = single.or_else(|| LEFT_OUT.iter().find(|(left_out, _)| *left_out == container));
    single.or_else(|| GROUPS_LEFT_OUT.iter().find(|(left_out, _)| *left_out == group)).map(|(_, why)| *why)
}

/// What the deviations say whose subject names the command.
fn differences(name: &str) -> String {
    let shown = shown(name);
    let container = shown.split(' ').next().unwrap_or(&shown);
    let is_meant = |subject: &str| {
        subject.split('`').skip(1).step_by(2).any(|quoted| {
            quoted == shown
                || quoted.strip_prefix(&shown).is_some_and(|rest| rest.starts_with(" …"))
                || (quoted == container && shown != container && !shown.ends_with(" HELP"))
        })
    };
    let meant = DEVIATIONS.iter().filter(|deviation| is_meant(deviation.subject));
    meant.map(|deviation| format!("{}: {}", deviation.subject, deviation.talon)).collect::<Vec<_>>().join("; ")
}

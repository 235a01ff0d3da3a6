//! `MULTI` and its family, and `WAIT`.

use std::collections::HashSet;

use bytes::Bytes;
use talon_core::{Facts, Flag, Group, KeySpec, Refusal, Reply};

use crate::resp::deferred::Deferred;
use crate::resp::session::Context;
use crate::resp::table::{Action, ServerCommand, facts, now};
use crate::resp::wait::Wait;

const OPEN: &[Flag] = &[Flag::Noscript, Flag::Loading, Flag::Stale, Flag::Fast, Flag::AllowBusy];

/// The rows of this family.
pub(super) static ROWS: &[ServerCommand] = &[
    ServerCommand {
        facts: facts("multi", 1, OPEN, Group::Transactions, "1.2.0", "Begins to gather a transaction."),
        action: Action::Multi,
    },
    ServerCommand {
        facts: facts(
            "exec",
            1,
            &[Flag::Noscript, Flag::Loading, Flag::Stale, Flag::SkipSlowlog],
            Group::Transactions,
            "1.2.0",
            "Carries out what was gathered, as one atomic step.",
        ),
        action: Action::Exec,
    },
    ServerCommand {
        facts: facts("discard", 1, OPEN, Group::Transactions, "2.0.0", "Forgets what was gathered."),
        action: Action::Discard,
    },
    ServerCommand {
        facts: Facts {
            keys: KeySpec::ALL,
            ..facts("watch", -2, OPEN, Group::Transactions, "2.2.0", "Makes EXEC depend on keys.")
        },
        action: Action::Deferred(watch),
    },
    now(facts("unwatch", 1, OPEN, Group::Transactions, "2.2.0", "Forgets all watched keys."), |context, _| {
        context.session.watches.clear();
        Ok(Reply::Ok)
    }),
    ServerCommand {
        facts: facts(
            "wait",
            3,
            &[Flag::Noscript],
            Group::Generic,
            "3.0.0",
            "Waits until so many followers hold what was written, and answers how many do.",
        ),
        action: Action::Deferred(|_, args| Wait::parse(args).map(Deferred::Wait)),
    },
    ServerCommand {
        facts: facts(
            "waitaof",
            4,
            &[Flag::Noscript],
            Group::Generic,
            "7.2.0",
            "Waits until this node and so many followers have what was written on their disks, and answers how many have.",
        ),
        action: Action::Deferred(|_, args| Wait::parse_aof(args).map(Deferred::Wait)),
    },
];

fn watch(context: &mut Context<'_>, keys: &[Bytes]) -> Result<Deferred, Refusal> {
    let session = &context.session;
    if session.gathered().is_some() {
        // As in Redis, this spoils nothing.
        return Err(Refusal::new("ERR WATCH inside MULTI is not allowed"));
    }
    // Each key once, and none that is watched already.
    let known: HashSet<&Bytes> = session.watches.iter().flat_map(|watch| watch.keys()).collect();
    let keys: Vec<Bytes> =
        keys.iter().filter(|key| !known.contains(key)).cloned().collect::<HashSet<_>>().into_iter().collect();
    let keys_max = context.shared.settings.watched_keys_max;
    if session.watched() + keys.len() > keys_max {
        let line = format!("ERR a client may watch {keys_max} keys (watched_keys_max)");
        return Err(Refusal::from_string(line));
    }
    Ok(Deferred::Watch(keys))
}

//! `MULTI` and its family, and `WAIT`.

use talon_core::{Facts, Flag, Group, KeySpec, Refusal, Reply};

use crate::resp::table::{Action, ServerCommand, facts, now};

const OPEN: &[Flag] = &[Flag::Noscript, Flag::Loading, Flag::Stale, Flag::Fast];

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
            &[Flag::Noscript, Flag::Loading, Flag::Stale],
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
    now(
        Facts {
            keys: KeySpec::ALL,
            ..facts("watch", -2, OPEN, Group::Transactions, "2.2.0", "Not supported yet; answers an error.")
        },
        |context, _| {
            Err(match context.session.gathered() {
                Some(_) => Refusal::new("ERR WATCH inside MULTI is not allowed"),
                None => Refusal::new("ERR WATCH is not supported yet"),
            })
        },
    ),
    now(facts("unwatch", 1, OPEN, Group::Transactions, "2.2.0", "Accepted: nothing is ever watched."), |_, _| {
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
        action: Action::Wait,
    },
];

//! `SNAPSHOT …`

use bytes::Bytes;
use talon_core::{Facts, Flag, Group, KeySpec, Refusal};

use super::help;
use crate::resp::deferred::Deferred;
use crate::resp::snapshot::SnapshotCommand;
use crate::resp::table::{Action, ServerCommand, facts, now};

/// The rows of this family.
pub(super) static ROWS: &[ServerCommand] = &[ServerCommand {
    facts: facts("snapshot", -2, &[], Group::Talon, "0.1.0", "A container for commands about points in time."),
    action: Action::Container { rows: SUBCOMMANDS, bare: None },
}];

const READS: &[Flag] = &[Flag::Readonly, Flag::NoMulti];

type Read = fn(&[Bytes]) -> Result<SnapshotCommand, Refusal>;

/// Reads what stands behind the subcommand's name.
fn parsed(args: &[Bytes], read: Read) -> Result<Deferred, Refusal> {
    read(args.get(1..).unwrap_or_default()).map(Deferred::Snapshot)
}

static SUBCOMMANDS: &[ServerCommand] = &[
    ServerCommand {
        facts: facts(
            "snapshot|create",
            -2,
            READS,
            Group::Talon,
            "0.1.0",
            "Keeps the state as it is now for later reads; answers its number, log index and clock.",
        ),
        action: Action::Deferred(|_, args| parsed(args, SnapshotCommand::create)),
    },
    ServerCommand {
        facts: Facts {
            keys: KeySpec { first: 3, last: -1, step: 1 },
            ..facts("snapshot|get", -4, READS, Group::Talon, "0.1.0", "Answers the values of keys in a snapshot.")
        },
        action: Action::Deferred(|_, args| parsed(args, |args| SnapshotCommand::read("mget", args))),
    },
    ServerCommand {
        facts: facts(
            "snapshot|scan",
            6,
            READS,
            Group::Talon,
            "0.1.0",
            "Answers keys that begin with a prefix, and their values, in a snapshot: so many behind so many.",
        ),
        action: Action::Deferred(|_, args| parsed(args, |args| SnapshotCommand::read("scanprefix", args))),
    },
    ServerCommand {
        facts: facts(
            "snapshot|use",
            3,
            READS,
            Group::Talon,
            "0.1.0",
            "Has this connection's plain reads answered from a snapshot, or from the newest state again.",
        ),
        action: Action::Deferred(|_, args| parsed(args, SnapshotCommand::use_it)),
    },
    ServerCommand {
        facts: facts("snapshot|extend", -3, READS, Group::Talon, "0.1.0", "Gives a snapshot a new time to live."),
        action: Action::Deferred(|_, args| parsed(args, SnapshotCommand::extend)),
    },
    ServerCommand {
        facts: facts("snapshot|release", 3, READS, Group::Talon, "0.1.0", "Ends a snapshot."),
        action: Action::Deferred(|_, args| parsed(args, SnapshotCommand::release)),
    },
    ServerCommand {
        facts: facts("snapshot|list", 2, READS, Group::Talon, "0.1.0", "Describes this node's snapshots."),
        action: Action::Deferred(|_, _| Ok(Deferred::Snapshot(SnapshotCommand::List))),
    },
    now(
        facts("snapshot|help", 2, &[Flag::Loading, Flag::Stale], Group::Talon, "0.1.0", "Lists the subcommands."),
        |_, _| Ok(help("SNAPSHOT", SUBCOMMANDS)),
    ),
];

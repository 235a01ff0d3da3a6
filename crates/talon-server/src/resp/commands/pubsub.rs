//! `SUBSCRIBE` and its family. Messages come from this node itself: what Sentinels tell their clients.

use bytes::Bytes;
use talon_core::{Flag, Group, Refusal, Reply};

use super::{help, wrong_subcommand_arity};
use crate::resp::pubsub::Kind;
use crate::resp::session::Context;
use crate::resp::table::{Action, ServerCommand, facts, now};

const OWN: &[Flag] = &[Flag::Pubsub, Flag::Noscript, Flag::Loading, Flag::Stale];
const ASKS: &[Flag] = &[Flag::Pubsub, Flag::Loading, Flag::Stale];

/// The rows of this family.
pub(super) static ROWS: &[ServerCommand] = &[
    ServerCommand {
        facts: facts("subscribe", -2, OWN, Group::Pubsub, "2.0.0", "Listens for messages on channels."),
        action: Action::Subscribe(Kind::Channel),
    },
    ServerCommand {
        facts: facts("unsubscribe", -1, OWN, Group::Pubsub, "2.0.0", "Listens no longer, to these or all channels."),
        action: Action::Unsubscribe(Kind::Channel),
    },
    ServerCommand {
        facts: facts("psubscribe", -2, OWN, Group::Pubsub, "2.0.0", "Listens on all channels that match patterns."),
        action: Action::Subscribe(Kind::Pattern),
    },
    ServerCommand {
        facts: facts("punsubscribe", -1, OWN, Group::Pubsub, "2.0.0", "Listens no longer, to these or all patterns."),
        action: Action::Unsubscribe(Kind::Pattern),
    },
    ServerCommand {
        facts: facts("pubsub", -2, &[], Group::Pubsub, "2.8.0", "A container for questions about channels."),
        action: Action::Container { rows: SUBCOMMANDS, bare: None },
    },
];

static SUBCOMMANDS: &[ServerCommand] = &[
    now(
        facts("pubsub|channels", -2, ASKS, Group::Pubsub, "2.8.0", "Answers the channels that have subscribers."),
        |context, args| {
            let pattern = match args {
                [_] => None,
                [_, pattern] => Some(talon_core::glob::Glob::new(pattern)),
                _ => return Err(wrong_subcommand_arity("PUBSUB", &args[0])),
            };
            let names = context.shared.channels.active(pattern.as_ref());
            Ok(Reply::Array(names.into_iter().map(Reply::Bulk).collect()))
        },
    ),
    now(
        facts("pubsub|numsub", -2, ASKS, Group::Pubsub, "2.8.0", "Answers how many subscribers channels have."),
        number_of_subscribers,
    ),
    now(
        facts("pubsub|numpat", 2, ASKS, Group::Pubsub, "2.8.0", "Answers how many patterns are listened to."),
        |context, _| Ok(Reply::Integer(context.shared.channels.totals().patterns as i64)),
    ),
    now(
        facts("pubsub|shardchannels", -2, ASKS, Group::Pubsub, "7.0.0", "Answers shard channels: there are none."),
        |_, args| match args {
            [_] | [_, _] => Ok(Reply::Array(vec![])),
            _ => Err(wrong_subcommand_arity("PUBSUB", &args[0])),
        },
    ),
    now(
        facts("pubsub|shardnumsub", -2, ASKS, Group::Pubsub, "7.0.0", "Tells that nobody listens to shard channels."),
        |_, args| {
            let counted = args[1..].iter().flat_map(|channel| [Reply::Bulk(channel.clone()), Reply::Integer(0)]);
            Ok(Reply::Array(counted.collect()))
        },
    ),
    now(
        facts("pubsub|help", 2, &[Flag::Loading, Flag::Stale], Group::Pubsub, "6.2.0", "Lists the subcommands."),
        |_, _| Ok(help("PUBSUB", SUBCOMMANDS)),
    ),
];

fn number_of_subscribers(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let counted = args[1..].iter().flat_map(|channel| {
        let count = context.shared.channels.subscribers(channel);
        [Reply::Bulk(channel.clone()), Reply::Integer(count as i64)]
    });
    Ok(Reply::Array(counted.collect()))
}

//! `PUBLISH channel message`: travels through the log, and changes no data. Every node tells its own subscribers when it applies the entry, in
//! order with the writes around it.

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The rows of this family: one.
pub static ROWS: &[&Command] = &[&PUBLISH];

/// The row.
pub static PUBLISH: Command = Command {
    id: 300,
    kind: Kind::Write,
    facts: Facts {
        name: "publish",
        arity: 3,
        flags: &[Flag::Pubsub, Flag::Loading, Flag::Stale, Flag::Fast],
        keys: KeySpec::NONE,
        group: Group::Pubsub,
        summary: "Sends a message to all who have subscribed to a channel, on every node.",
        since: "2.0.0",
        complexity: "O(N) where N is the number of subscribers, and of patterns that are subscribed to.",
    },
    execute,
};

/// How many receive it differs from node to node, so the state knows nothing of it: whoever asked counts its own subscribers.
fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    transaction.publish(args[0].clone(), args[1].clone());
    Ok(Reply::Integer(0))
}

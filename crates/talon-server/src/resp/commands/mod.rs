//! The commands of a connection, by family.

mod absent;
mod client;
mod cluster;
mod command;
pub(crate) mod config;
mod connection;
pub(crate) mod info;
mod info_constants;
mod latency;
pub(crate) mod positions;
mod pubsub;
mod sentinel;
mod server;
mod slowlog;
mod snapshot;
mod transactions;

use bytes::Bytes;
use talon_core::command::printed;
use talon_core::glob::Glob;
use talon_core::{Refusal, Reply};

use super::table::ServerCommand;

/// The families, each with its rows.
pub(crate) fn families() -> impl Iterator<Item = &'static [ServerCommand]> {
    [
        connection::ROWS,
        client::ROWS,
        transactions::ROWS,
        positions::ROWS,
        server::ROWS,
        config::ROWS,
        absent::ROWS,
        slowlog::ROWS,
        latency::ROWS,
        command::ROWS,
        cluster::ROWS,
        sentinel::ROWS,
        pubsub::ROWS,
        snapshot::ROWS,
    ]
    .into_iter()
}

/// What `… HELP` answers, from the rows themselves.
fn help(container: &str, rows: &'static [ServerCommand]) -> Reply {
    talon_core::command::help(container, rows.iter().map(|row| &row.facts))
}

/// Redis's words where a subcommand looks at the number of its words itself.
fn wrong_subcommand_arity(container: &str, name: &Bytes) -> Refusal {
    let name = lossy(name);
    Refusal::from_string(format!(
        "ERR unknown subcommand or wrong number of arguments for '{name}'. Try {container} HELP."
    ))
}

/// A pattern over the names of commands and settings, which are in lower case.
fn name_pattern(pattern: &Bytes) -> Glob {
    Glob::new(&pattern.to_ascii_lowercase())
}

/// A bulk string from a text put together at run time.
fn text(text: impl Into<String>) -> Reply {
    Reply::Bulk(Bytes::from(text.into()))
}

/// An argument as text, as Redis quotes it.
fn lossy(arg: &Bytes) -> String {
    printed(arg)
}

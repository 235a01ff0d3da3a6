//! The commands of a connection, by family.

mod client;
mod cluster;
mod command;
mod config;
mod connection;
pub(crate) mod info;
mod latency;
mod pubsub;
mod sentinel;
mod server;
mod slowlog;
mod transactions;

use bytes::Bytes;
use talon_core::Reply;
use talon_core::glob::Glob;

use super::table::{ServerCommand, own_name};

/// The families, each with its rows.
pub(crate) fn families() -> impl Iterator<Item = &'static [ServerCommand]> {
    [
        connection::ROWS,
        client::ROWS,
        transactions::ROWS,
        server::ROWS,
        config::ROWS,
        slowlog::ROWS,
        latency::ROWS,
        command::ROWS,
        cluster::ROWS,
        sentinel::ROWS,
        pubsub::ROWS,
    ]
    .into_iter()
}

/// What `… HELP` answers, from the rows themselves.
fn help(container: &str, rows: &'static [ServerCommand]) -> Reply {
    let mut lines =
        vec![Reply::Bulk(Bytes::from(format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")))];
    for row in rows {
        lines.push(Reply::Bulk(Bytes::from(own_name(row.facts.name).to_ascii_uppercase())));
        lines.push(Reply::Bulk(Bytes::from(format!("    {}", row.facts.summary))));
    }
    Reply::Array(lines)
}

/// A pattern over the names of commands and settings, which are in lower case.
fn name_pattern(pattern: &Bytes) -> Glob {
    Glob::new(&pattern.to_ascii_lowercase())
}

/// A bulk string from a text put together at run time.
fn text(text: impl Into<String>) -> Reply {
    Reply::Bulk(Bytes::from(text.into()))
}

/// An argument as text, with what is not UTF-8 replaced.
fn lossy(arg: &Bytes) -> String {
    String::from_utf8_lossy(arg).into_owned()
}

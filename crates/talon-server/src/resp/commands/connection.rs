//! Who a connection is and how it speaks.

use bytes::Bytes;
use talon_core::error::{NOT_AN_INTEGER, SYNTAX};
use talon_core::numbers::parse_integer;
use talon_core::{Flag, Group, Refusal, Reply};
use talon_resp::Protocol;

use super::client::set_name;
use super::{lossy, text};
use crate::resp::commands::info::REDIS_VERSION;
use crate::resp::session::Context;
use crate::resp::table::{ServerCommand, facts, now};
use crate::resp::topology;

/// The rows of this family.
pub(super) static ROWS: &[ServerCommand] = &[
    now(facts("ping", -1, &[Flag::Fast], Group::Connection, "1.0.0", "Answers PONG, or the message given."), ping),
    now(
        facts("echo", 2, &[Flag::Loading, Flag::Stale, Flag::Fast], Group::Connection, "1.0.0", "Answers the message."),
        |_, args| Ok(Reply::Bulk(args[0].clone())),
    ),
    now(facts("auth", -2, OPEN, Group::Connection, "1.0.0", "Authenticates the connection."), auth),
    now(facts("hello", -1, OPEN, Group::Connection, "6.0.0", "Agrees on the version of the protocol."), hello),
    now(
        facts(
            "select",
            2,
            &[Flag::Loading, Flag::Stale, Flag::Fast],
            Group::Connection,
            "1.0.0",
            "Chooses the database; Talon has one, 0.",
        ),
        select,
    ),
    now(facts("quit", -1, OPEN, Group::Connection, "1.0.0", "Closes the connection."), |context, _| {
        context.session.closing = true;
        Ok(Reply::Ok)
    }),
    now(facts("reset", 1, OPEN, Group::Connection, "6.2.0", "Makes the connection as new."), |context, _| {
        context.session.reset(context.shared);
        Ok(Reply::Simple("RESET"))
    }),
    now(
        facts(
            "readonly",
            1,
            &[Flag::Loading, Flag::Stale, Flag::Fast],
            Group::Cluster,
            "3.0.0",
            "Says that this connection reads from replicas: it is kept when the node stops leading.",
        ),
        |context, _| set_readonly(context, true),
    ),
    now(
        facts(
            "readwrite",
            1,
            &[Flag::Loading, Flag::Stale, Flag::Fast],
            Group::Cluster,
            "3.0.0",
            "Takes back what READONLY said.",
        ),
        |context, _| set_readonly(context, false),
    ),
    now(
        facts(
            "asking",
            1,
            &[Flag::Fast],
            Group::Cluster,
            "3.0.0",
            "Accepted for cluster clients; Talon's slots never move between shards.",
        ),
        |context, _| clustered(context).map(|()| Reply::Ok),
    ),
];

const OPEN: &[Flag] = &[Flag::Noscript, Flag::Loading, Flag::Stale, Flag::Fast, Flag::NoAuth, Flag::AllowBusy];
const WRONGPASS: Refusal = Refusal::new("WRONGPASS invalid username-password pair or user is disabled.");
const DEFAULT_USER: &[u8] = b"default";

/// Whether cluster commands make sense here.
pub(super) fn clustered(context: &Context<'_>) -> Result<(), Refusal> {
    if context.status.clustered { Ok(()) } else { Err(Refusal::new("ERR This instance has cluster support disabled")) }
}

fn set_readonly(context: &mut Context<'_>, readonly: bool) -> Result<Reply, Refusal> {
    clustered(context)?;
    context.session.choices.readonly = readonly;
    Ok(Reply::Ok)
}

fn ping(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let session = &context.session;
    match args {
        // Among messages, RESP2 wants the form of a message.
        [] | [_] if session.subscriptions.sum() > 0 && session.protocol == Protocol::Resp2 => {
            Ok(Reply::Array(vec![Reply::bulk("pong"), Reply::Bulk(args.first().cloned().unwrap_or_default())]))
        }
        [] => Ok(Reply::Simple("PONG")),
        [message] => Ok(Reply::Bulk(message.clone())),
        _ => Err(talon_core::command::wrong_arity("ping")),
    }
}

fn select(_: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    match parse_integer(&args[0]) {
        None => Err(NOT_AN_INTEGER),
        Some(0) => Ok(Reply::Ok),
        Some(number) if i32::try_from(number).is_err() => {
            Err(Refusal::new("ERR value is out of range, value must between -2147483648 and 2147483647"))
        }
        Some(_) => Err(Refusal::new("ERR DB index is out of range")),
    }
}

fn auth(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let (user, password) = match args {
        [_] if context.shared.settings.password.is_none() => {
            return Err(Refusal::new(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?",
            ));
        }
        [password] => (DEFAULT_USER, password),
        [user, password] => (&user[..], password),
        _ => return Err(SYNTAX),
    };
    authenticate(context, user, password)?;
    Ok(Reply::Ok)
}

fn authenticate(context: &mut Context<'_>, user: &[u8], password: &[u8]) -> Result<(), Refusal> {
    let right = match &context.shared.settings.password {
        Some(secret) => secret.matches(password),
        None => true,
    };
    if user == DEFAULT_USER && right {
        context.session.authenticated = true;
        return Ok(());
    }
    if let Some(untold) = context.shared.password_alarm.raise() {
        let client = &context.session.client;
        tracing::info!(client = client.id, address = %client.address, untold, "wrong password");
    }
    Err(WRONGPASS)
}

fn hello(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let protocol = match args.first() {
        None => context.session.protocol,
        Some(version) => match parse_integer(version) {
            None => return Err(Refusal::new("ERR Protocol version is not an integer or out of range")),
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err(Refusal::new("NOPROTO unsupported protocol version")),
        },
    };
    let mut credentials = None;
    let mut name = None;
    let mut rest = args.get(1..).unwrap_or_default();
    while let [option, after @ ..] = rest {
        rest = match after {
            [user, password, after @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                credentials = Some((user, password));
                after
            }
            [given, after @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                name = Some(given);
                after
            }
            _ => return Err(Refusal::from_string(format!("ERR Syntax error in HELLO option '{}'", lossy(option)))),
        };
    }
    if let Some((user, password)) = credentials {
        authenticate(context, user, password)?;
    }
    if !context.session.authenticated {
        return Err(Refusal::new(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> \
             option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        set_name(context, name)?;
    }
    context.session.protocol = protocol;
    let status = &context.status;
    Ok(Reply::Map(vec![
        (Reply::bulk("server"), Reply::bulk("redis")),
        (Reply::bulk("version"), text(REDIS_VERSION)),
        (Reply::bulk("proto"), Reply::Integer(protocol.number())),
        (Reply::bulk("id"), Reply::Integer(context.session.client.id as i64)),
        (Reply::bulk("mode"), Reply::bulk(if status.clustered { "cluster" } else { "standalone" })),
        (Reply::bulk("role"), Reply::bulk(if topology::leads(status) { "master" } else { "replica" })),
        (Reply::bulk("modules"), Reply::Array(vec![])),
    ]))
}

//! `INFO`, `ROLE`, `FAILOVER`, `LASTSAVE` and `TIME`.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use talon_core::{Flag, Group, Refusal, Reply};

use super::info::last_save_s;
use super::text;
use crate::resp::deferred::Deferred;
use crate::resp::failover::Failover;
use crate::resp::monitors::MONITORS_MAX;
use crate::resp::session::Context;
use crate::resp::table::{Action, ServerCommand, facts, now};
use crate::resp::topology;
use crate::resp::wall_clock::unix_time;

const OPEN: &[Flag] = &[Flag::Loading, Flag::Stale, Flag::Fast];

/// The rows of this family.
pub(super) static ROWS: &[ServerCommand] = &[
    ServerCommand {
        facts: facts(
            "info",
            -1,
            &[Flag::Loading, Flag::Stale],
            Group::Server,
            "1.0.0",
            "Tells what the server is and does, by sections.",
        ),
        action: Action::Info,
    },
    now(
        facts(
            "role",
            1,
            &[Flag::Noscript, Flag::Loading, Flag::Stale, Flag::Fast],
            Group::Server,
            "2.8.12",
            "Tells whether this node leads or follows, and whom.",
        ),
        role,
    ),
    now(
        facts(
            "monitor",
            1,
            &[Flag::Admin, Flag::Noscript, Flag::Loading, Flag::Stale],
            Group::Server,
            "1.0.0",
            "Sends this connection every command that is carried out, until it says RESET.",
        ),
        monitor,
    ),
    ServerCommand {
        facts: facts(
            "failover",
            -1,
            &[Flag::Admin, Flag::Noscript, Flag::Stale],
            Group::Server,
            "6.2.0",
            "Hands leadership to another voter; answered when that leads.",
        ),
        action: Action::Deferred(|context, args| Failover::parse(context, args).map(Deferred::Failover)),
    },
    now(
        facts(
            "lastsave",
            1,
            OPEN,
            Group::Server,
            "1.0.0",
            "Answers when the server was started, as Redis does that dumps nothing: what is answered is on the disk.",
        ),
        |context, _| Ok(Reply::Integer(i64::try_from(last_save_s(context.shared)).unwrap_or(i64::MAX))),
    ),
    now(facts("time", 1, OPEN, Group::Server, "2.6.0", "Answers this node's wall clock."), time),
];

fn role(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Refusal> {
    let status = &context.status;
    if topology::leads(status) {
        let followers = topology::live_followers(status).map(|member| {
            Reply::Array(vec![
                text(member.host.clone()),
                text(member.resp_port.to_string()),
                text(member.matched_index.unwrap_or(0).to_string()),
            ])
        });
        return Ok(Reply::Array(vec![
            Reply::bulk("master"),
            Reply::Integer(status.last_log_index as i64),
            Reply::Array(followers.collect()),
        ]));
    }
    let master = topology::master(status);
    let (host, port) = master.map_or((String::new(), 0), |master| (master.host.clone(), master.resp_port));
    Ok(Reply::Array(vec![
        Reply::bulk("slave"),
        text(host),
        Reply::Integer(i64::from(port)),
        Reply::bulk(if topology::link_up(status) { "connected" } else { "connect" }),
        Reply::Integer(status.applied_index as i64),
    ]))
}

fn monitor(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Refusal> {
    let client = &context.session.client;
    if !context.shared.monitors.enter(client) {
        return Err(Refusal::from_string(format!("ERR too many monitors: at most {MONITORS_MAX}")));
    }
    client.is_monitor.store(true, Ordering::Relaxed);
    Ok(Reply::Ok)
}

fn time(_: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Refusal> {
    let since = unix_time();
    Ok(Reply::Array(vec![text(since.as_secs().to_string()), text(since.subsec_micros().to_string())]))
}

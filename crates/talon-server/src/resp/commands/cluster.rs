//! `CLUSTER …`: one shard that owns every slot; the leader is its master.

use bytes::Bytes;
use talon_core::error::NOT_AN_INTEGER;
use talon_core::numbers::parse_integer;
use talon_core::{Flag, Group, Member, Refusal, Reply, Status};

use super::connection::clustered;
use super::{help, lossy, text};
use crate::resp::deferred::Deferred;
use crate::resp::session::Context;
use crate::resp::slot::{SLOTS, key_slot};
use crate::resp::slot_keys::SlotKeys;
use crate::resp::table::{Action, ServerCommand, confirmed, facts, led, now};
use crate::resp::topology::{self, node_name};

const STALE: &[Flag] = &[Flag::Stale];
const ADMIN: &[Flag] = &[Flag::Admin, Flag::Stale];

/// The rows of this family.
pub(super) static ROWS: &[ServerCommand] = &[ServerCommand {
    facts: facts("cluster", -2, &[], Group::Cluster, "3.0.0", "A container for commands about the cluster."),
    action: Action::Container { rows: SUBCOMMANDS, bare: None },
}];

static SUBCOMMANDS: &[ServerCommand] = &[
    led(facts("cluster|slots", 2, STALE, Group::Cluster, "3.0.0", "Answers which nodes serve the slots."), slots),
    led(facts("cluster|shards", 2, STALE, Group::Cluster, "7.0.0", "Answers the one shard with its nodes."), shards),
    led(facts("cluster|nodes", 2, STALE, Group::Cluster, "3.0.0", "Answers all nodes, one a line."), nodes),
    now(facts("cluster|info", 2, STALE, Group::Cluster, "3.0.0", "Tells the cluster's state."), info),
    now(facts("cluster|myid", 2, STALE, Group::Cluster, "3.0.0", "Answers this node's name."), |context, _| {
        clustered(context)?;
        Ok(text(node_name(&context.status, context.status.node_id)))
    }),
    now(facts("cluster|keyslot", 3, STALE, Group::Cluster, "3.0.0", "Answers the slot of a key."), |context, args| {
        clustered(context)?;
        Ok(Reply::Integer(i64::from(key_slot(&args[1]))))
    }),
    ServerCommand {
        facts: facts(
            "cluster|countkeysinslot",
            3,
            STALE,
            Group::Cluster,
            "3.0.0",
            "Counts the keys of a slot, which looks at all keys: they are not kept by slot.",
        ),
        action: Action::Deferred(|context, args| {
            clustered(context)?;
            Ok(Deferred::SlotKeys(SlotKeys { slot: slot(&args[1])?, keys_max: None }))
        }),
    },
    ServerCommand {
        facts: facts(
            "cluster|getkeysinslot",
            4,
            STALE,
            Group::Cluster,
            "3.0.0",
            "Answers keys of a slot, in order, which looks at all keys before them.",
        ),
        action: Action::Deferred(|context, args| {
            clustered(context)?;
            let keys_max = parse_integer(&args[2]).ok_or(NOT_AN_INTEGER)?;
            let invalid = Refusal::new("ERR Invalid slot or number of keys");
            let slot = slot(&args[1]).map_err(|_| invalid.clone())?;
            let keys_max = usize::try_from(keys_max).map_err(|_| invalid)?;
            Ok(Deferred::SlotKeys(SlotKeys { slot, keys_max: Some(keys_max) }))
        }),
    },
    now(facts("cluster|links", 2, STALE, Group::Cluster, "7.0.0", "Describes the links to the others."), links),
    confirmed(
        facts("cluster|replicas", 3, ADMIN, Group::Cluster, "5.0.0", "Answers the replicas of the master, one a line."),
        replicas,
    ),
    confirmed(
        facts("cluster|slaves", 3, ADMIN, Group::Cluster, "3.0.0", "Answers the replicas of the master, one a line."),
        replicas,
    ),
    now(
        facts("cluster|help", 2, &[Flag::Loading, Flag::Stale], Group::Cluster, "5.0.0", "Lists the subcommands."),
        |_, _| Ok(help("CLUSTER", SUBCOMMANDS)),
    ),
];

fn slots(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Refusal> {
    clustered(context)?;
    let status = &context.status;
    let Some(master) = topology::master(status) else { return Ok(Reply::Array(vec![])) };
    let mut range = vec![Reply::Integer(0), Reply::Integer(i64::from(SLOTS) - 1)];
    // Replicas that have failed are left out, and the master is not: it has the slots.
    range.extend(std::iter::once(master).chain(topology::live_followers(status)).map(|member| {
        Reply::Array(vec![
            text(member.host.clone()),
            Reply::Integer(i64::from(member.resp_port)),
            text(node_name(status, member.id)),
            Reply::Map(vec![]),
        ])
    }));
    Ok(Reply::Array(vec![Reply::Array(range)]))
}

fn shards(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Refusal> {
    clustered(context)?;
    let status = &context.status;
    let master = topology::master(status).map(|member| member.id);
    let slots = match master {
        Some(_) => vec![Reply::Integer(0), Reply::Integer(i64::from(SLOTS) - 1)],
        None => vec![],
    };
    let nodes = topology::master_first(status).map(|member| {
        let leads = Some(member.id) == master;
        Reply::Map(vec![
            (Reply::bulk("id"), text(node_name(status, member.id))),
            (Reply::bulk("port"), Reply::Integer(i64::from(member.resp_port))),
            (Reply::bulk("ip"), text(member.host.clone())),
            (Reply::bulk("endpoint"), text(member.host.clone())),
            (Reply::bulk("role"), Reply::bulk(if leads { "master" } else { "replica" })),
            (Reply::bulk("replication-offset"), Reply::Integer(offset(status, member) as i64)),
            (Reply::bulk("health"), Reply::bulk(if topology::has_failed(status, member) { "fail" } else { "online" })),
        ])
    });
    Ok(Reply::Array(vec![Reply::Map(vec![
        (Reply::bulk("slots"), Reply::Array(slots)),
        (Reply::bulk("nodes"), Reply::Array(nodes.collect())),
    ])]))
}

/// How far a member's log is, as far as this node knows.
fn offset(status: &Status, member: &Member) -> u64 {
    if member.id == status.node_id { status.last_log_index } else { member.matched_index.unwrap_or(0) }
}

fn nodes(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Refusal> {
    clustered(context)?;
    let status = &context.status;
    Ok(Reply::Verbatim(topology::master_first(status).map(|member| node_line(status, member) + "\n").collect()))
}

/// A node as `CLUSTER NODES` describes it.
fn node_line(status: &Status, member: &Member) -> String {
    let master = topology::master(status).map(|member| member.id);
    let leads = Some(member.id) == master;
    let own = if member.id == status.node_id { "myself," } else { "" };
    let flag = if leads { "master" } else { "slave" };
    let (failed, link) =
        if topology::has_failed(status, member) { (",fail", "disconnected") } else { ("", "connected") };
    let follows = master.filter(|_| !leads).map_or_else(|| "-".to_owned(), |id| node_name(status, id));
    format!(
        "{} {}:{}@{} {own}{flag}{failed} {follows} 0 0 {} {link}{}",
        node_name(status, member.id),
        member.host,
        member.resp_port,
        member.raft_port,
        status.term,
        if leads { format!(" 0-{}", SLOTS - 1) } else { String::new() },
    )
}

fn replicas(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    clustered(context)?;
    let status = &context.status;
    let named = |member: &&Member| node_name(status, member.id).as_bytes() == &args[1][..];
    let Some(member) = status.members.iter().find(named) else {
        return Err(Refusal::from_string(format!("ERR Unknown node {}", lossy(&args[1]))));
    };
    if topology::master(status).is_none_or(|master| master.id != member.id) {
        return Err(Refusal::new("ERR The specified node is not a master"));
    }
    let others = topology::followers(status);
    Ok(Reply::Array(others.map(|member| text(node_line(status, member))).collect()))
}

/// Between each two nodes there are two connections, one for each direction; only those that this node makes are known to it.
fn links(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Refusal> {
    clustered(context)?;
    let status = &context.status;
    let others = status.members.iter().filter(|member| member.id != status.node_id);
    let links = others.map(|member| {
        Reply::Map(vec![
            (Reply::bulk("direction"), Reply::bulk("to")),
            (Reply::bulk("node"), text(node_name(status, member.id))),
            (Reply::bulk("create-time"), Reply::Integer(0)),
            (Reply::bulk("events"), Reply::bulk("rw")),
            (Reply::bulk("send-buffer-allocated"), Reply::Integer(0)),
            (Reply::bulk("send-buffer-used"), Reply::Integer(0)),
        ])
    });
    Ok(Reply::Array(links.collect()))
}

fn slot(arg: &Bytes) -> Result<u16, Refusal> {
    let slot = parse_integer(arg).ok_or(NOT_AN_INTEGER)?;
    u16::try_from(slot).ok().filter(|slot| *slot < SLOTS).ok_or(Refusal::new("ERR Invalid slot"))
}

fn info(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Refusal> {
    clustered(context)?;
    let status = &context.status;
    let led = status.leader().is_some();
    let slots = if led { SLOTS } else { 0 };
    let lines = [
        format!("cluster_enabled:1\r\ncluster_state:{}", if led { "ok" } else { "fail" }),
        format!("cluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{slots}"),
        format!("cluster_slots_pfail:0\r\ncluster_slots_fail:{}", SLOTS - slots),
        format!("cluster_known_nodes:{}\r\ncluster_size:1", status.members.len()),
        format!("cluster_current_epoch:{0}\r\ncluster_my_epoch:{0}", status.term),
    ];
    Ok(Reply::Verbatim(lines.join("\r\n") + "\r\n"))
}

//! `SENTINEL …`: every node answers what clients ask Sentinels, about the one cluster there is.

use bytes::Bytes;
use talon_core::{DOWN_AFTER_MS, Flag, Group, Member, MemberRole, Refusal, Reply, Status};

use super::{help, text};
use crate::resp::deferred::Deferred;
use crate::resp::failover::Failover;
use crate::resp::session::Context;
use crate::resp::table::{Action, ServerCommand, confirmed, facts, led, now};
use crate::resp::topology::{self, node_name};

const OWN: &[Flag] = &[Flag::Noscript, Flag::Loading, Flag::Stale];

/// The rows of this family.
pub(super) static ROWS: &[ServerCommand] = &[ServerCommand {
    facts: facts("sentinel", -2, OWN, Group::Server, "2.8.4", "A container for what clients ask Sentinels."),
    action: Action::Container { rows: SUBCOMMANDS, bare: None },
}];

static SUBCOMMANDS: &[ServerCommand] = &[
    led(
        facts("sentinel|get-master-addr-by-name", 3, OWN, Group::Server, "2.8.4", "Answers where the leader is."),
        |context, args| {
            let leader = context.status.leader().filter(|_| is_ours(context, &args[1]));
            Ok(leader.map_or(Reply::NullArray, |leader| {
                Reply::Array(vec![text(leader.host.clone()), text(leader.resp_port.to_string())])
            }))
        },
    ),
    led(
        facts("sentinel|masters", 2, OWN, Group::Server, "2.8.4", "Describes the leader, in a list of one."),
        |context, _| Ok(Reply::Array(master(context).into_iter().collect())),
    ),
    led(facts("sentinel|master", 3, OWN, Group::Server, "2.8.4", "Describes the leader."), |context, args| {
        known(context, &args[1])?;
        master(context).ok_or(NO_MASTER)
    }),
    confirmed(facts("sentinel|replicas", 3, OWN, Group::Server, "5.0.0", "Describes the followers."), replicas),
    confirmed(facts("sentinel|slaves", 3, OWN, Group::Server, "2.8.0", "Describes the followers."), replicas),
    confirmed(
        facts("sentinel|sentinels", 3, OWN, Group::Server, "2.8.4", "Describes the other nodes as Sentinels."),
        |context, args| {
            known(context, &args[1])?;
            let status = &context.status;
            let others = status.members.iter().filter(|member| member.id != status.node_id);
            Ok(Reply::Array(others.map(|member| Reply::Map(fields(&basics(status, member, "sentinel")))).collect()))
        },
    ),
    now(facts("sentinel|myid", 2, OWN, Group::Server, "6.2.0", "Answers this node's name."), |context, _| {
        Ok(text(node_name(&context.status, context.status.node_id)))
    }),
    confirmed(
        facts("sentinel|ckquorum", 3, OWN, Group::Server, "2.8.4", "Tells whether a leader can be elected."),
        check_quorum,
    ),
    ServerCommand {
        facts: facts(
            "sentinel|failover",
            3,
            OWN,
            Group::Server,
            "2.8.4",
            "Hands leadership to another voter; answered when that leads.",
        ),
        action: Action::Deferred(|context, args| {
            known(context, &args[1])?;
            Failover::parse(context, &[]).map(Deferred::Failover)
        }),
    },
    now(facts("sentinel|help", 2, OWN, Group::Server, "6.2.0", "Lists the subcommands."), |_, _| {
        Ok(help("SENTINEL", SUBCOMMANDS))
    }),
];

const NO_MASTER: Refusal = Refusal::new("ERR No such master with that name");

fn is_ours(context: &Context<'_>, name: &Bytes) -> bool {
    context.shared.settings.sentinel_name.as_bytes() == &name[..]
}

fn known(context: &Context<'_>, name: &Bytes) -> Result<(), Refusal> {
    if is_ours(context, name) { Ok(()) } else { Err(NO_MASTER) }
}

fn voters(status: &Status) -> impl Iterator<Item = &Member> {
    status.members.iter().filter(|member| member.role == MemberRole::Voter)
}

/// How many of the voters have to be there.
fn quorum(status: &Status) -> usize {
    voters(status).count() / 2 + 1
}

type Fields = Vec<(&'static str, String)>;

fn fields(fields: &Fields) -> Vec<(Reply, Reply)> {
    fields.iter().map(|(name, value)| (Reply::bulk(name), text(value.clone()))).collect()
}

/// What Sentinels say of anyone.
fn basics(status: &Status, member: &Member, kind: &str) -> Fields {
    let failed = topology::has_failed(status, member);
    let flags = if failed { format!("s_down,{kind},disconnected") } else { kind.to_owned() };
    let silent_ms = member.silent_ms.unwrap_or(0);
    let mut fields = vec![
        ("name", format!("{}:{}", member.host, member.resp_port)),
        ("ip", member.host.clone()),
        ("port", member.resp_port.to_string()),
        ("runid", node_name(status, member.id)),
        ("flags", flags),
        ("link-pending-commands", "0".to_owned()),
        ("link-refcount", "1".to_owned()),
        ("last-ping-sent", "0".to_owned()),
        ("last-ok-ping-reply", silent_ms.to_string()),
        ("last-ping-reply", silent_ms.to_string()),
    ];
    if failed {
        fields.push(("s-down-time", silent_ms.saturating_sub(DOWN_AFTER_MS).to_string()));
    }
    fields.push(("down-after-milliseconds", DOWN_AFTER_MS.to_string()));
    fields
}

fn master(context: &Context<'_>) -> Option<Reply> {
    let status = &context.status;
    let leader = status.leader()?;
    let mut all = basics(status, leader, "master");
    if let Some((_, name)) = all.first_mut() {
        *name = context.shared.settings.sentinel_name.clone();
    }
    all.extend([
        ("info-refresh", "0".to_owned()),
        ("role-reported", "master".to_owned()),
        ("role-reported-time", "0".to_owned()),
        ("config-epoch", status.term.to_string()),
        ("num-slaves", topology::followers(status).count().to_string()),
        ("num-other-sentinels", status.members.len().saturating_sub(1).to_string()),
        ("quorum", quorum(status).to_string()),
        ("failover-timeout", "60000".to_owned()),
        ("parallel-syncs", "1".to_owned()),
    ]);
    Some(Reply::Map(fields(&all)))
}

fn replicas(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    known(context, &args[1])?;
    let status = &context.status;
    let described = topology::followers(status).map(|member| {
        let mut all = basics(status, member, "slave");
        let master = topology::master(status);
        let (host, port) = master.map_or(("?", 0), |master| (master.host.as_str(), master.resp_port));
        let linked = status.leader().is_some() && !topology::has_failed(status, member);
        all.extend([
            ("info-refresh", "0".to_owned()),
            ("role-reported", "slave".to_owned()),
            ("role-reported-time", "0".to_owned()),
            ("master-link-down-time", "0".to_owned()),
            ("master-link-status", if linked { "ok" } else { "err" }.to_owned()),
            ("master-host", host.to_owned()),
            ("master-port", port.to_string()),
            ("slave-priority", "100".to_owned()),
            ("slave-repl-offset", member.matched_index.unwrap_or(0).to_string()),
            ("replica-announced", "1".to_owned()),
        ]);
        Reply::Map(fields(&all))
    });
    Ok(Reply::Array(described.collect()))
}

fn check_quorum(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    known(context, &args[1])?;
    let status = &context.status;
    let usable = voters(status).filter(|member| !topology::has_failed(status, member)).count();
    let lacks = if usable < quorum(status) {
        "Not enough available Sentinels to reach the majority and authorize a failover"
    } else if status.leader().is_none() || !topology::link_up(status) {
        "No leader is known"
    } else {
        return Ok(Reply::Simple("OK a majority of the voters is there and follows a leader"));
    };
    Err(Refusal::from_string(format!("NOQUORUM {usable} usable Sentinels. {lacks}")))
}

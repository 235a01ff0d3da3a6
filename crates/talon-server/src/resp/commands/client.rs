//! `CLIENT …`: connections about themselves and each other.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use talon_core::error::{NOT_AN_INTEGER, SYNTAX};
use talon_core::numbers::parse_integer;
use talon_core::{Consistency, Flag, Group, Refusal, Reply};
use tokio::time::Instant;

use super::{help, lossy, text, wrong_subcommand_arity};
use crate::resp::clients::{Client, Unblock};
use crate::resp::deferred::Deferred;
use crate::resp::notices::Notice;
use crate::resp::pause::Held;
use crate::resp::session::Context;
use crate::resp::table::{Action, ServerCommand, facts, now};

const OWN: &[Flag] = &[Flag::Noscript, Flag::Loading, Flag::Stale];
const CHOOSING: &[Flag] = &[Flag::NoMulti, Flag::Noscript, Flag::Loading, Flag::Stale];
const ADMIN: &[Flag] = &[Flag::Admin, Flag::Noscript, Flag::Loading, Flag::Stale];

/// The rows of this family.
pub(super) static ROWS: &[ServerCommand] = &[ServerCommand {
    facts: facts("client", -2, &[], Group::Connection, "2.4.0", "A container for commands about connections."),
    action: Action::Container { rows: SUBCOMMANDS, bare: None },
}];

static SUBCOMMANDS: &[ServerCommand] = &[
    now(facts("client|id", 2, OWN, Group::Connection, "5.0.0", "Answers this connection's number."), |context, _| {
        Ok(Reply::Integer(context.session.client.id as i64))
    }),
    now(
        facts("client|getname", 2, OWN, Group::Connection, "2.6.9", "Answers this connection's name."),
        |context, _| {
            let name = context.session.client.profile().name.clone();
            Ok(if name.is_empty() { Reply::Null } else { text(name) })
        },
    ),
    now(facts("client|setname", 3, OWN, Group::Connection, "2.6.9", "Names this connection."), |context, args| {
        set_name(context, &args[1]).map(|()| Reply::Ok)
    }),
    now(
        facts("client|setinfo", 4, OWN, Group::Connection, "7.2.0", "Tells the client library's name or version."),
        set_info,
    ),
    now(facts("client|info", 2, OWN, Group::Connection, "6.2.0", "Describes this connection."), |context, _| {
        context.session.describe(Instant::now());
        Ok(Reply::Verbatim(context.session.client.line() + "\n"))
    }),
    now(
        facts(
            "client|trackinginfo",
            2,
            OWN,
            Group::Connection,
            "6.2.0",
            "Tells that nothing is tracked for this connection.",
        ),
        |_, _| {
            let pairs = [
                ("flags", Reply::Set(vec![Reply::bulk("off")])),
                ("redirect", Reply::Integer(-1)),
                ("prefixes", Reply::Array(vec![])),
            ];
            Ok(Reply::Map(pairs.into_iter().map(|(name, value)| (Reply::bulk(name), value)).collect()))
        },
    ),
    now(facts("client|list", -2, ADMIN, Group::Connection, "2.4.0", "Describes all connections."), list),
    now(facts("client|kill", -3, ADMIN, Group::Connection, "2.4.0", "Closes connections."), kill),
    ServerCommand {
        facts: facts(
            "client|pause",
            -3,
            ADMIN,
            Group::Connection,
            "2.9.50",
            "Lets all clients, or those that write, wait.",
        ),
        action: Action::Deferred(pause),
    },
    now(facts("client|unpause", 2, ADMIN, Group::Connection, "6.2.0", "Ends a pause."), |context, _| {
        context.shared.pause.end();
        Ok(Reply::Ok)
    }),
    now(
        facts("client|unblock", -3, ADMIN, Group::Connection, "5.0.0", "Ends what another connection is waiting for."),
        unblock,
    ),
    now(
        facts(
            "client|getredir",
            2,
            OWN,
            Group::Connection,
            "6.0.0",
            "Answers -1: nothing is tracked, so nothing is redirected.",
        ),
        |_, _| Ok(Reply::Integer(-1)),
    ),
    now(
        facts("client|reply", 3, OWN, Group::Connection, "3.2.0", "Switches replies to this connection on or off."),
        reply,
    ),
    super::positions::LAST_INDEX,
    now(
        facts(
            "client|consistency",
            -2,
            CHOOSING,
            Group::Connection,
            "0.1.0",
            "Chooses how this connection's reads are answered, or tells it.",
        ),
        consistency,
    ),
    now(
        facts("client|no-evict", 3, ADMIN, Group::Connection, "7.0.0", "Accepted: Talon evicts no connections."),
        |context, args| {
            let on = on_or_off(&args[1])?;
            context.session.client.profile().no_evict = on;
            Ok(Reply::Ok)
        },
    ),
    now(
        facts("client|no-touch", 3, OWN, Group::Connection, "7.2.0", "Accepted: Talon keeps no access times."),
        |context, args| {
            context.session.client.profile().no_touch = on_or_off(&args[1])?;
            Ok(Reply::Ok)
        },
    ),
    now(
        facts("client|help", 2, &[Flag::Loading, Flag::Stale], Group::Connection, "5.0.0", "Lists the subcommands."),
        |_, _| Ok(help("CLIENT", SUBCOMMANDS)),
    ),
];

/// `CLIENT CONSISTENCY [DEFAULT|LINEARIZABLE|LEASE|BOUNDED ms|SNAPSHOT]`; `DEFAULT` is what the node's settings say.
fn consistency(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let session = &mut *context.session;
    if args.len() == 1 {
        let by_settings = context.shared.settings.consistency;
        return Ok(text(session.choices.consistency.unwrap_or(by_settings).to_string()));
    }
    session.choices.consistency = Some(Consistency::parse(&args[1..])?).filter(|own| *own != Consistency::Default);
    Ok(Reply::Ok)
}

fn on_or_off(arg: &Bytes) -> Result<bool, Refusal> {
    match arg {
        arg if arg.eq_ignore_ascii_case(b"on") => Ok(true),
        arg if arg.eq_ignore_ascii_case(b"off") => Ok(false),
        _ => Err(SYNTAX),
    }
}

/// The longest name of a client or a library: many lists show it.
const NAME_BYTES_MAX: usize = 4_096;

/// Printable ASCII without spaces, as Redis wants names.
fn plain(arg: &[u8]) -> Option<String> {
    if arg.len() > NAME_BYTES_MAX || !arg.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return None;
    }
    String::from_utf8(arg.to_vec()).ok()
}

pub(super) fn set_name(context: &mut Context<'_>, name: &[u8]) -> Result<(), Refusal> {
    let name =
        plain(name).ok_or(Refusal::new("ERR Client names cannot contain spaces, newlines or special characters."))?;
    context.session.client.profile().name = name;
    Ok(())
}

fn set_info(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let value = plain(&args[2]);
    let refusal =
        |what: &str| Refusal::from_string(format!("ERR {what} cannot contain spaces, newlines or special characters."));
    let mut profile = context.session.client.profile();
    match &args[1] {
        option if option.eq_ignore_ascii_case(b"lib-name") => {
            profile.library = value.ok_or_else(|| refusal("lib-name"))?;
        }
        option if option.eq_ignore_ascii_case(b"lib-ver") => {
            profile.library_version = value.ok_or_else(|| refusal("lib-ver"))?;
        }
        option => return Err(Refusal::from_string(format!("ERR Unrecognized option '{}'", lossy(option)))),
    }
    Ok(Reply::Ok)
}

fn reply(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let session = &mut *context.session;
    match &args[1] {
        mode if mode.eq_ignore_ascii_case(b"on") => (session.mute, session.mute_this) = (false, false),
        mode if mode.eq_ignore_ascii_case(b"off") => session.mute = true,
        mode if mode.eq_ignore_ascii_case(b"skip") => {
            session.mute_this = true;
            session.mute_next = !session.mute;
        }
        _ => return Err(SYNTAX),
    }
    Ok(Reply::Ok)
}

fn list(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    context.session.describe(Instant::now());
    let mut clients = context.shared.clients.all();
    match &args[1..] {
        [] => {}
        [option, kind] if option.eq_ignore_ascii_case(b"type") => {
            let wanted = ClientType::parse(kind)?;
            clients.retain(|client| wanted.fits(client));
        }
        [option, ids @ ..] if option.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
            let ids: HashSet<i64> = ids
                .iter()
                .map(|id| parse_integer(id).ok_or(Refusal::new("ERR Invalid client ID")))
                .collect::<Result<_, _>>()?;
            clients.retain(|client| ids.contains(&(client.id as i64)));
        }
        _ => return Err(SYNTAX),
    }
    Ok(Reply::Verbatim(clients.iter().map(|client| client.line() + "\n").collect()))
}

/// Redis's types of connections.
#[derive(Clone, Copy)]
enum ClientType {
    Normal,
    Pubsub,
    /// Other nodes, which never come through this door.
    Node,
}

impl ClientType {
    fn parse(kind: &Bytes) -> Result<ClientType, Refusal> {
        match kind.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(ClientType::Normal),
            b"pubsub" => Ok(ClientType::Pubsub),
            b"master" | b"replica" | b"slave" => Ok(ClientType::Node),
            _ => Err(Refusal::from_string(format!("ERR Unknown client type '{}'", lossy(kind)))),
        }
    }

    fn fits(self, client: &Client) -> bool {
        let listens = client.profile().subscriptions.sum() > 0;
        match self {
            ClientType::Normal => !listens,
            ClientType::Pubsub => listens,
            ClientType::Node => false,
        }
    }
}

fn pause(_: &mut Context<'_>, args: &[Bytes]) -> Result<Deferred, Refusal> {
    let held = match args.get(2) {
        None => Held::All,
        Some(_) if args.len() > 3 => return Err(odd(&args[0])),
        Some(mode) if mode.eq_ignore_ascii_case(b"write") => Held::Writes,
        Some(mode) if mode.eq_ignore_ascii_case(b"all") => Held::All,
        Some(_) => return Err(Refusal::new("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let time = parse_integer(&args[1]).ok_or(Refusal::new("ERR timeout is not an integer or out of range"))?;
    let time_ms = u64::try_from(time).map_err(|_| Refusal::new("ERR timeout is negative"))?;
    Ok(Deferred::Pause(held, Duration::from_millis(time_ms)))
}

fn unblock(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let how = match args.get(2) {
        None => Unblock::Timeout,
        Some(_) if args.len() > 3 => return Err(odd(&args[0])),
        Some(how) if how.eq_ignore_ascii_case(b"timeout") => Unblock::Timeout,
        Some(how) if how.eq_ignore_ascii_case(b"error") => Unblock::Error,
        Some(_) => return Err(Refusal::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
    };
    let id = parse_integer(&args[1]).ok_or(NOT_AN_INTEGER)?;
    let client = u64::try_from(id).ok().and_then(|id| context.shared.clients.get(id));
    Ok(Reply::Integer(i64::from(client.is_some_and(|client| client.unblock(how)))))
}

/// More words than a subcommand takes.
fn odd(name: &Bytes) -> Refusal {
    wrong_subcommand_arity("CLIENT", name)
}

/// Which connections CLIENT KILL means.
#[derive(Default)]
struct Wanted {
    id: Option<i64>,
    address: Option<String>,
    local: Option<String>,
    kind: Option<ClientType>,
    age_s: Option<u64>,
    keep_own: bool,
}

impl Wanted {
    fn fits(&self, client: &Client, own: u64) -> bool {
        let same = |wanted: &Option<String>, address: SocketAddr| {
            wanted.as_ref().is_none_or(|wanted| *wanted == address.to_string())
        };
        self.kind.is_none_or(|kind| kind.fits(client))
            && self.age_s.is_none_or(|age_s| client.age().as_secs() >= age_s)
            && self.id.is_none_or(|id| id == client.id as i64)
            && same(&self.address, client.address)
            && same(&self.local, client.local)
            && !(self.keep_own && client.id == own)
    }
}

fn kill(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let mut wanted = Wanted { keep_own: true, ..Wanted::default() };
    let old_form = args.len() == 2;
    if old_form {
        wanted = Wanted { address: Some(lossy(&args[1])), ..Wanted::default() };
    } else {
        let mut rest = &args[1..];
        while let [option, value, after @ ..] = rest {
            match option.to_ascii_lowercase().as_slice() {
                b"id" => {
                    let id = parse_integer(value).filter(|id| *id > 0);
                    wanted.id = Some(id.ok_or(Refusal::new("ERR client-id should be greater than 0"))?);
                }
                b"addr" => wanted.address = Some(lossy(value)),
                b"laddr" => wanted.local = Some(lossy(value)),
                b"type" => wanted.kind = Some(ClientType::parse(value)?),
                // Redis 7.4's.
                b"maxage" => {
                    let age =
                        parse_integer(value).ok_or(Refusal::new("ERR maxage is not an integer or out of range"))?;
                    let age = u64::try_from(age).ok().filter(|age| *age > 0);
                    wanted.age_s = Some(age.ok_or(Refusal::new("ERR maxage should be greater than 0"))?);
                }
                b"user" if &value[..] == b"default" => {}
                b"user" => {
                    return Err(Refusal::from_string(format!("ERR No such user '{}'", lossy(value))));
                }
                b"skipme" => match value.to_ascii_lowercase().as_slice() {
                    b"yes" => wanted.keep_own = true,
                    b"no" => wanted.keep_own = false,
                    _ => return Err(SYNTAX),
                },
                _ => return Err(SYNTAX),
            }
            rest = after;
        }
        if !rest.is_empty() {
            return Err(SYNTAX);
        }
    }
    let own = context.session.client.id;
    let victims: Vec<Arc<Client>> =
        context.shared.clients.all().into_iter().filter(|client| wanted.fits(client, own)).collect();
    for victim in &victims {
        if victim.id == own {
            // Answered first.
            context.session.closing = true;
        } else {
            victim.notices.raise(Notice::Kill);
        }
    }
    match (old_form, victims.len()) {
        (true, 0) => Err(Refusal::new("ERR No such client")),
        (true, _) => Ok(Reply::Ok),
        (false, count) => Ok(Reply::Integer(count as i64)),
    }
}

//! `MODULE` and `ACL`, as far as tools ask on connecting: there are no modules, and one user, who may do everything.

use bytes::Bytes;
use talon_core::{Flag, Group, Refusal, Reply};

use super::command::categories;
use super::{help, lossy, text, wrong_subcommand_arity};
use crate::resp::session::{Context, Shared};
use crate::resp::table::{self, Action, ServerCommand, facts, now};

const OPEN: &[Flag] = &[Flag::Noscript, Flag::Loading, Flag::Stale];
const ADMIN: &[Flag] = &[Flag::Admin, Flag::Noscript, Flag::Loading, Flag::Stale];
const HELP: &[Flag] = &[Flag::Loading, Flag::Stale];

/// The only user.
const USER: &str = "default";
/// What stands for a password where Redis shows a hash of it: nothing of it is shown.
const HIDDEN: &str = "(set)";
/// Redis's categories, in its order.
const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// The rows of this family.
pub(super) static ROWS: &[ServerCommand] = &[
    ServerCommand {
        facts: facts("module", -2, &[], Group::Server, "4.0.0", "A container for questions about modules."),
        action: Action::Container { rows: MODULE, bare: None },
    },
    ServerCommand {
        facts: facts("acl", -2, &[], Group::Server, "6.0.0", "A container for questions about users."),
        action: Action::Container { rows: ACL, bare: None },
    },
];

static MODULE: &[ServerCommand] = &[
    now(
        facts(
            "module|list",
            2,
            &[Flag::Admin, Flag::Noscript],
            Group::Server,
            "4.0.0",
            "Answers the modules: there are none.",
        ),
        |_, _| Ok(Reply::Array(vec![])),
    ),
    now(facts("module|help", 2, HELP, Group::Server, "5.0.0", "Lists the subcommands."), |_, _| {
        Ok(help("MODULE", MODULE))
    }),
];

static ACL: &[ServerCommand] = &[
    now(facts("acl|whoami", 2, OPEN, Group::Server, "6.0.0", "Answers the name of the only user."), |_, _| {
        Ok(Reply::bulk(USER))
    }),
    now(facts("acl|users", 2, ADMIN, Group::Server, "6.0.0", "Answers the users' names: there is one."), |_, _| {
        Ok(Reply::Array(vec![Reply::bulk(USER)]))
    }),
    now(
        facts("acl|list", 2, ADMIN, Group::Server, "6.0.0", "Describes the only user, as in a file of users."),
        |context, _| {
            let password = if has_password(context.shared) { format!("#{HIDDEN}") } else { "nopass".to_owned() };
            Ok(Reply::Array(vec![text(format!("user {USER} on {password} ~* &* +@all"))]))
        },
    ),
    now(facts("acl|getuser", 3, ADMIN, Group::Server, "6.0.0", "Describes a user."), get_user),
    now(
        facts(
            "acl|cat",
            -2,
            OPEN,
            Group::Server,
            "6.0.0",
            "Answers the categories of commands, or the commands of one.",
        ),
        categorised,
    ),
    now(facts("acl|help", 2, HELP, Group::Server, "6.0.0", "Lists the subcommands."), |_, _| Ok(help("ACL", ACL))),
];

fn has_password(shared: &Shared) -> bool {
    shared.settings.password.is_some()
}

fn get_user(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    if args[1] != USER.as_bytes() {
        return Ok(Reply::Null);
    }
    let list = |items: &[&'static str]| Reply::Array(items.iter().map(|item| Reply::bulk(item)).collect());
    let (flags, passwords): (&[&str], &[&'static str]) =
        if has_password(context.shared) { (&["on"], &[HIDDEN]) } else { (&["on", "nopass"], &[]) };
    let pairs = [
        ("flags", Reply::Set(flags.iter().map(|flag| text(*flag)).collect())),
        ("passwords", list(passwords)),
        ("commands", Reply::bulk("+@all")),
        ("keys", Reply::bulk("~*")),
        ("channels", Reply::bulk("&*")),
        ("selectors", list(&[])),
    ];
    Ok(Reply::Map(pairs.into_iter().map(|(name, value)| (Reply::bulk(name), value)).collect()))
}

fn categorised(_: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let wanted = match args {
        [_] => return Ok(Reply::Array(CATEGORIES.into_iter().map(Reply::bulk).collect())),
        [_, wanted] => wanted,
        _ => return Err(wrong_subcommand_arity("ACL", &args[0])),
    };
    let known = CATEGORIES.into_iter().find(|known| wanted.eq_ignore_ascii_case(known.as_bytes()));
    let known = known.ok_or_else(|| Refusal::from_string(format!("ERR Unknown category '{}'", lossy(wanted))))?;
    let is_in =
        |facts: &&talon_core::Facts| categories(facts).iter().any(|category| category.strip_prefix('@') == Some(known));
    let all = table::counted().map(table::Entry::facts).filter(is_in);
    Ok(Reply::Array(all.map(|facts| Reply::bulk(facts.name)).collect()))
}

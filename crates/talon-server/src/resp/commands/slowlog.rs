//! `SLOWLOG …`.

use bytes::Bytes;
use talon_core::numbers::parse_integer;
use talon_core::{Flag, Group, Refusal, Reply};

use super::{help, wrong_subcommand_arity};
use crate::resp::session::Context;
use crate::resp::table::{Action, ServerCommand, facts, now};

const ADMIN: &[Flag] = &[Flag::Admin, Flag::Loading, Flag::Stale];
/// How many entries are shown unless told otherwise.
const COUNT: usize = 10;

/// The rows of this family.
pub(super) static ROWS: &[ServerCommand] = &[ServerCommand {
    facts: facts("slowlog", -2, &[], Group::Server, "2.2.12", "A container for commands about the slow log."),
    action: Action::Container { rows: SUBCOMMANDS, bare: None },
}];

static SUBCOMMANDS: &[ServerCommand] = &[
    now(facts("slowlog|get", -2, ADMIN, Group::Server, "2.2.12", "Answers the newest entries of the slow log."), get),
    now(
        facts("slowlog|len", 2, ADMIN, Group::Server, "2.2.12", "Answers how many entries the slow log has."),
        |context, _| Ok(Reply::Integer(context.shared.slowlog.len() as i64)),
    ),
    now(facts("slowlog|reset", 2, ADMIN, Group::Server, "2.2.12", "Empties the slow log."), |context, _| {
        context.shared.slowlog.clear();
        Ok(Reply::Ok)
    }),
    now(
        facts("slowlog|help", 2, &[Flag::Loading, Flag::Stale], Group::Server, "6.2.0", "Lists the subcommands."),
        |_, _| Ok(help("SLOWLOG", SUBCOMMANDS)),
    ),
];

fn get(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let count = match args {
        [_] => COUNT,
        [_, count] => {
            let refusal = Refusal::new("ERR count should be greater than or equal to -1");
            match parse_integer(count).filter(|count| *count >= -1).ok_or(refusal)? {
                -1 => usize::MAX,
                count => usize::try_from(count).unwrap_or(usize::MAX),
            }
        }
        _ => return Err(wrong_subcommand_arity("SLOWLOG", &args[0])),
    };
    Ok(context.shared.slowlog.newest(count))
}

//! What a row of the command table says. Everything that must know commands (RESP look-up, `COMMAND`,
//! routing to the log or to a view, access categories, metric labels, docs) is derived from it.

use bytes::Bytes;

use crate::error::{Error, Refusal};
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The facts of a command, in the terms of Redis's `COMMAND` reply.
#[derive(Debug)]
pub struct Facts {
    /// Lower case, as `COMMAND` lists it; `object|encoding` for a subcommand.
    pub name: &'static str,
    /// As Redis counts: with the command's name, and the subcommand's; negative = at least so many.
    pub arity: i32,
    /// Redis's command flags.
    pub flags: &'static [Flag],
    /// Where the keys are among the arguments.
    pub keys: KeySpec,
    /// Redis's group, for the docs and access categories.
    pub group: Group,
    /// One line, for `COMMAND DOCS` and the reference.
    pub summary: &'static str,
    /// The Redis version that brought it, or Talon's.
    pub since: &'static str,
    /// In words, as Redis's docs: `O(1)`.
    pub complexity: &'static str,
}

impl Facts {
    /// Whether `count` words, the name included, fit the arity.
    ///
    /// # Errors
    /// `ERR wrong number of arguments for '…' command`.
    pub fn check_arity(&self, count: usize) -> Result<(), Refusal> {
        let fits =
            if self.arity >= 0 { count == self.arity as usize } else { count >= self.arity.unsigned_abs() as usize };
        if fits { Ok(()) } else { Err(wrong_arity(self.name)) }
    }
}

/// Redis's words for a wrong number of arguments. `name` is lower case, `client|setname` for subcommands.
pub fn wrong_arity(name: &str) -> Refusal {
    Refusal::from_string(format!("ERR wrong number of arguments for '{name}' command"))
}

/// Redis's words for a name that is not in the table: it quotes the name (128 bytes at most) and the beginning of
/// the arguments (128 bytes at most in all), with line ends made harmless.
pub fn unknown_command(name: &[u8], args: &[Bytes]) -> Refusal {
    // As C prints a string: up to a NUL.
    let printed = |bytes: &[u8], bytes_max: usize| -> Vec<u8> {
        bytes.iter().take(bytes_max).take_while(|byte| **byte != 0).copied().collect()
    };
    let mut line = b"ERR unknown command '".to_vec();
    line.extend(printed(name, 128));
    line.extend(b"', with args beginning with: ");
    let start = line.len();
    for arg in args {
        let quoted = line.len() - start;
        if quoted >= 128 {
            break;
        }
        line.push(b'\'');
        line.extend(printed(arg, 128 - quoted));
        line.extend(b"' ");
    }
    Refusal::from_string(String::from_utf8_lossy(&line).replace(['\r', '\n'], " "))
}

/// A word of the request as Redis quotes it in errors: up to a zero byte, with line ends made harmless. What is not UTF-8 is
/// replaced.
pub fn printed(word: &[u8]) -> String {
    let word = word.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(word).replace(['\r', '\n'], " ")
}

/// Redis's words for a subcommand that its container does not have.
pub fn unknown_subcommand(container: &str, name: &[u8]) -> Refusal {
    let name = printed(&name[..name.len().min(128)]);
    let container = container.to_ascii_uppercase();
    Refusal::from_string(format!("ERR unknown subcommand '{name}'. Try {container} HELP."))
}

/// `id` of `client|id`.
pub fn own_name(name: &'static str) -> &'static str {
    name.split_once('|').map_or(name, |(_, own)| own)
}

/// Redis's command flags, as `COMMAND` prints them in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// May change the data.
    Write,
    /// Only reads the data.
    Readonly,
    /// May need more memory.
    Denyoom,
    /// Answers in constant or logarithmic time.
    Fast,
    /// For operators.
    Admin,
    /// Allowed before authentication.
    NoAuth,
    /// Served while the node does not serve data yet.
    Loading,
    /// Served by a replica that has lost its leader.
    Stale,
    /// Not allowed in a script.
    Noscript,
    /// Not allowed in MULTI.
    NoMulti,
    /// About publish/subscribe.
    Pubsub,
    /// May wait for other clients.
    Blocking,
    /// Has key specs that may name no key at all.
    NoMandatoryKeys,
    /// Not shown to monitors.
    SkipMonitor,
    /// Not listed among the slow ones.
    SkipSlowlog,
    /// Not served while data is being loaded in the background.
    NoAsyncLoading,
    /// Served while a script blocks the server.
    AllowBusy,
    /// May be sent on after `ASKING`.
    Asking,
    /// Only in Redis's Sentinel mode.
    OnlySentinel,
    /// Also in Redis's Sentinel mode.
    Sentinel,
}

impl Flag {
    /// The name that `COMMAND` prints.
    pub const fn name(self) -> &'static str {
        match self {
            Flag::Write => "write",
            Flag::Readonly => "readonly",
            Flag::Denyoom => "denyoom",
            Flag::Fast => "fast",
            Flag::Admin => "admin",
            Flag::NoAuth => "no_auth",
            Flag::Loading => "loading",
            Flag::Stale => "stale",
            Flag::Noscript => "noscript",
            Flag::NoMulti => "no_multi",
            Flag::Pubsub => "pubsub",
            Flag::Blocking => "blocking",
            Flag::NoMandatoryKeys => "no_mandatory_keys",
            Flag::SkipMonitor => "skip_monitor",
            Flag::SkipSlowlog => "skip_slowlog",
            Flag::NoAsyncLoading => "no_async_loading",
            Flag::AllowBusy => "allow_busy",
            Flag::Asking => "asking",
            Flag::OnlySentinel => "only_sentinel",
            Flag::Sentinel => "sentinel",
        }
    }
}

/// Redis's command groups, as `COMMAND DOCS` prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Strings.
    String,
    /// The bits of strings.
    Bitmap,
    /// Any key.
    Generic,
    /// The server itself.
    Server,
    /// The connection.
    Connection,
    /// MULTI and friends.
    Transactions,
    /// The cluster.
    Cluster,
    /// Publish and subscribe.
    Pubsub,
    /// Talon's own.
    Talon,
}

impl Group {
    /// The name that `COMMAND DOCS` prints.
    pub const fn name(self) -> &'static str {
        match self {
            Group::String => "string",
            Group::Bitmap => "bitmap",
            Group::Generic => "generic",
            Group::Server => "server",
            Group::Connection => "connection",
            Group::Transactions => "transactions",
            Group::Cluster => "cluster",
            Group::Pubsub => "pubsub",
            Group::Talon => "talon",
        }
    }
}

/// Where the keys are, counted with the command's name at 0, as in Redis's `COMMAND` reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// The first key's place; 0 = there are none.
    pub first: i32,
    /// The last key's place; negative = from the end.
    pub last: i32,
    /// How many words from one key to the next.
    pub step: i32,
}

impl KeySpec {
    /// No keys.
    pub const NONE: KeySpec = KeySpec { first: 0, last: 0, step: 0 };
    /// One key, right after the name.
    pub const FIRST: KeySpec = KeySpec { first: 1, last: 1, step: 1 };
    /// One key, right after the subcommand's name.
    pub const SECOND: KeySpec = KeySpec { first: 2, last: 2, step: 1 };
    /// Two keys, right after the name.
    pub const FIRST_TWO: KeySpec = KeySpec { first: 1, last: 2, step: 1 };
    /// Every argument is a key.
    pub const ALL: KeySpec = KeySpec { first: 1, last: -1, step: 1 };
    /// Every second argument is a key.
    pub const PAIRS: KeySpec = KeySpec { first: 1, last: -1, step: 2 };

    /// The places of the keys among `args` (which do not hold the name).
    pub fn places(self, args: usize) -> impl Iterator<Item = usize> {
        let last = if self.last < 0 { args as i64 + 1 + i64::from(self.last) } else { i64::from(self.last) };
        let last = last.min(args as i64);
        let first = if self.first <= 0 { i64::MAX } else { i64::from(self.first) };
        (first..=last).step_by(self.step.max(1) as usize).map(|place| place as usize - 1)
    }
}

/// Which way a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads a view; never travels through the log by itself.
    Read,
    /// Reads a view, and only Talon itself may send it (a streamed scan, page by page); clients do not see it.
    InternalRead,
    /// Travels through the log.
    Write,
    /// Travels through the log, and only Talon itself may send it (a purge); clients do not see it.
    Internal,
}

/// How a command is carried out: what it read and wrote is in the transaction, what it answers is returned.
///
/// A command must not write before it can no longer refuse: there is no undo.
pub type Execute = fn(&mut Transaction<'_>, &[Bytes]) -> Result<Reply, Error>;

/// One row of the table of data commands.
#[derive(Debug)]
pub struct Command {
    /// Stands for the command in the log. Never reused, never changed.
    pub id: u16,
    /// Which way it takes.
    pub kind: Kind,
    /// What `COMMAND` says of it.
    pub facts: Facts,
    /// How it is carried out.
    pub execute: Execute,
}

impl Command {
    /// Whether it travels through the log.
    pub fn is_write(&self) -> bool {
        matches!(self.kind, Kind::Write | Kind::Internal)
    }

    /// Whether only Talon itself may send it: it has no name that clients could call it by.
    pub fn is_internal(&self) -> bool {
        matches!(self.kind, Kind::Internal | Kind::InternalRead)
    }
}

/// A name that stands for its subcommands.
#[derive(Debug)]
pub struct Container {
    /// What `COMMAND` says of it.
    pub facts: Facts,
    /// The subcommands. The first argument of a request for one of them is its own name.
    pub rows: &'static [&'static Command],
}

impl Container {
    /// The subcommand that is meant by these arguments, whose number fits it.
    ///
    /// # Errors
    /// Redis's refusals for an unknown subcommand and a wrong number of arguments.
    pub fn resolve(&self, args: &[Bytes]) -> Result<&'static Command, Refusal> {
        self.facts.check_arity(args.len() + 1)?;
        let name = args.first().map_or(&b""[..], |name| name);
        let is_it = |row: &&&Command| own_name(row.facts.name).as_bytes().eq_ignore_ascii_case(name);
        let row = *self.rows.iter().find(is_it).ok_or_else(|| unknown_subcommand(self.facts.name, name))?;
        row.facts.check_arity(args.len() + 1)?;
        Ok(row)
    }

    /// What `… HELP` answers.
    pub fn help(&self) -> Reply {
        help(self.facts.name, self.rows.iter().map(|row| &row.facts))
    }
}

/// What `… HELP` answers, from the facts of the subcommands.
pub fn help(container: &str, subcommands: impl Iterator<Item = &'static Facts>) -> Reply {
    let container = container.to_ascii_uppercase();
    let mut lines = vec![format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")];
    for facts in subcommands {
        lines.push(own_name(facts.name).to_ascii_uppercase());
        lines.push(format!("    {}", facts.summary));
    }
    Reply::Array(lines.into_iter().map(|line| Reply::Bulk(Bytes::from(line))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(name: &[u8], args: &[&[u8]]) -> String {
        let args: Vec<Bytes> = args.iter().map(|arg| Bytes::copy_from_slice(arg)).collect();
        unknown_command(name, &args).line().to_owned()
    }

    #[test]
    fn an_unknown_command_is_quoted_as_redis_quotes_it() {
        assert_eq!(unknown(b"a\r\nb", &[]), "ERR unknown command 'a  b', with args beginning with: ");
        assert_eq!(
            unknown(b"n", &[b"a\0b", b"\0", b"c"]),
            "ERR unknown command 'n', with args beginning with: 'a' '' 'c' "
        );
        // 128 bytes of the name, and of the arguments as they are printed; each byte that is no text counts once.
        let line = unknown(&[b'n'; 200], &[&[b'a'; 100], &[0xff; 100], b"c"]);
        let expected = format!(
            "ERR unknown command '{}', with args beginning with: '{}' '{}' ",
            "n".repeat(128),
            "a".repeat(100),
            "\u{fffd}".repeat(25)
        );
        assert_eq!(line, expected);
    }
}

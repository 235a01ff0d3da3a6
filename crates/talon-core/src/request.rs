//! A command with its arguments, as it travels from a front door to the log and to `execute`.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::command::Command;
use crate::commands;
use crate::commands::keys::{MOVE, SWAPDB};
use crate::commands::publish::PUBLISH;
use crate::commands::room::ReplyRoom;
use crate::commands::strings::GET;
use crate::commands::talon::{DELPREFIX, MARK, PURGE};
use crate::database::Call;
use crate::entry::TRANSACTION_TOO_LARGE;
use crate::error::{Error, Fault, Refusal};
use crate::limits::TRANSACTION_WRITES_MAX;
use crate::reply::{Reply, size_bytes};
use crate::transaction::Transaction;

/// Arguments of a request. Most requests have one or two, and those take no allocation.
pub type Args = SmallVec<[Bytes; 2]>;

/// Which keys a request may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// None at all.
    Nothing,
    /// Those that it names ([`Request::keys`]).
    Keys,
    /// Any.
    Anything,
}

/// Writes that touch no live key.
static NO_REACH: [&Command; 5] = [&MARK, &PURGE, &PUBLISH, &MOVE, &SWAPDB];

/// One command to carry out. Its arity has been checked ([`crate::Facts::check_arity`]); everything else about its
/// arguments is checked when it is executed.
#[derive(Clone, Debug)]
pub struct Request {
    /// The row of the command table.
    pub command: &'static Command,
    /// The arguments, without the command's name. Slices of the buffer they were read into.
    pub args: Args,
}

impl Request {
    /// A request for a row of the table.
    pub fn new(command: &'static Command, args: Vec<Bytes>) -> Request {
        Request { command, args: args.into() }
    }

    /// Looks a command up by name (any case) and checks its arity.
    ///
    /// # Errors
    /// Redis's own refusals for an unknown command or subcommand and a wrong number of arguments.
    pub fn parse(name: &[u8], args: Vec<Bytes>) -> Result<Request, Refusal> {
        let command = commands::resolve(name, &args)?;
        Ok(Request::new(command, args))
    }

    /// Its keys, in the order in which they stand.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        let (command, skipped) = commands::talon::inside(self.command, &self.args);
        let args = &self.args[skipped..];
        command.facts.keys.places(args.len()).filter_map(|place| args.get(place))
    }

    /// Which keys it may touch: store something under them, or remove them.
    pub fn reach(&self) -> Reach {
        let (command, _) = commands::talon::inside(self.command, &self.args);
        if !command.is_write() || NO_REACH.iter().any(|without| without.id == command.id) {
            Reach::Nothing
        } else if command.id == DELPREFIX.id || self.keys().next().is_none() {
            Reach::Anything
        } else {
            Reach::Keys
        }
    }

    /// The size of its arguments in bytes, with a few bytes for each one's framing.
    pub fn size_bytes(&self) -> usize {
        8 + self.args.iter().map(|arg| arg.len() + 4).sum::<usize>()
    }

    /// Carries it out. A refusal becomes an error reply.
    ///
    /// # Errors
    /// Only a [`Fault`]: the node must stop.
    pub fn execute(&self, transaction: &mut Transaction<'_>) -> Result<Reply, Fault> {
        match (self.command.execute)(transaction, &self.args) {
            Ok(reply) => Ok(reply),
            Err(Error::Refusal(refusal)) => Ok(Reply::Error(refusal)),
            Err(Error::Fault(fault)) => Err(fault),
        }
    }
}

/// Carries out calls on a transaction for reading, in order; those that would write are refused. `GET`s that follow each other look
/// their keys up together, for the storage does several at a time faster than one by one.
///
/// # Errors
/// Only a [`Fault`]: the node must stop.
pub fn execute_reads(transaction: &mut Transaction<'_>, calls: &[Call]) -> Result<Vec<Reply>, Fault> {
    let mut replies = Vec::with_capacity(calls.len());
    let mut rest = calls;
    while let [call, behind @ ..] = rest {
        let count = rest.iter().map_while(looked_up).count();
        if count > 1 {
            let keys: Vec<&[u8]> = rest.iter().map_while(looked_up).collect();
            let records = transaction.get_many(&keys)?;
            replies.extend(records.into_iter().map(|record| Reply::from(record.map(|record| record.value))));
            rest = &rest[count..];
            continue;
        }
        replies.push(if call.is_write() {
            Reply::Error(Refusal::new("ERR a write cannot be carried out on a view"))
        } else {
            execute(transaction, call)?
        });
        rest = behind;
    }
    Ok(replies)
}

/// The key of a `GET`.
fn looked_up(call: &Call) -> Option<&[u8]> {
    match call {
        Call::One(Request { command, args }) if command.id == GET.id => args.first().map(|key| &key[..]),
        _ => None,
    }
}

/// Carries out one call on a transaction. A refusal becomes an error reply; a transaction's reply is the array of its requests' replies, unless it
/// leaves the transaction [overfull](Transaction::is_overfull). Once those have become as large as one reply may be, what would read is refused.
///
/// # Errors
/// Only a [`Fault`]: the node must stop.
pub fn execute(transaction: &mut Transaction<'_>, call: &Call) -> Result<Reply, Fault> {
    match call {
        Call::One(request) => request.execute(transaction),
        Call::Transaction(requests) => {
            transaction.limit_call(TRANSACTION_WRITES_MAX.max(call.size_bytes() as u64));
            let mut room = ReplyRoom::new();
            let mut full = None;
            let mut replies = Vec::with_capacity(requests.len());
            for request in requests {
                // What writes is carried out, or makes the whole too large.
                if let Some(refusal) = full.clone().filter(|_| !request.command.is_write()) {
                    replies.push(Reply::Error(refusal));
                    continue;
                }
                let reply = request.execute(transaction)?;
                if request.command.is_write() {
                    transaction.held.add_reply(&reply);
                }
                if transaction.is_overfull() {
                    return Ok(Reply::Error(TRANSACTION_TOO_LARGE));
                }
                full = full.take().or_else(|| room.take(size_bytes(&reply)).err());
                replies.push(reply);
            }
            Ok(Reply::Array(replies))
        }
    }
}

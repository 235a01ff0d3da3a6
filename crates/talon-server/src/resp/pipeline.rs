//! The requests of one batch: which are answered already, and which wait for the database.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use talon_core::{Call, Denied, Outcome, Refusal, Reply, Request, Status};
use talon_resp::{Protocol, encode};

use super::commands::info::{self, Sections};
use super::deferred::Deferred;
use super::key_counts::KeyCounts;
use super::metrics::Tally;
use super::session::Shared;
use super::slowlog::Culprit;
use super::table::Entry;
use super::{denied, outbox};

/// What is done with the database's reply before the client gets it.
#[derive(Debug)]
pub(crate) enum After {
    Plain,
    /// The cursor is translated.
    Scan,
    /// The subscribers of this channel are counted.
    Publish(Bytes),
    /// The reply is the number of keys that the text needs; now, or at the snapshot that the session reads from.
    Info {
        sections: Sections,
        snapshot: bool,
    },
    /// The replies are put into their places between those that are known already.
    Exec(Vec<(usize, Part)>),
}

/// One command of a transaction.
#[derive(Debug)]
pub(crate) enum Part {
    Ready(Reply),
    Data(After),
}

#[derive(Debug)]
enum Answer {
    Ready(Reply),
    /// Refused before it was carried out.
    Rejected(Refusal),
    /// Several replies of one command, as they go out.
    Encoded(BytesMut),
    Call(After),
}

#[derive(Debug)]
struct Slot {
    /// As it is when the request is taken: HELLO may change it for the next one.
    protocol: Protocol,
    silent: bool,
    /// The command's place in the table.
    command: Option<usize>,
    /// For MOVED.
    first_key: Option<Bytes>,
    answer: Answer,
}

/// One batch.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    slots: Vec<Slot>,
    calls: Vec<Call>,
    call_bytes: usize,
    ready_bytes: usize,
    /// How many calls the batch before had: about so many will come again.
    calls_before: usize,
    /// What comes behind all others: nothing follows it before it is answered.
    deferred: Option<(Slot, Deferred)>,
    tally: Tally,
    /// The command that will be blamed if the batch is slow.
    pub culprit: Culprit,
    /// The same for the command that is being taken, or that is carried out behind all others.
    pub culprit_apart: Culprit,
    /// One of the calls may change the data.
    writes: bool,
}

impl Pipeline {
    /// Whether carrying it out may change the data or tell others something.
    pub fn writes(&self) -> bool {
        let deferred = self.deferred.as_ref().is_some_and(|(_, deferred)| deferred.is_write());
        self.writes || deferred
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.deferred.is_none()
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is anything before the deferred command.
    pub fn has_batch(&self) -> bool {
        !self.slots.is_empty()
    }

    pub fn call_bytes(&self) -> usize {
        self.call_bytes
    }

    /// About how many bytes of replies are there already.
    pub fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    /// What comes behind a deferred command has to wait for it.
    pub fn is_closed(&self) -> bool {
        self.deferred.is_some()
    }

    pub fn ready(&mut self, protocol: Protocol, silent: bool, entry: Option<&Entry>, reply: Reply) {
        let command = entry.map(|entry| entry.index);
        self.ready_bytes += outbox::text_bytes(&reply);
        self.slots.push(Slot { protocol, silent, command, first_key: None, answer: Answer::Ready(reply) });
    }

    /// A request that is not carried out; it counts as rejected on this row.
    pub fn rejected(&mut self, protocol: Protocol, silent: bool, counted: Option<&Entry>, refusal: Refusal) {
        let command = counted.map(|entry| entry.index);
        self.ready_bytes += refusal.line().len();
        self.slots.push(Slot { protocol, silent, command, first_key: None, answer: Answer::Rejected(refusal) });
    }

    /// A command that has written its replies itself.
    pub fn encoded(&mut self, protocol: Protocol, entry: &Entry, replies: BytesMut) {
        self.ready_bytes += replies.len();
        let (command, answer) = (Some(entry.index), Answer::Encoded(replies));
        self.slots.push(Slot { protocol, silent: false, command, first_key: None, answer });
    }

    pub fn call(&mut self, protocol: Protocol, silent: bool, entry: &Entry, request: Request, after: After) {
        let first_key = first_key(&request);
        let answer = Answer::Call(after);
        self.slots.push(Slot { protocol, silent, command: Some(entry.index), first_key, answer });
        self.push_call(Call::One(request));
    }

    pub fn exec(
        &mut self,
        protocol: Protocol,
        silent: bool,
        entry: &Entry,
        requests: Vec<Request>,
        parts: Vec<(usize, Part)>,
    ) {
        let command = Some(entry.index);
        let first_key = requests.iter().find_map(first_key);
        let after = After::Exec(parts);
        if requests.is_empty() {
            // Nothing for the database; the parts are all there.
            let answer = Answer::Ready(after.without_calls());
            self.slots.push(Slot { protocol, silent, command, first_key, answer });
            return;
        }
        self.slots.push(Slot { protocol, silent, command, first_key, answer: Answer::Call(after) });
        self.push_call(Call::Transaction(requests));
    }

    /// Ends the batch with a command that is carried out behind all others.
    pub fn defer(&mut self, protocol: Protocol, silent: bool, entry: &Entry, deferred: Deferred, after: After) {
        let first_key = deferred.first_key();
        let slot = Slot { protocol, silent, command: Some(entry.index), first_key, answer: Answer::Call(after) };
        self.deferred = Some((slot, deferred));
    }

    /// A command was taken: unless it is carried out behind the batch, it may be what the batch is slow by.
    pub fn place_culprit(&mut self) {
        if self.deferred.is_none() && !self.culprit_apart.is_empty() {
            self.culprit.join(std::mem::take(&mut self.culprit_apart));
        }
    }

    fn push_call(&mut self, call: Call) {
        if self.calls.capacity() == 0 {
            self.calls.reserve(self.calls_before);
        }
        self.call_bytes += call.size_bytes();
        self.writes |= call.is_write();
        self.calls.push(call);
    }

    /// What the database has to carry out.
    pub fn take_calls(&mut self) -> Vec<Call> {
        self.call_bytes = 0;
        self.writes = false;
        self.calls_before = self.calls.len();
        std::mem::take(&mut self.calls)
    }

    /// Takes the command at the end out, if there is one. What is encoded next is the answer to it.
    pub fn take_deferred(&mut self) -> Option<Deferred> {
        let (slot, deferred) = self.deferred.take()?;
        self.culprit = std::mem::take(&mut self.culprit_apart);
        self.slots.push(slot);
        Some(deferred)
    }

    /// Encodes every reply in order, leaving the pipeline empty. `false` = one of them cannot be given: what was encoded
    /// before it is still true, and then the connection has to be closed.
    pub fn encode(
        &mut self,
        outcomes: Vec<Outcome>,
        took: Duration,
        shared: &Shared,
        status: &dyn Fn() -> Arc<Status>,
        out: &mut BytesMut,
    ) -> bool {
        self.ready_bytes = 0;
        let mut outcomes = outcomes.into_iter();
        let mut whole = true;
        let output_bytes_max = shared.tunables.output_bytes_max();
        let share = took / u32::try_from(self.slots.len()).unwrap_or(u32::MAX).max(1);
        for slot in self.slots.drain(..) {
            let mut rejected = false;
            let reply = match slot.answer {
                Answer::Ready(reply) => Some(reply),
                Answer::Rejected(refusal) => {
                    rejected = true;
                    Some(Reply::Error(refusal))
                }
                Answer::Encoded(replies) => {
                    out.extend_from_slice(&replies);
                    slot.command.into_iter().for_each(|command| self.tally.add(command, false));
                    continue;
                }
                Answer::Call(after) => outcomes.next().and_then(|outcome| {
                    rejected = outcome.as_ref().is_err_and(|denied| after.is_rejected_by(denied));
                    after.reply(outcome, slot.first_key.as_ref(), took, shared, status)
                }),
            };
            let Some(reply) = reply else {
                whole = false;
                break;
            };
            let failed = match &reply {
                Reply::Error(refusal) => {
                    shared.metrics.count_error(refusal.line());
                    true
                }
                _ => false,
            };
            match slot.command {
                Some(command) if rejected => shared.metrics.count_rejected(command),
                Some(command) => self.tally.add(command, failed),
                None => {}
            }
            if !slot.silent {
                encode(&reply, slot.protocol, out);
            }
            // The connection will be cut off: nobody gets what comes behind.
            if out.len() > output_bytes_max {
                whole = false;
                break;
            }
        }
        shared.metrics.count_calls(&mut self.tally, share, took);
        whole
    }
}

impl After {
    /// The reply where the database has nothing to do.
    fn without_calls(self) -> Reply {
        let After::Exec(parts) = self else { return Reply::Null };
        let replies = parts.into_iter().filter_map(|(_, part)| match part {
            Part::Ready(reply) => Some(reply),
            Part::Data(_) => None,
        });
        Reply::Array(replies.collect())
    }

    /// Whether the database has carried out nothing of it.
    fn is_rejected_by(&self, denied: &Denied) -> bool {
        !matches!(self, After::Info { .. }) && !matches!(denied, Denied::InDoubt)
    }

    fn reply(
        self,
        outcome: Outcome,
        first_key: Option<&Bytes>,
        took: Duration,
        shared: &Shared,
        status: &dyn Fn() -> Arc<Status>,
    ) -> Option<Reply> {
        let reply = match (outcome, &self) {
            (Ok(reply), _) => reply,
            // INFO tells what it can.
            (Err(_), After::Info { .. }) => Reply::Null,
            (Err(denied), _) => return denied::refusal(&denied, first_key, &status()).map(Reply::Error),
        };
        Some(match self {
            After::Plain => reply,
            After::Scan => shared.cursors.to_client(reply),
            After::Publish(channel) => match reply {
                Reply::Integer(_) => Reply::Integer(shared.channels.receivers(&channel) as i64),
                reply => reply,
            },
            After::Info { sections, snapshot } => {
                let counts = KeyCounts::of(&reply);
                if let Some(counts) = counts.filter(|_| !snapshot) {
                    shared.key_counts.keep(counts);
                }
                info::render(&sections, counts, shared, &status())
            }
            // A watched key was touched, or none of it was carried out.
            After::Exec(_) if matches!(reply, Reply::NullArray | Reply::Error(_)) => reply,
            After::Exec(parts) => {
                let Reply::Array(replies) = reply else { return None };
                let mut replies = replies.into_iter();
                let mut all = Vec::with_capacity(parts.len());
                let mut tally = Tally::default();
                for (command, part) in parts {
                    let reply = match part {
                        Part::Ready(reply) => reply,
                        Part::Data(after) => after.reply(Ok(replies.next()?), None, took, shared, status)?,
                    };
                    if let Reply::Error(refusal) = &reply {
                        shared.metrics.count_error(refusal.line());
                    }
                    tally.add(command, matches!(reply, Reply::Error(_)));
                    all.push(reply);
                }
                shared.metrics.count_calls(&mut tally, Duration::ZERO, took);
                Reply::Array(all)
            }
        })
    }
}

/// The first key of a request, which MOVED names the slot of.
pub(crate) fn first_key(request: &Request) -> Option<Bytes> {
    request.keys().next().cloned()
}

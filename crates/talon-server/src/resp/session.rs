//! One connection's state, and the gate every request goes through.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use talon_core::command::{unknown_command, unknown_subcommand};
use talon_core::request::Args;
use talon_core::{Consistency, Flag, Refusal, Reply, Request, Status, Watch};
use talon_resp::{Limits, Protocol, Words, encode};
use tokio::time::Instant;

use super::alarm::Alarm;
use super::clients::{Client, Clients};
use super::commands::info;
use super::cross_protocol;
use super::cursors::Cursors;
use super::deferred::Deferred;
use super::denied;
use super::events;
use super::failover::Underway;
use super::key_counts::LastCount;
use super::latency::LatencyEvents;
use super::metrics::Metrics;
use super::monitors::Monitors;
use super::outbox::text_bytes;
use super::pause::Pause;
use super::pipeline::{After, Part, Pipeline};
use super::pubsub::{self, Channels, Counts, Kind};
use super::rates::Rates;
use super::settings::RespSettings;
use super::shown::Shown;
use super::slowlog::{Culprit, SlowLog};
use super::table::{self, Action, Entry, Row, ServerCommand, Treatment};
use super::topology;
use super::tunables::Tunables;

/// How often the log is told of wrong passwords at most.
const PASSWORD_TOLD_EVERY: Duration = Duration::from_secs(1);

const NOAUTH: Refusal = Refusal::new("NOAUTH Authentication required.");
const NOT_IN_MULTI: Refusal = Refusal::new("ERR Command not allowed inside a transaction");
const EXEC_ABORTED: Refusal = Refusal::new("EXECABORT Transaction discarded because of previous errors.");

/// How many bytes of the server's own replies one EXEC may gather before it is written down.
const EXEC_REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;
const EXEC_TOO_LARGE: Refusal = Refusal::new("ERR not carried out: the replies of this transaction are too large");

/// What all connections of a front door share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub settings: Arc<RespSettings>,
    pub metrics: Arc<Metrics>,
    pub clients: Clients,
    pub cursors: Cursors,
    pub channels: Channels,
    pub failover: Underway,
    pub started: Instant,
    pub http_alarm: Alarm,
    pub password_alarm: Alarm,
    /// Where the front door listens.
    pub port: u16,
    pub tunables: Tunables,
    pub slowlog: SlowLog,
    pub latency: LatencyEvents,
    pub monitors: Monitors,
    pub pause: Pause,
    pub rates: Rates,
    /// Whose turn it is to write the file of settings.
    pub rewriting: Arc<tokio::sync::Mutex<()>>,
    /// What CONFIG SET has changed, by Talon's names.
    changed: Mutex<BTreeSet<&'static str>>,
    pub key_counts: LastCount,
}

impl Shared {
    pub fn new(settings: Arc<RespSettings>, port: u16) -> Shared {
        Shared {
            metrics: settings.metrics.clone(),
            clients: Clients::new(),
            cursors: Cursors::new(),
            channels: Channels::default(),
            failover: Underway::default(),
            started: Instant::now(),
            http_alarm: Alarm::new(cross_protocol::TOLD_EVERY),
            password_alarm: Alarm::new(PASSWORD_TOLD_EVERY),
            port,
            tunables: Tunables::new(&settings),
            slowlog: SlowLog::default(),
            latency: LatencyEvents::default(),
            monitors: Monitors::default(),
            pause: Pause::default(),
            rates: Rates::default(),
            rewriting: Arc::default(),
            changed: Mutex::default(),
            key_counts: LastCount::default(),
            settings,
        }
    }

    /// CONFIG SET has changed this setting.
    pub fn has_changed(&self, name: &'static str) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
    }

    /// What CONFIG SET has changed so far.
    pub fn changed(&self) -> BTreeSet<&'static str> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a command of the connection works with.
pub(crate) struct Context<'a> {
    pub session: &'a mut Session,
    pub shared: &'a Shared,
    pub status: Arc<Status>,
}

/// A command that waits for EXEC.
#[derive(Debug)]
struct Queued {
    entry: &'static Entry,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Data(Request),
    Server(&'static ServerCommand, Args),
}

/// Why a request is not carried out, and the row that counts it; what is not in the table is counted on none.
struct Rejection {
    counted: Option<&'static Entry>,
    refusal: Refusal,
}

/// What MULTI has gathered.
#[derive(Debug, Default)]
struct Queue {
    commands: Vec<Queued>,
    bytes: usize,
    /// A command was refused: EXEC will be, too.
    spoilt: bool,
}

/// What a client has chosen for its reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choices {
    /// How they are answered, if not as the node's settings say.
    pub consistency: Option<Consistency>,
    /// The snapshot that plain reads are answered from.
    pub snapshot: Option<u64>,
    /// After READONLY: the client knows that it may be talking to a replica.
    pub readonly: bool,
}

/// One connection's state.
#[derive(Debug)]
pub(crate) struct Session {
    pub client: Arc<Client>,
    pub protocol: Protocol,
    pub authenticated: bool,
    /// What is in the pipeline already is carried out as it was chosen before.
    pub choices: Choices,
    /// The connection is to be closed once everything so far has been answered.
    pub closing: bool,
    /// Bytes read and not yet carried out.
    pub query_bytes: usize,
    /// The room of the read and the write buffer.
    pub buffer_bytes: usize,
    /// After CLIENT REPLY OFF.
    pub mute: bool,
    /// This command is not answered (CLIENT REPLY SKIP itself).
    pub mute_this: bool,
    /// The next command is not answered.
    pub mute_next: bool,
    /// What EXEC will depend on.
    pub watches: Vec<Watch>,
    /// What is subscribed to.
    pub subscriptions: Counts,
    /// The name of the last command that passed the gate.
    command: &'static str,
    queue: Option<Queue>,
}

impl Session {
    pub fn new(client: Arc<Client>, settings: &RespSettings) -> Session {
        Session {
            client,
            protocol: Protocol::Resp2,
            authenticated: settings.password.is_none(),
            choices: Choices { consistency: None, snapshot: None, readonly: false },
            closing: false,
            query_bytes: 0,
            buffer_bytes: 0,
            mute: false,
            mute_this: false,
            mute_next: false,
            watches: Vec::new(),
            subscriptions: Counts::default(),
            command: "",
            queue: None,
        }
    }

    /// As after connecting.
    pub fn reset(&mut self, shared: &Shared) {
        shared.channels.leave(self.client.id);
        shared.monitors.leave(self.client.id);
        // Nothing comes any more, and what has come would be taken for replies.
        self.client.outbox.clear();
        self.client.is_monitor.store(false, Ordering::Relaxed);
        *self = Session::new(self.client.clone(), &shared.settings);
        let mut profile = self.client.profile();
        profile.name.clear();
        profile.no_evict = false;
        profile.no_touch = false;
    }

    /// What a request of this client may hold.
    pub fn limits(&self, settings: &RespSettings) -> Limits {
        Limits {
            words_max: settings.words_max,
            bulk_bytes_max: settings.bulk_bytes_max,
            unauthenticated: !self.authenticated,
            ..Limits::default()
        }
    }

    /// Shows others what this connection is doing at this moment.
    pub fn describe(&self, now: Instant) {
        self.client.touch(now);
        let mut profile = self.client.profile();
        profile.command = self.command;
        profile.resp3 = self.protocol == Protocol::Resp3;
        profile.readonly = self.choices.readonly;
        profile.gathered = self.gathered().map_or(-1, |count| count as i64);
        profile.subscriptions = self.subscriptions;
        profile.query_bytes = self.query_bytes;
        profile.buffer_bytes = self.buffer_bytes;
        profile.gathered_bytes = self.queue.as_ref().map_or(0, |queue| queue.bytes);
    }

    /// How many commands MULTI has gathered.
    pub fn gathered(&self) -> Option<usize> {
        self.queue.as_ref().map(|queue| queue.commands.len())
    }

    /// How many keys it watches.
    pub fn watched(&self) -> usize {
        self.watches.iter().map(|watch| watch.keys().count()).sum()
    }

    /// Takes one request: answers it, or adds it to the pipeline.
    pub fn take(&mut self, words: Words, pipeline: &mut Pipeline, shared: &Shared, status: &dyn Fn() -> Arc<Status>) {
        let Words { name, args } = words;
        self.mute_this = std::mem::take(&mut self.mute_next);
        let Some(entry) = table::lookup(&name) else {
            return self.refuse(None, unknown_command(&name, &args), pipeline);
        };
        match self.gate(entry, &args) {
            Err(Rejection { counted, refusal }) => {
                if matches!(entry.row, Row::Server(ServerCommand { action: Action::Exec, .. })) {
                    self.queue = None;
                    self.watches.clear();
                    let reason = refusal.line().strip_prefix("ERR ").unwrap_or(refusal.line());
                    let line = format!("EXECABORT Transaction discarded because of: {reason}");
                    return self.refuse(counted, Refusal::from_string(line), pipeline);
                }
                self.refuse(counted, refusal, pipeline);
            }
            Ok((entry, row)) if self.gathers(row) => {
                let work = match row {
                    Row::Data(command) => Work::Data(Request { command, args }),
                    Row::Server(command) => Work::Server(command, args),
                    // The gate has put a subcommand in its place.
                    Row::DataContainer(_) => return,
                };
                self.gather(entry, work, pipeline, shared);
            }
            Ok((entry, row)) => {
                // EXEC comes behind what it carries out.
                let is_exec = matches!(row, Row::Server(ServerCommand { action: Action::Exec, .. }));
                if !is_exec {
                    let culprit = match row {
                        Row::Server(_) => &mut pipeline.culprit_apart,
                        Row::Data(_) | Row::DataContainer(_) => &mut pipeline.culprit,
                    };
                    self.show(entry, &name, &args, culprit, shared);
                }
                self.dispatch(entry, row, args, pipeline, shared, status);
                if is_exec {
                    self.show(entry, &name, &Args::new(), &mut pipeline.culprit_apart, shared);
                }
                pipeline.place_culprit();
            }
        }
    }

    /// Whether a request is kept for EXEC.
    fn gathers(&self, row: Row) -> bool {
        self.queue.is_some()
            && match row {
                Row::Server(command) => {
                    !matches!(command.action, Action::Multi | Action::Exec | Action::Discard)
                        && !acts_inside_multi(command.facts.name)
                }
                _ => true,
            }
    }

    /// Shows a command that is carried out now to who may want to know.
    fn show(&self, entry: &'static Entry, name: &[u8], args: &Args, culprit: &mut Culprit, shared: &Shared) {
        if shared.tunables.times_batches() {
            culprit.look(entry, name, args);
        }
        if shared.monitors.any() {
            let shown = Shown::new(entry, name, args);
            shared.monitors.show(&shown, &self.client, shared.settings.push_bytes_max, &shared.metrics);
        }
    }

    /// Whether the request may go on, as far as its name and number of arguments tell; and which row answers it.
    fn gate(&mut self, entry: &'static Entry, args: &[Bytes]) -> Result<(&'static Entry, Row), Rejection> {
        let words = args.len() + 1;
        entry.facts().check_arity(words).map_err(|refusal| Rejection { counted: Some(entry), refusal })?;
        let entry = match entry.row {
            Row::Server(ServerCommand { action: Action::Container { bare: Some(_), .. }, .. }) if args.is_empty() => {
                entry
            }
            Row::Server(ServerCommand { action: Action::Container { .. }, .. }) | Row::DataContainer(_) => {
                let name = args.first().map_or(&b""[..], |name| name);
                let unknown = || Rejection { counted: None, refusal: unknown_subcommand(entry.facts().name, name) };
                table::subcommand_entry(entry, name).ok_or_else(unknown)?
            }
            _ => entry,
        };
        self.admit(entry, words).map(|row| (entry, row)).map_err(|refusal| Rejection { counted: Some(entry), refusal })
    }

    /// The same for the row that answers it.
    fn admit(&mut self, entry: &'static Entry, words: usize) -> Result<Row, Refusal> {
        entry.facts().check_arity(words)?;
        let row = match entry.row {
            Row::Server(ServerCommand { action: Action::Container { bare: Some(bare), .. }, .. }) => Row::Server(bare),
            row => row,
        };
        let facts = row.facts();
        self.command = facts.name;
        let flags = facts.flags;
        if !self.authenticated && !flags.contains(&Flag::NoAuth) {
            return Err(NOAUTH);
        }
        let changes_subscriptions =
            matches!(row, Row::Server(ServerCommand { action: Action::Subscribe(_) | Action::Unsubscribe(_), .. }));
        if self.queue.is_some() && (changes_subscriptions || flags.contains(&Flag::NoMulti)) {
            return Err(NOT_IN_MULTI);
        }
        if self.subscriptions.sum() > 0 && self.protocol == Protocol::Resp2 && !acts_while_subscribed(facts.name) {
            return Err(Refusal::from_string(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
                 context",
                facts.name
            )));
        }
        Ok(row)
    }

    /// Answers what is not carried out.
    fn refuse(&mut self, counted: Option<&'static Entry>, refusal: Refusal, pipeline: &mut Pipeline) {
        if let Some(queue) = &mut self.queue {
            queue.spoilt = true;
        }
        pipeline.rejected(self.protocol, self.is_silent(), counted, refusal);
    }

    /// Whether the reply to this command is not sent.
    fn is_silent(&self) -> bool {
        self.mute || self.mute_this
    }

    fn answer(&mut self, entry: Option<&'static Entry>, reply: Reply, pipeline: &mut Pipeline) {
        pipeline.ready(self.protocol, self.is_silent(), entry, reply);
    }

    fn dispatch(
        &mut self,
        entry: &'static Entry,
        row: Row,
        args: Args,
        pipeline: &mut Pipeline,
        shared: &Shared,
        status: &dyn Fn() -> Arc<Status>,
    ) {
        match row {
            Row::Data(command) => {
                let mut request = Request { command, args };
                match prepare(entry, &mut request, shared) {
                    Ok(after) => {
                        let silent = self.is_silent();
                        pipeline.call(self.protocol, silent, entry, request, after);
                    }
                    Err(refusal) => self.answer(Some(entry), Reply::Error(refusal), pipeline),
                }
            }
            Row::Server(command) => match command.action {
                Action::Multi if self.queue.is_some() => {
                    // As in Redis, this spoils nothing.
                    let nested = Refusal::new("ERR MULTI calls can not be nested");
                    self.answer(Some(entry), Reply::Error(nested), pipeline);
                }
                Action::Multi => {
                    self.queue = Some(Queue::default());
                    self.answer(Some(entry), Reply::Ok, pipeline);
                }
                Action::Discard => {
                    let reply = match self.queue.take() {
                        Some(_) => {
                            self.watches.clear();
                            Reply::Ok
                        }
                        None => Reply::Error(Refusal::new("ERR DISCARD without MULTI")),
                    };
                    self.answer(Some(entry), reply, pipeline);
                }
                Action::Exec => self.exec(entry, pipeline, shared, status),
                Action::Confirmed(answer) if topology::is_led_by_another(&status()) => {
                    let silent = self.is_silent();
                    pipeline.defer(self.protocol, silent, entry, Deferred::Confirmed(answer, args), After::Plain);
                }
                Action::Led(answer) if !topology::leads(&status()) => {
                    let silent = self.is_silent();
                    pipeline.defer(self.protocol, silent, entry, Deferred::Led(answer, args), After::Plain);
                }
                Action::Now(answer) | Action::Confirmed(answer) | Action::Led(answer) => {
                    let mut context = Context { session: self, shared, status: status() };
                    let reply = answer(&mut context, &args).unwrap_or_else(Reply::Error);
                    self.answer(Some(entry), reply, pipeline);
                }
                Action::Info => match self.inform(&args, shared, status) {
                    Ok((count, after)) => pipeline.call(self.protocol, self.is_silent(), entry, count, after),
                    Err(reply) => self.answer(Some(entry), reply, pipeline),
                },
                Action::Deferred(parse) => {
                    let mut context = Context { session: self, shared, status: status() };
                    match parse(&mut context, &args) {
                        Ok(deferred) => {
                            pipeline.defer(self.protocol, self.is_silent(), entry, deferred, After::Plain);
                        }
                        Err(refusal) => self.answer(Some(entry), Reply::Error(refusal), pipeline),
                    }
                }
                Action::Subscribe(kind) => self.subscribe(entry, kind, &args, pipeline, shared),
                Action::Unsubscribe(kind) => self.unsubscribe(entry, kind, &args, pipeline, shared),
                // The gate has put a subcommand in the place of its container.
                Action::Container { .. } => {}
            },
            Row::DataContainer(_) => {}
        }
    }

    fn gather(&mut self, entry: &'static Entry, work: Work, pipeline: &mut Pipeline, shared: &Shared) {
        let bytes_max = shared.settings.request_bytes_max;
        let Some(queue) = &mut self.queue else { return };
        queue.bytes += match &work {
            Work::Data(request) => request.size_bytes(),
            Work::Server(_, args) => 64 + args.iter().map(Bytes::len).sum::<usize>(),
        };
        let calls_max = shared.settings.queue_calls_max;
        if queue.bytes > bytes_max || queue.commands.len() >= calls_max {
            let refusal = if queue.bytes > bytes_max {
                denied::too_large(queue.bytes, bytes_max)
            } else {
                Refusal::from_string(format!("ERR too many commands in MULTI: at most {calls_max}"))
            };
            // What cannot be carried out need not be kept.
            queue.commands = Vec::new();
            return self.refuse(Some(entry), refusal, pipeline);
        }
        if !queue.spoilt {
            queue.commands.push(Queued { entry, work });
        }
        // It is counted when it is carried out.
        self.answer(None, Reply::Simple("QUEUED"), pipeline);
    }

    /// Carries out what was gathered: the data commands as one call, the connection's in their places.
    fn exec(
        &mut self,
        entry: &'static Entry,
        pipeline: &mut Pipeline,
        shared: &Shared,
        status: &dyn Fn() -> Arc<Status>,
    ) {
        let Some(queue) = self.queue.take() else {
            return self.answer(Some(entry), Reply::Error(Refusal::new("ERR EXEC without MULTI")), pipeline);
        };
        let watches = std::mem::take(&mut self.watches);
        if queue.spoilt {
            return self.answer(Some(entry), Reply::Error(EXEC_ABORTED), pipeline);
        }
        let protocol = self.protocol;
        let silent = self.is_silent();
        let mut requests = Vec::new();
        let mut parts = Vec::with_capacity(queue.commands.len());
        let mut own_bytes = 0;
        for Queued { entry, work } in queue.commands {
            let name = entry.facts().name;
            let args = match &work {
                Work::Data(request) => &request.args,
                Work::Server(_, args) => args,
            };
            self.show(
                entry,
                name.split('|').next().unwrap_or(name).as_bytes(),
                args,
                &mut pipeline.culprit_apart,
                shared,
            );
            let part = match work {
                Work::Data(mut request) => match prepare(entry, &mut request, shared) {
                    Ok(after) => {
                        requests.push(request);
                        Part::Data(after)
                    }
                    Err(refusal) => Part::Ready(Reply::Error(refusal)),
                },
                Work::Server(..) if own_bytes > EXEC_REPLY_BYTES_MAX => Part::Ready(Reply::Error(EXEC_TOO_LARGE)),
                Work::Server(command, args) => match command.action {
                    Action::Now(answer) | Action::Confirmed(answer) | Action::Led(answer) => {
                        let mut context = Context { session: self, shared, status: status() };
                        Part::Ready(answer(&mut context, &args).unwrap_or_else(Reply::Error))
                    }
                    Action::Info => match self.inform(&args, shared, status) {
                        Ok((count, after)) => {
                            requests.push(count);
                            Part::Data(after)
                        }
                        Err(reply) => Part::Ready(reply),
                    },
                    Action::Deferred(parse) => {
                        let mut context = Context { session: self, shared, status: status() };
                        Part::Ready(match parse(&mut context, &args) {
                            // Nothing is waited for inside a transaction, as in Redis.
                            Ok(Deferred::Wait(wait)) => wait.count_now(&status()),
                            Ok(Deferred::Pause(held, time)) => {
                                shared.pause.begin(held, time);
                                Reply::Ok
                            }
                            Ok(_) => Reply::Error(NOT_IN_MULTI),
                            Err(refusal) => Reply::Error(refusal),
                        })
                    }
                    // The gate lets none of these in.
                    Action::Multi
                    | Action::Exec
                    | Action::Discard
                    | Action::Subscribe(_)
                    | Action::Unsubscribe(_)
                    | Action::Container { .. } => continue,
                },
            };
            if let Part::Ready(reply) = &part {
                own_bytes += text_bytes(reply);
            }
            parts.push((entry.index, part));
        }
        // A snapshot's keys are not touched any more, and nothing is written.
        if watches.is_empty() || self.choices.snapshot.is_some() {
            pipeline.exec(protocol, silent, entry, requests, parts);
        } else {
            pipeline.defer(protocol, silent, entry, Deferred::Exec { requests, watches }, After::Exec(parts));
        }
    }

    /// What counts the keys for `INFO`, or at once its answer if that needs no counting.
    fn inform(
        &self,
        args: &[Bytes],
        shared: &Shared,
        status: &dyn Fn() -> Arc<Status>,
    ) -> Result<(Request, After), Reply> {
        let snapshot = self.choices.snapshot.is_some();
        match info::plan(args, shared, snapshot) {
            (sections, Some(count)) => Ok((count, After::Info { sections, snapshot })),
            (sections, None) => Err(info::render(&sections, shared.key_counts.get(), shared, &status())),
        }
    }

    /// Each channel is answered by itself, and always: what follows on the channel has to make sense.
    fn subscribe(
        &mut self,
        entry: &'static Entry,
        kind: Kind,
        names: &[Bytes],
        pipeline: &mut Pipeline,
        shared: &Shared,
    ) {
        let word = if kind == Kind::Channel { "subscribe" } else { "psubscribe" };
        let subscriptions_max = shared.settings.subscriptions_max;
        let mut answers = BytesMut::new();
        for name in names {
            match shared.channels.subscribe(kind, name, &self.client, subscriptions_max) {
                Ok(counts) => {
                    self.subscriptions = counts;
                    self.confirm(word, Reply::Bulk(name.clone()), &mut answers);
                }
                Err(why) => {
                    let refusal = why.refusal(subscriptions_max);
                    shared.metrics.count_error(refusal.line());
                    if !self.is_silent() {
                        encode(&Reply::Error(refusal), self.protocol, &mut answers);
                    }
                }
            }
        }
        pipeline.encoded(self.protocol, entry, answers);
    }

    fn unsubscribe(
        &mut self,
        entry: &'static Entry,
        kind: Kind,
        names: &[Bytes],
        pipeline: &mut Pipeline,
        shared: &Shared,
    ) {
        let word = if kind == Kind::Channel { "unsubscribe" } else { "punsubscribe" };
        let id = self.client.id;
        let all = if names.is_empty() { shared.channels.names(kind, id) } else { names.to_vec() };
        let mut answers = BytesMut::new();
        if all.is_empty() {
            self.confirm(word, Reply::Null, &mut answers);
        }
        for name in all {
            self.subscriptions = shared.channels.unsubscribe(kind, &name, id);
            if self.subscriptions.sum() == 0 && !self.client.is_monitor.load(Ordering::Relaxed) {
                // What has come and is not sent yet would be taken for a reply.
                self.client.outbox.clear();
            }
            self.confirm(word, Reply::Bulk(name), &mut answers);
        }
        pipeline.encoded(self.protocol, entry, answers);
    }

    /// Written down at once: a request may name a million channels, and as replies they would take many times the room.
    fn confirm(&self, word: &'static str, name: Reply, answers: &mut BytesMut) {
        let count = Reply::Integer(self.subscriptions.sum() as i64);
        encode(&Reply::Push(vec![Reply::bulk(word), name, count]), self.protocol, answers);
    }
}

/// What a client may send in RESP2 while it has subscriptions: there, a reply cannot be told from a message.
fn acts_while_subscribed(name: &str) -> bool {
    matches!(name, "subscribe" | "psubscribe" | "unsubscribe" | "punsubscribe" | "ping" | "quit" | "reset")
}

/// What is done at once even while MULTI gathers.
fn acts_inside_multi(name: &str) -> bool {
    matches!(name, "watch" | "quit" | "reset")
}

/// Brings a request into the core's form, and says what is to be done with its reply.
fn prepare(entry: &Entry, request: &mut Request, shared: &Shared) -> Result<After, Refusal> {
    let Some(first) = request.args.first_mut() else { return Ok(After::Plain) };
    match entry.treatment {
        Treatment::Plain => Ok(After::Plain),
        Treatment::Scan => {
            *first = shared.cursors.to_core(first)?;
            Ok(After::Scan)
        }
        Treatment::Publish if events::is_reserved(first) => Err(events::RESERVED),
        Treatment::Publish if pubsub::is_too_long(first) => Err(pubsub::CHANNEL_TOO_LONG),
        Treatment::Publish => Ok(After::Publish(first.clone())),
    }
}

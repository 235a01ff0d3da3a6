//! One connection: read, take every complete request, one call of the database, the replies in order, one flush.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use talon_core::{Administer, Call, Consistency, Database, Denied, Flag, Outcome, Refusal, Reply};
use talon_resp::{ProtocolError, RequestDecoder, encode, encode_error_line};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_util::io::poll_read_buf;

use super::clients::Client;
use super::cross_protocol;
use super::deferred::{Deferred, Settled};
use super::denied::is_sent_again;
use super::latency::Event;
use super::metrics::add;
use super::notices::Notice;
use super::outbox::Message;
use super::pipeline::Pipeline;
use super::session::{self, Choices, Session, Shared};
use super::{snapshot, topology};

/// The read buffer's usual size.
const READ_BYTES: usize = 16 * 1024;
/// Less room than this is not worth a read.
const READ_BYTES_MIN: usize = 4 * 1024;
/// A write buffer that grew beyond this is given back.
const WRITE_BYTES_KEPT: usize = 256 * 1024;
/// A batch begins with at most so many calls. Replies can be far larger than requests, and only the last batch tells.
const BATCH_CALLS_FIRST: usize = 64;
/// A batch with more reply bytes than this makes the next one smaller.
const BATCH_REPLY_BYTES: usize = 4 * 1024 * 1024;
/// A longer time is as good as none, and clocks cannot count for ever.
const IDLE_S_MAX: u64 = 1 << 32;
/// About so many bytes of messages are sent at once.
const PUSH_BYTES: usize = 256 * 1024;
/// How much is read ahead of a client that has not said who it is, as in Redis.
const UNAUTHENTICATED_QUERY_BYTES_MAX: usize = 1024 * 1024;
/// For so long, what comes behind a refused call counts as sent before its client could know. It is a bound for clients that
/// send without a pause: their pipelines have no end.
const REFUSED_MAX: Duration = Duration::from_millis(100);
/// A client that hangs up while a write of its own is carried out is waited for no longer than this: what is proposed has its answer by
/// then, and what is held because nobody leads must not be carried out behind its back, for it will send it again. (One that only says
/// that it sends nothing more looks the same.)
const HUNG_UP_MAX: Duration = Duration::from_millis(250);
/// How much is read ahead while a write is carried out: enough to see that a client has hung up that waits for the answer. Who goes on sending
/// is kept waiting.
const READ_AHEAD_BYTES: usize = 64 * 1024;
/// How long a refused client may take to read why.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// How much a refused client may still send.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

const UNBLOCKED: Refusal = Refusal::new("UNBLOCKED client unblocked via CLIENT UNBLOCK");

/// Why a connection ends.
enum End {
    /// The client has gone, or was told everything it will be told.
    Done,
    /// The client was told of an error while it may still be sending.
    Refused,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        // A broken connection is its client's business; nobody else has to know.
        End::Done
    }
}

/// What came of sending and reading at the same time.
enum Exchange {
    Written(usize),
    Read(usize),
    Stalled,
    Killed,
}

/// What came first: the end of what is waited for, or more from the client.
enum Meanwhile<T> {
    Done(T),
    Read(usize),
}

/// How long a client that hangs up is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Until what it asked for is done.
    Whole,
    /// No longer than [`HUNG_UP_MAX`].
    Short,
    /// Not at all.
    None,
}

/// A timer whose deadline moves with every wait. It is not set again before it has fired, for most clients send long before.
#[derive(Default)]
struct IdleTimer(Option<Pin<Box<Sleep>>>);

impl IdleTimer {
    fn is_over(&mut self, deadline: Instant, context: &mut Context<'_>) -> bool {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(context).is_ready() {
            if timer.deadline() >= deadline {
                return true;
            }
            timer.as_mut().reset(deadline);
        }
        false
    }
}

/// `S` is the stream: a TCP socket, or what stands for one.
pub(crate) struct Connection<D, S> {
    stream: S,
    database: Arc<D>,
    shared: Arc<Shared>,
    client: Arc<Client>,
    session: Session,
    /// This node led at some time since the client connected, so the client takes its answers for the leader's.
    met_leader: bool,
    decoder: RequestDecoder,
    input: BytesMut,
    output: BytesMut,
    pipeline: Pipeline,
    batch_calls_max: usize,
    /// What the client had chosen when the batch began: what it chooses in the batch is for what comes behind.
    choices: Choices,
    /// Why a call of this pipeline was refused that the client sends again, and when.
    refused: Option<(Denied, Instant)>,
    /// The last read took as much as there was room for, so there may be more of the same pipeline.
    filled: bool,
    /// The client sends nothing more.
    ended: bool,
    idle_timer: IdleTimer,
    broken: Option<ProtocolError>,
    /// When the batch began.
    begun: Instant,
    /// The client speaks HTTP: it gets no answer any more.
    aborted: bool,
}

impl<D: Database + Administer, S: AsyncRead + AsyncWrite + Unpin> Connection<D, S> {
    pub fn new(stream: S, database: Arc<D>, shared: Arc<Shared>, client: Arc<Client>) -> Connection<D, S> {
        let session = Session::new(client.clone(), &shared.settings);
        let choices = session.choices;
        let batch_calls_max = BATCH_CALLS_FIRST.min(shared.settings.pipeline_calls_max).max(1);
        Connection {
            stream,
            database,
            shared,
            client,
            session,
            met_leader: false,
            decoder: RequestDecoder::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            pipeline: Pipeline::default(),
            batch_calls_max,
            choices,
            refused: None,
            filled: false,
            ended: false,
            idle_timer: IdleTimer::default(),
            broken: None,
            begun: Instant::now(),
            aborted: false,
        }
    }

    /// Serves the connection to its end.
    pub async fn run(mut self) {
        self.has_met_leader();
        if let Err(End::Refused) = self.serve().await {
            linger(&mut self.stream).await;
        }
    }

    async fn serve(&mut self) -> Result<(), End> {
        loop {
            while self.plan() {
                self.carry_out().await?;
                if self.session.closing {
                    return Err(End::Done);
                }
            }
            if self.aborted {
                return Err(End::Done);
            }
            if self.client.notices.take(Notice::Push) {
                Box::pin(self.push()).await?;
            }
            if let Some(error) = self.broken {
                add(&self.shared.metrics.protocol_errors, 1);
                tracing::debug!(client = self.client.id, %error, "a client does not speak RESP");
                encode_error_line(&error.line(), &mut self.output);
                self.flush().await?;
                return Err(End::Refused);
            }
            if self.ended || self.client.notices.is_ending() || self.is_demoted() {
                return Err(End::Done);
            }
            if self.input.len() + self.decoder.held_bytes() > self.query_bytes_max() {
                add(&self.shared.metrics.connections_cut, 1);
                tracing::warn!(client = self.client.id, "a client's request does not end; cutting it off");
                return Err(End::Done);
            }
            if self.has_taken_all() {
                self.refused = None;
            }
            self.read().await?;
        }
    }

    /// How much may be read ahead.
    fn query_bytes_max(&self) -> usize {
        let bytes_max = self.shared.tunables.query_bytes_max.load(Ordering::Relaxed);
        if self.session.authenticated { bytes_max } else { bytes_max.min(UNAUTHENTICATED_QUERY_BYTES_MAX) }
    }

    /// Whether the pipeline has ended, as far as can be seen.
    fn has_taken_all(&self) -> bool {
        self.input.is_empty() && !self.filled && self.decoder.held_bytes() == 0 && !self.decoder.has_reserved()
    }

    /// Whether this node lost leadership and the client has to find the new leader. Clients that read from replicas stay, and those that
    /// listen: they are told of it.
    fn is_demoted(&mut self) -> bool {
        let stays = self.session.choices.readonly || self.only_listens();
        let leaves = self.client.notices.take(Notice::Demotion) && !stays;
        if leaves {
            add(&self.shared.metrics.connections_demoted, 1);
        }
        leaves
    }

    /// Whether it is sent what it has not asked for, and so may be silent itself.
    fn only_listens(&self) -> bool {
        self.session.subscriptions.sum() > 0 || self.client.is_monitor.load(Ordering::Relaxed)
    }

    /// Takes complete requests out of the read buffer, up to the bounds of a batch; `false` = there are none.
    fn plan(&mut self) -> bool {
        let settings = &self.shared.settings;
        let database = &self.database;
        let status = || database.status();
        self.choices = self.session.choices;
        while self.pipeline.len() < self.batch_calls_max
            && self.session.choices == self.choices
            && self.pipeline.ready_bytes() < BATCH_REPLY_BYTES
            && self.pipeline.call_bytes() < settings.pipeline_bytes_max
            && !self.pipeline.is_closed()
            && !self.session.closing
            && self.broken.is_none()
            && !self.aborted
        {
            match self.decoder.next(&mut self.input, &self.session.limits(settings)) {
                Ok(Some(words)) if cross_protocol::is_http(&words.name) => {
                    if self.shared.http_alarm.raise().is_some() {
                        tracing::warn!(
                            address = %self.client.address,
                            "possible security attack: somebody sends POST or Host: to the port for Redis clients. This is likely \
                             an attempt at cross-protocol scripting. Connection aborted."
                        );
                    }
                    self.aborted = true;
                }
                Ok(Some(words)) => {
                    if self.pipeline.is_empty() {
                        self.begun = Instant::now();
                    }
                    self.session.take(words, &mut self.pipeline, &self.shared, &status);
                }
                Ok(None) => break,
                Err(error) => self.broken = Some(error),
            }
        }
        !self.pipeline.is_empty()
    }

    async fn carry_out(&mut self) -> Result<(), End> {
        if self.shared.pause.holds(self.pipeline.writes()) {
            Box::pin(self.wait_for_the_end_of_the_pause()).await?;
        }
        let mut begun = self.begun;
        if self.pipeline.has_batch() {
            let calls = self.pipeline.take_calls();
            let outcomes = self.execute(calls).await?;
            self.answer(outcomes, begun).await?;
            begun = Instant::now();
        }
        let Some(deferred) = self.pipeline.take_deferred() else { return Ok(()) };
        let (writes, ordered) = (deferred.is_write(), deferred.is_ordered());
        let settled = match self.refusing() {
            Some(denied) if ordered => Err(denied).into(),
            // Rare, and large: on the heap, as what else is rare here.
            _ => Box::pin(self.settle(deferred)).await?,
        };
        let outcome = match settled {
            Settled::Outcome(outcome) => {
                if ordered {
                    self.note_refusal(std::iter::once(&outcome));
                }
                if writes && outcome.is_ok() {
                    self.has_written();
                }
                outcome
            }
            Settled::Watching(watch) => {
                self.session.watches.push(watch);
                Ok(Reply::Ok)
            }
            Settled::Using(snapshot) => {
                self.session.choices.snapshot = snapshot;
                Ok(Reply::Ok)
            }
            Settled::Now(answer, args) => {
                let status = self.database.status();
                let mut context = session::Context { session: &mut self.session, shared: &self.shared, status };
                Ok(answer(&mut context, &args).unwrap_or_else(Reply::Error))
            }
        };
        self.answer(vec![outcome], begun).await
    }

    /// Answers everything in the pipeline, with these outcomes of its calls.
    async fn answer(&mut self, outcomes: Vec<Outcome>, begun: Instant) -> Result<(), End> {
        let ended = Instant::now();
        let took = ended - begun;
        self.judge(took);
        self.has_met_leader();
        let database = &self.database;
        let whole = self.pipeline.encode(outcomes, took, &self.shared, &|| database.status(), &mut self.output);
        self.session.query_bytes = self.input.len();
        self.session.describe(ended);
        let settings = &self.shared.settings;
        if self.output.len() > self.shared.tunables.output_bytes_max() {
            add(&self.shared.metrics.connections_cut, 1);
            tracing::warn!(client = self.client.id, bytes = self.output.len(), "replies exceed the output limit");
            return Err(End::Done);
        }
        self.batch_calls_max = if self.output.len() > BATCH_REPLY_BYTES {
            (self.batch_calls_max / 2).max(1)
        } else {
            (self.batch_calls_max * 2).min(settings.pipeline_calls_max).max(1)
        };
        if self.aborted {
            return Err(End::Done);
        }
        self.flush().await?;
        if whole { Ok(()) } else { Err(End::Done) }
    }

    /// Writes down a batch that was slow.
    fn judge(&mut self, took: Duration) {
        let Some(culprit) = self.pipeline.culprit.take() else { return };
        let tunables = &self.shared.tunables;
        if tunables.slow_from().is_some_and(|slow| took >= slow) {
            let entries_max = tunables.slowlog_entries_max.load(Ordering::Relaxed);
            self.shared.slowlog.add(&culprit, took, &self.client, entries_max);
        }
        if tunables.latency_from().is_some_and(|long| took >= long) {
            let fast = culprit.entry.facts().flags.contains(&Flag::Fast);
            self.shared.latency.add(if fast { Event::FastCommand } else { Event::Command }, took);
        }
    }

    /// Waits as CLIENT PAUSE wants it. The end of the server is not held up by it; a client that leaves takes its commands with it.
    async fn wait_for_the_end_of_the_pause(&mut self) -> Result<(), End> {
        let (client, shared, writes) = (self.client.clone(), self.shared.clone(), self.pipeline.writes());
        let over = async move {
            let over = shared.pause.over(writes);
            tokio::pin!(over);
            poll_fn(|context| {
                if over.as_mut().poll(context).is_ready()
                    || client.notices.poll_any(context) && client.notices.has(Notice::Shutdown)
                {
                    return Poll::Ready(());
                }
                Poll::Pending
            })
            .await;
        };
        self.wait_for(over, Patience::None).await?;
        // It was not slow, it was made to wait.
        self.begun = Instant::now();
        Ok(())
    }

    /// Carries out what comes behind a batch.
    async fn settle(&mut self, deferred: Deferred) -> Result<Settled, End> {
        let (is_mere_wait, writes) = (deferred.is_mere_wait(), deferred.is_write());
        if is_mere_wait || deferred.is_about_the_leader() {
            // What is waited for on purpose is not slow.
            self.pipeline.culprit.take();
        }
        if is_mere_wait {
            self.client.begin_waiting();
        }
        let consistency = self.effective_consistency();
        let work = deferred.carry_out(self.database.clone(), self.shared.clone(), self.client.clone(), consistency);
        let patience = match is_mere_wait {
            true => Patience::None,
            false if writes => Patience::Short,
            false => Patience::Whole,
        };
        let settled = self.wait_for(work, patience).await?;
        let unblocked = is_mere_wait && self.client.end_waiting();
        Ok(if unblocked { Ok(Reply::Error(UNBLOCKED)).into() } else { settled })
    }

    /// Waits for something. Meanwhile it goes on reading, to see whether the client is still there.
    async fn wait_for<T>(&mut self, work: impl Future<Output = T>, patience: Patience) -> Result<T, End> {
        tokio::pin!(work);
        let mut patience_ends: Option<Pin<Box<Sleep>>> = None;
        loop {
            match patience {
                Patience::None if self.ended => return Err(End::Done),
                Patience::Short if self.ended && patience_ends.is_none() => {
                    patience_ends = Some(Box::pin(sleep(HUNG_UP_MAX)));
                }
                Patience::Whole | Patience::Short | Patience::None => {}
            }
            let may_read = self.may_read() && (patience != Patience::Short || self.input.len() < READ_AHEAD_BYTES);
            let Connection { stream, input, client, .. } = &mut *self;
            let meanwhile = poll_fn(|context| {
                if let Poll::Ready(done) = work.as_mut().poll(context) {
                    return Poll::Ready(Ok(Meanwhile::Done(done)));
                }
                // A shutdown lets it come to its end; being killed does not.
                if client.notices.poll_any(context) && client.notices.has(Notice::Kill) {
                    return Poll::Ready(Err(End::Done));
                }
                if patience_ends.as_mut().is_some_and(|end| end.as_mut().poll(context).is_ready()) {
                    return Poll::Ready(Err(End::Done));
                }
                if may_read {
                    return poll_read_buf(Pin::new(&mut *stream), context, input)
                        .map(|read| read.map(Meanwhile::Read).map_err(End::from));
                }
                Poll::Pending
            });
            match meanwhile.await? {
                Meanwhile::Done(done) => return Ok(done),
                Meanwhile::Read(count) => self.has_read(count),
            }
        }
    }

    /// Sends messages that the client has subscribed to, a part of them at a time: there may always be more, and in between the client's
    /// own commands have their turn, also those that were read while it was written to.
    async fn push(&mut self) -> Result<(), End> {
        let messages = self.client.outbox.take(PUSH_BYTES);
        if messages.is_empty() {
            return Ok(());
        }
        self.client.notices.raise(Notice::Push);
        for message in &messages {
            match message {
                Message::Reply(reply) => encode(reply, self.session.protocol, &mut self.output),
                Message::Line(line) => self.output.extend_from_slice(line),
            }
        }
        self.flush().await
    }

    /// The database keeps the order within a batch: behind a call that is refused and that the client sends again, the others
    /// are refused, too. This keeps it from batch to batch of one pipeline, as far as the client did not ask for old states.
    async fn execute(&mut self, calls: Vec<Call>) -> Result<Vec<Outcome>, End> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(denied) = self.refusing() {
            return Ok(calls.iter().map(|_| Err(denied.clone())).collect());
        }
        add(&self.shared.metrics.batches, 1);
        if let Some(id) = self.choices.snapshot {
            return Ok(Box::pin(snapshot::execute(&*self.database, &self.shared.settings.snapshots, id, calls)).await);
        }
        let consistency = self.effective_consistency();
        let writes = calls.iter().any(Call::is_write);
        let outcomes = if writes {
            let database = self.database.clone();
            let work = async move { database.execute(calls, consistency).await };
            self.wait_for(work, Patience::Short).await?
        } else {
            self.database.execute(calls, consistency).await
        };
        if writes && outcomes.iter().any(Result::is_ok) {
            self.has_written();
        }
        self.note_refusal(outcomes.iter());
        Ok(outcomes)
    }

    /// Why what comes now is refused: something before it in the same pipeline was.
    fn refusing(&self) -> Option<Denied> {
        let (denied, since) = self.refused.as_ref()?;
        (since.elapsed() < REFUSED_MAX && !self.choices.readonly).then(|| denied.clone())
    }

    fn note_refusal<'a>(&mut self, outcomes: impl Iterator<Item = &'a Outcome>) {
        if let Some(denied) = outcomes.filter_map(|outcome| outcome.as_ref().err()).find(|denied| is_sent_again(denied))
        {
            self.refused = Some((denied.clone(), Instant::now()));
        }
    }

    /// How reads are answered: as the client has chosen, or the node's settings, or else by who leads. Between the loss of leadership
    /// and the end of this connection there is a moment in which a request may still come in: a client that has been talking
    /// to the leader must not be given an old state then. Neither must one whose earlier calls in the same pipeline were refused, nor one
    /// that may have come because this node led until lately.
    fn effective_consistency(&mut self) -> Consistency {
        if let Some(chosen) = self.choices.consistency {
            return chosen;
        }
        match (self.shared.settings.consistency, self.choices.readonly) {
            // The client has asked for a replica's answers, and is not sent to the leader.
            (Consistency::Lease | Consistency::Default, true) => Consistency::Default,
            (Consistency::Default, false) if self.has_met_leader() || self.refused.is_some() => Consistency::Lease,
            (Consistency::Default, false) if topology::led_lately(&self.database.status()) => Consistency::Linearizable,
            (by_settings, _) => by_settings,
        }
    }

    /// What it wrote has been applied here.
    fn has_written(&self) {
        self.client.last_index.store(self.database.applied_index(), Ordering::Relaxed);
    }

    /// Whether this node leads, or has led at some earlier look.
    fn has_met_leader(&mut self) -> bool {
        self.met_leader = self.met_leader || topology::leads(&self.database.status());
        self.met_leader
    }

    async fn read(&mut self) -> Result<(), End> {
        if self.input.capacity() - self.input.len() < READ_BYTES_MIN && !self.decoder.has_reserved() {
            self.input.reserve(READ_BYTES);
        }
        let idle_s = self.shared.tunables.idle_timeout_s.load(Ordering::Relaxed);
        let idle_deadline =
            (idle_s > 0 && !self.only_listens()).then(|| Instant::now() + Duration::from_secs(idle_s.min(IDLE_S_MAX)));
        let Connection { stream, input, client, idle_timer, .. } = self;
        let read = poll_fn(|context| {
            if let Poll::Ready(read) = poll_read_buf(Pin::new(&mut *stream), context, input) {
                return Poll::Ready(read.map(Some).map_err(End::from));
            }
            if client.notices.poll_any(context) {
                return Poll::Ready(Ok(None));
            }
            if idle_deadline.is_some_and(|deadline| idle_timer.is_over(deadline, context)) {
                return Poll::Ready(Err(End::Done));
            }
            Poll::Pending
        });
        // What there is to notice is judged at the top of the loop.
        if let Some(count) = read.await? {
            self.has_read(count);
        }
        Ok(())
    }

    fn has_read(&mut self, count: usize) {
        add(&self.shared.metrics.bytes_in, count);
        add(&self.shared.metrics.reads, 1);
        self.filled = self.input.len() == self.input.capacity();
        self.ended = count == 0;
        self.session.buffer_bytes = self.input.capacity() + self.output.capacity();
    }

    /// Whether there is room for more of what the client sends, while it is waiting for something.
    fn may_read(&self) -> bool {
        !self.ended && self.input.len() + self.decoder.held_bytes() < self.query_bytes_max()
    }

    /// Sends all replies. Meanwhile it goes on reading: a client may send a long pipeline before it reads the first reply.
    async fn flush(&mut self) -> Result<(), End> {
        let mut written = 0;
        // Not made before the client keeps its replies waiting.
        let mut stall: Option<Pin<Box<Sleep>>> = None;
        while written < self.output.len() {
            let may_read = self.may_read();
            let Connection { stream, input, output, client, shared, .. } = &mut *self;
            // One poll for both directions, because not every stream can be split without a lock.
            let exchange = poll_fn(|context| {
                if let Poll::Ready(write) = Pin::new(&mut *stream).poll_write(context, &output[written..]) {
                    return Poll::Ready(write.map(Exchange::Written));
                }
                // Before the read: who only sends is cut off, too.
                let stall = stall.get_or_insert_with(|| Box::pin(sleep(shared.settings.output_stall_max)));
                if stall.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Ok(Exchange::Stalled));
                }
                // A shutdown lets replies go out; being killed does not.
                if client.notices.poll_any(context) && client.notices.has(Notice::Kill) {
                    return Poll::Ready(Ok(Exchange::Killed));
                }
                if may_read {
                    return poll_read_buf(Pin::new(&mut *stream), context, input).map_ok(Exchange::Read);
                }
                Poll::Pending
            });
            match exchange.await? {
                Exchange::Written(0) | Exchange::Killed => return Err(End::Done),
                Exchange::Written(count) => {
                    add(&self.shared.metrics.bytes_out, count);
                    add(&self.shared.metrics.writes, 1);
                    written += count;
                    stall = None;
                }
                Exchange::Read(count) => self.has_read(count),
                Exchange::Stalled => {
                    add(&self.shared.metrics.connections_cut, 1);
                    tracing::warn!(client = self.client.id, "a client does not read its replies; cutting it off");
                    return Err(End::Done);
                }
            }
        }
        if self.output.capacity() > WRITE_BYTES_KEPT {
            self.output = BytesMut::new();
        } else {
            self.output.clear();
        }
        Ok(())
    }
}

/// Lets the client read its error: closing while it is still sending would throw the error away.
pub(crate) async fn linger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let drain = async {
        stream.shutdown().await?;
        let mut scratch = vec![0u8; READ_BYTES];
        let mut total = 0;
        while total < LINGER_BYTES_MAX {
            match stream.read(&mut scratch).await? {
                0 => break,
                count => total += count,
            }
        }
        io::Result::Ok(())
    };
    // Whether it got there is the client's business.
    let _ = timeout(LINGER_MAX, drain).await;
}

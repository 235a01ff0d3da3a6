//! The leader's end of a replication connection: requests out, replies in, both driven by whoever polls the replies. There is no
//! task in between: an entry is written to the socket by openraft's own replication task, and its reply read by it.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures::stream::Fuse;
use futures::{SinkExt, Stream, StreamExt};
use openraft::errors::Unreachable;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use talon_proto::v1;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Sleep};
use tokio_util::codec::{Encoder, Framed};

use super::client::{CONNECT_TIMEOUT, Error, network, undecodable};
use super::convert::{entry_to_wire, log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire};
use super::frames::{Frames, PREFACE, READ_BYTES};
use super::{Link, MESSAGE_BYTES_MAX};
use crate::environment::{Eventually, Sockets, Stream as Connection};
use crate::lease::Sent;
use crate::types::{NodeAddress, TypeConfig, Vote};

/// After a connection that could not be made, or gave no reply at all, the next attempt waits so long. openraft's own backoff begins
/// with the first request of a stream, and one that ends before that would be opened again at once, for ever.
const REOPEN_AFTER: Duration = Duration::from_millis(100);
/// So much may wait to be written before no more requests are taken, bytes.
const WRITE_BYTES: usize = 256 << 10;
/// A write buffer that has grown beyond this is given back once it is empty, bytes.
const KEPT_BYTES: usize = 1 << 20;

type Requests = Frames<v1::AppendRequest, v1::AppendReply>;
type Reply = StreamAppendResult<TypeConfig>;

/// A request under way, and as leader of which term it was sent.
struct UnderWay {
    term: u64,
    sent: Sent,
}

enum State {
    Closed,
    /// Whoever wants to send waits for it, one after the other: a heartbeat gives up long before a slow network has connected.
    Connecting(Eventually<'static, io::Result<Box<dyn Connection>>>),
    Open(Box<Framed<Box<dyn Connection>, Requests>>),
}

/// The connection to one peer: made when first used, kept from one stream of requests to the next, closed by whatever goes wrong.
pub(super) struct Leading {
    id: u64,
    address: NodeAddress,
    link: Arc<Link>,
    sockets: Arc<dyn Sockets>,
    state: State,
    /// No reply has come since the last attempt to connect.
    unheard: bool,
    /// The oldest first; some may belong to a stream that was given up.
    in_flight: VecDeque<UnderWay>,
}

impl Leading {
    pub fn new(id: u64, address: NodeAddress, link: Arc<Link>, sockets: Arc<dyn Sockets>) -> Leading {
        Leading { id, address, link, sockets, state: State::Closed, unheard: false, in_flight: VecDeque::new() }
    }

    /// Sends what comes, and gives the answers in order, until the requests end and all are answered, or something goes wrong.
    ///
    /// # Errors
    /// If the peer cannot be reached.
    pub async fn exchange<'s, S>(
        &'s mut self,
        requests: S,
    ) -> Result<impl Stream<Item = Result<Reply, Error>> + Send + 's, Error>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 's,
    {
        self.connected().await?;
        let stale = self.in_flight.len();
        // Also for what an earlier stream sent: a heartbeat's is over long before.
        let alarm = Box::pin(tokio::time::sleep(self.link.patience(self.in_flight.front().map(|oldest| oldest.sent))));
        let mut exchange = Exchange { leading: self, requests: requests.fuse(), ended: false, stale, alarm };
        Ok(futures::stream::poll_fn(move |context| exchange.poll(context)))
    }

    async fn connected(&mut self) -> Result<(), Error> {
        if matches!(self.state, State::Closed) {
            self.state = State::Connecting(self.connect());
        }
        if let State::Connecting(connecting) = &mut self.state {
            match connecting.await {
                Ok(connection) => {
                    let mut frames = Framed::with_capacity(connection, Requests::new(MESSAGE_BYTES_MAX), READ_BYTES);
                    frames.set_backpressure_boundary(WRITE_BYTES);
                    self.state = State::Open(Box::new(frames));
                }
                Err(error) => {
                    self.close();
                    let address = format!("{}:{}", self.address.host, self.address.raft_port);
                    let why = format!("cannot connect to node {} at {address}: {error}", self.id);
                    self.link.reached(self.id, Err(&why));
                    return Err(Error::Unreachable(Unreachable::from_string(why)));
                }
            }
        }
        Ok(())
    }

    fn connect(&mut self) -> Eventually<'static, io::Result<Box<dyn Connection>>> {
        let wait = if std::mem::replace(&mut self.unheard, true) { REOPEN_AFTER } else { Duration::ZERO };
        let (sockets, host, port) = (self.sockets.clone(), self.address.host.clone(), self.address.raft_port);
        let open = self.link.open(self.id);
        let connecting = async move {
            let mut opening = BytesMut::from(&PREFACE[..]);
            Frames::<v1::AppendOpen, ()>::new(MESSAGE_BYTES_MAX).encode(open, &mut opening)?;
            let mut connection = sockets.connect(host, port).await?;
            connection.write_all(&opening).await?;
            Ok(connection)
        };
        Box::pin(async move {
            tokio::time::sleep(wait).await;
            tokio::time::timeout(CONNECT_TIMEOUT, connecting)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.in_flight.clear();
    }

    /// Takes one reply.
    fn take(&mut self, reply: v1::AppendReply) -> Result<Reply, Error> {
        use v1::append_reply::Result as Answer;
        if let Some(Answer::Refused(why)) = &reply.result {
            if self.link.says_refusal() {
                tracing::warn!(node_id = self.id, reason = why, "refused by a node");
            }
            self.link.reached(self.id, Err(why));
            return Err(Error::Unreachable(Unreachable::from_string(why)));
        }
        let under_way = self.in_flight.pop_front();
        self.unheard = false;
        let UnderWay { term, sent } =
            under_way.ok_or_else(|| network(format!("node {} answered what was not asked", self.id)))?;
        self.link.reached::<&str>(self.id, Ok(()));
        self.link.time.hear(self.id, reply.wall_ms);
        match reply.result {
            Some(Answer::Matched(matched)) => {
                self.link.lease.acknowledged(self.id, term, sent);
                Ok(Ok(matched.log_id.map(log_id_from_wire)))
            }
            Some(Answer::Conflict(conflict)) => {
                self.link.lease.acknowledged(self.id, term, sent);
                Ok(Err(StreamAppendError::Conflict(log_id_from_wire(conflict))))
            }
            Some(Answer::HigherVote(vote)) => {
                let vote: Vote = vote_from_wire(Some(vote)).map_err(undecodable)?;
                Ok(Err(StreamAppendError::HigherVote(vote)))
            }
            Some(Answer::Refused(_)) | None => Err(network(format!("node {} sent an empty answer", self.id))),
        }
    }
}

/// One stream of requests over the connection.
struct Exchange<'s, S: Stream> {
    leading: &'s mut Leading,
    requests: Fuse<S>,
    ended: bool,
    /// How many replies are still to come to requests of an earlier stream.
    stale: usize,
    /// When to look next whether the peer has been silent for too long.
    alarm: Pin<Box<Sleep>>,
}

impl<S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin> Exchange<'_, S> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Reply, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = std::task::ready!(self.poll_next(context)).transpose();
        // After a conflict or a higher vote the peer ends the connection, too.
        self.ended = !matches!(next, Some(Ok(Ok(_))));
        if self.ended && next.is_some() {
            self.leading.close();
        }
        Poll::Ready(next)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Reply>, Error>> {
        loop {
            let leading = &mut *self.leading;
            let State::Open(frames) = &mut leading.state else { return Poll::Ready(Ok(None)) };
            let lost = |error: io::Error| network(format!("the connection to node {} broke: {error}", leading.id));
            let mut broken = None;
            while let Poll::Ready(ready) = frames.poll_ready_unpin(context) {
                broken = ready.err();
                if broken.is_some() {
                    break;
                }
                let Poll::Ready(Some(request)) = self.requests.poll_next_unpin(context) else { break };
                let now = leading.link.time.read();
                let sent = leading.link.lease.sending(now.monotonic_ms);
                leading.in_flight.push_back(UnderWay { term: request.vote.leader_id.term, sent });
                frames.start_send_unpin(to_wire(&request, now.wall_ms)).map_err(lost)?;
            }
            match frames.poll_flush_unpin(context) {
                Poll::Ready(Ok(())) if frames.write_buffer().capacity() > KEPT_BYTES => {
                    *frames.write_buffer_mut() = BytesMut::new();
                }
                Poll::Ready(Err(error)) => broken = Some(error),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if self.requests.is_done() && leading.in_flight.len() == self.stale {
                return Poll::Ready(Ok(None));
            }
            match frames.poll_next_unpin(context).map_err(lost)? {
                Poll::Ready(Some(reply)) => {
                    let reply = leading.take(reply)?;
                    match (self.stale.checked_sub(1), &reply) {
                        // Nobody waits for it any more.
                        (Some(stale), Ok(_)) => self.stale = stale,
                        // It speaks of another request's position; and the peer ends the connection.
                        (Some(_), Err(StreamAppendError::Conflict(_))) => {
                            return Poll::Ready(Err(network(format!("node {} has another log", leading.id))));
                        }
                        // That there is another leader is true of all that come behind it.
                        (Some(_), Err(StreamAppendError::HigherVote(_))) | (None, _) => {
                            return Poll::Ready(Ok(Some(reply)));
                        }
                    }
                }
                // The peer ended it: openraft opens another one.
                Poll::Ready(None) => {
                    leading.close();
                    return Poll::Ready(Ok(None));
                }
                // Only now: the peer may have said why it ended the connection.
                Poll::Pending if let Some(error) = broken => return Poll::Ready(Err(lost(error))),
                Poll::Pending => {
                    std::task::ready!(self.poll_silence(context))?;
                }
            }
        }
    }

    /// Ready when it is time to look again, with an error when the oldest request has waited for too long.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(oldest) = self.leading.in_flight.front() else { return Poll::Pending };
        std::task::ready!(self.alarm.as_mut().poll(context));
        let patience = self.leading.link.patience(Some(oldest.sent));
        if patience.is_zero() {
            let silence_ms_max = self.leading.link.silence_ms_max;
            return Poll::Ready(Err(network(format!(
                "node {} has been silent for {silence_ms_max} ms",
                self.leading.id
            ))));
        }
        self.alarm.as_mut().reset(Instant::now() + patience);
        Poll::Ready(Ok(()))
    }
}

fn to_wire(request: &AppendEntriesRequest<TypeConfig>, wall_ms: u64) -> v1::AppendRequest {
    v1::AppendRequest {
        vote: Some(vote_to_wire(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_to_wire),
        committed: request.leader_commit.as_ref().map(log_id_to_wire),
        entries: request.entries.iter().map(entry_to_wire).collect(),
        wall_ms,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Mutex;
    use std::time::Duration;

    use futures::stream;
    use tokio::io::{AsyncReadExt, DuplexStream};
    use tokio::sync::mpsc;

    use super::*;
    use crate::clock::{Clocks, Reading};
    use crate::environment::{Incoming, Workers};
    use crate::lease::LeaseGuard;
    use crate::timekeeper::Timekeeper;
    use crate::types::{Entry, Payload, log_id};

    /// Time as tokio counts it, so that a paused test is told of it.
    struct TokioClocks(Instant);

    impl Clocks for TokioClocks {
        fn read(&self) -> Reading {
            let ms = u64::try_from(self.0.elapsed().as_millis()).unwrap();
            Reading { monotonic_ms: ms, wall_ms: ms }
        }
    }

    /// Hands the peer's ends out; the first connections fail or hang.
    struct Pipes {
        peers: mpsc::UnboundedSender<DuplexStream>,
        delays: Mutex<VecDeque<Result<Duration, io::ErrorKind>>>,
    }

    impl Sockets for Pipes {
        fn connect(&self, _host: String, _port: u16) -> Eventually<'static, io::Result<Box<dyn Connection>>> {
            let delay = self.delays.lock().unwrap().pop_front().unwrap_or(Ok(Duration::ZERO));
            let (own, other) = tokio::io::duplex(1 << 20);
            let peers = self.peers.clone();
            Box::pin(async move {
                tokio::time::sleep(delay?).await;
                peers.send(other).unwrap();
                Ok(Box::new(own) as Box<dyn Connection>)
            })
        }

        fn listen(&self, _address: SocketAddr) -> Eventually<'static, io::Result<Incoming>> {
            unreachable!("nobody listens here")
        }
    }

    type Answers = Framed<DuplexStream, Frames<v1::AppendReply, v1::AppendRequest>>;

    /// The peer's end of a connection.
    struct Peer(Answers);

    impl Peer {
        async fn of(mut pipe: DuplexStream) -> Peer {
            let mut preface = [0; PREFACE.len()];
            pipe.read_exact(&mut preface).await.unwrap();
            assert_eq!(preface, PREFACE);
            let mut opening = Framed::new(pipe, Frames::<v1::AppendReply, v1::AppendOpen>::new(1000));
            let open = opening.next().await.unwrap().unwrap();
            assert_eq!((open.secret.as_str(), open.node_id, open.target_id), ("secret", 1, 2));
            Peer(opening.map_codec(|_| Frames::new(MESSAGE_BYTES_MAX)))
        }

        /// The index of the next request's entry.
        async fn next(&mut self) -> u64 {
            let request = self.0.next().await.unwrap().unwrap();
            request.entries[0].log_id.as_ref().unwrap().index
        }

        async fn answer(&mut self, result: v1::append_reply::Result) {
            self.0.send(v1::AppendReply { result: Some(result), wall_ms: 1 }).await.unwrap();
        }

        async fn acknowledge(&mut self, index: u64) {
            self.answer(v1::append_reply::Result::Matched(v1::Matched { log_id: Some(v1::LogId { term: 1, index }) }))
                .await;
        }
    }

    fn leading(delays: &[Result<Duration, io::ErrorKind>]) -> (Leading, mpsc::UnboundedReceiver<DuplexStream>) {
        let time = Arc::new(Timekeeper::new(1, Arc::new(TokioClocks(Instant::now()))));
        let lease = Arc::new(LeaseGuard::new(1_000));
        let link = Link::new(1, "secret", "c".into(), time, lease, 5_000, Workers::Inline).unwrap();
        let (peers, arriving) = mpsc::unbounded_channel();
        let sockets = Arc::new(Pipes { peers, delays: Mutex::new(delays.iter().copied().collect()) });
        let address = NodeAddress { host: "peer".into(), raft_port: 8380, ..NodeAddress::default() };
        (Leading::new(2, address, Arc::new(link), sockets), arriving)
    }

    fn request(index: u64) -> AppendEntriesRequest<TypeConfig> {
        AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(log_id(1, index - 1)),
            leader_commit: None,
            entries: std::iter::once(Entry { log_id: log_id(1, index), payload: Payload::Blank }).collect(),
        }
    }

    fn requests(indexes: &[u64]) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + use<> {
        stream::iter(indexes.iter().copied().map(request).collect::<Vec<_>>())
    }

    /// The indexes that were acknowledged, and how it ended.
    async fn outcome(replies: impl Stream<Item = Result<Reply, Error>>) -> (Vec<u64>, Option<String>) {
        let mut replies = std::pin::pin!(replies);
        let mut acknowledged = Vec::new();
        while let Some(reply) = replies.next().await {
            match reply {
                Ok(Ok(position)) => acknowledged.push(position.unwrap().index),
                Ok(Err(why)) => return (acknowledged, Some(why.to_string())),
                Err(why) => return (acknowledged, Some(why.to_string())),
            }
        }
        (acknowledged, None)
    }

    #[tokio::test(start_paused = true)]
    async fn requests_go_at_once_and_the_connection_is_kept() {
        let (mut leading, mut arriving) = leading(&[]);
        let peer = async {
            let mut peer = Peer::of(arriving.recv().await.unwrap()).await;
            assert_eq!((peer.next().await, peer.next().await), (5, 6), "both before the first is answered");
            peer.acknowledge(5).await;
            peer.acknowledge(6).await;
            assert_eq!(peer.next().await, 7);
            peer.acknowledge(7).await;
            peer
        };
        let leader = async {
            let first = outcome(leading.exchange(requests(&[5, 6])).await.unwrap()).await;
            (first, outcome(leading.exchange(requests(&[7])).await.unwrap()).await)
        };
        let (_peer, ends) = tokio::join!(peer, leader);
        assert_eq!(ends, ((vec![5, 6], None), (vec![7], None)));
        assert!(leading.link.lease.acknowledged_since(1, &[vec![1, 2]], 1, 2), "of the third request");
        assert!(arriving.try_recv().is_err(), "one connection");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gave_up_leaves_his_connection_and_his_answers_behind() {
        let (mut leading, mut arriving) = leading(&[Ok(Duration::from_millis(150))]);
        let wait = Duration::from_millis(100);
        let peer = async {
            let mut peer = Peer::of(arriving.recv().await.unwrap()).await;
            assert_eq!(peer.next().await, 6);
            tokio::time::sleep(2 * wait).await;
            peer.acknowledge(6).await;
            assert_eq!(peer.next().await, 7);
            peer.acknowledge(7).await;
            peer
        };
        let leader = async {
            assert!(tokio::time::timeout(wait, leading.exchange(requests(&[5]))).await.is_err(), "not connected yet");
            let second = async { outcome(leading.exchange(requests(&[6])).await.unwrap()).await };
            assert!(tokio::time::timeout(wait, second).await.is_err(), "not answered in time");
            outcome(leading.exchange(requests(&[7])).await.unwrap()).await
        };
        let (_peer, end) = tokio::join!(peer, leader);
        assert_eq!(end, (vec![7], None));
        assert!(arriving.try_recv().is_err(), "one connection");
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_that_comes_too_late_is_nobody_elses() {
        let (mut leading, mut arriving) = leading(&[]);
        let wait = Duration::from_millis(100);
        let peer = async {
            let mut peer = Peer::of(arriving.recv().await.unwrap()).await;
            assert_eq!(peer.next().await, 5);
            tokio::time::sleep(2 * wait).await;
            peer.answer(v1::append_reply::Result::Conflict(v1::LogId { term: 1, index: 4 })).await;
            let mut peer = Peer::of(arriving.recv().await.unwrap()).await;
            assert_eq!(peer.next().await, 7);
            peer.acknowledge(7).await;
            peer
        };
        let leader = async {
            let first = async { outcome(leading.exchange(requests(&[5])).await.unwrap()).await };
            assert!(tokio::time::timeout(wait, first).await.is_err(), "not answered in time");
            let (none, why) = outcome(leading.exchange(requests(&[6])).await.unwrap()).await;
            assert!(none.is_empty() && why.unwrap().contains("another log"));
            outcome(leading.exchange(requests(&[7])).await.unwrap()).await
        };
        let (_peer, end) = tokio::join!(peer, leader);
        assert_eq!(end, (vec![7], None));
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_at_once_is_not_called_without_a_pause() {
        let (mut leading, mut arriving) = leading(&[]);
        let started = Instant::now();
        let peer = async {
            for _ in 0..10 {
                drop(arriving.recv().await.unwrap());
            }
        };
        let leader = async {
            for _ in 0..10 {
                let _ = outcome(leading.exchange(requests(&[5])).await.unwrap()).await;
            }
        };
        tokio::join!(peer, leader);
        assert!(started.elapsed() >= 9 * REOPEN_AFTER, "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_goes_wrong_ends_the_connection_and_the_next_one_is_new() {
        let (mut leading, mut arriving) = leading(&[Err(io::ErrorKind::ConnectionRefused)]);
        let peer = async {
            // Refused.
            let mut peer = Peer::of(arriving.recv().await.unwrap()).await;
            peer.answer(v1::append_reply::Result::Refused("this is node 3".into())).await;
            assert!(peer.0.next().await.unwrap().is_ok_and(|_| true));
            assert!(peer.0.next().await.is_none());
            // Acknowledged, then a conflict.
            let mut peer = Peer::of(arriving.recv().await.unwrap()).await;
            assert_eq!(peer.next().await, 5);
            peer.acknowledge(5).await;
            peer.answer(v1::append_reply::Result::Conflict(v1::LogId { term: 1, index: 6 })).await;
            // More answers than requests.
            let mut peer = Peer::of(arriving.recv().await.unwrap()).await;
            peer.acknowledge(8).await;
            peer.acknowledge(8).await;
            // Gone without a word.
            drop(Peer::of(arriving.recv().await.unwrap()).await);
            // Silent.
            let mut peer = Peer::of(arriving.recv().await.unwrap()).await;
            let started = Instant::now();
            while peer.0.next().await.is_some() {}
            assert_eq!(started.elapsed().as_millis(), 5_000);
        };
        let leader = async {
            let unreachable = leading.exchange(requests(&[5])).await.err().unwrap().to_string();
            assert!(unreachable.contains("cannot connect to node 2 at peer:8380"), "{unreachable}");
            let (none, why) = outcome(leading.exchange(requests(&[5])).await.unwrap()).await;
            assert!(none.is_empty() && why.unwrap().contains("this is node 3"));
            let (one, why) = outcome(leading.exchange(requests(&[5, 6])).await.unwrap()).await;
            assert_eq!(one, [5]);
            assert!(why.unwrap().to_lowercase().contains("conflict"));
            let waiting = requests(&[8]).chain(stream::pending());
            let (one, why) = outcome(leading.exchange(waiting).await.unwrap()).await;
            assert_eq!(one, [8]);
            assert!(why.unwrap().contains("answered what was not asked"));
            assert_eq!(outcome(leading.exchange(requests(&[9])).await.unwrap()).await, (vec![], None));
            let (none, why) = outcome(leading.exchange(requests(&[9])).await.unwrap()).await;
            assert!(none.is_empty() && why.unwrap().contains("silent for 5000 ms"));
        };
        tokio::join!(peer, leader);
    }
}

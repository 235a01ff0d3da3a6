//! The follower's end of a replication connection: what arrives is handed to openraft, what that answers goes back in order.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures::{SinkExt, Stream, StreamExt};
use openraft::raft::{AppendEntriesRequest, StreamAppendError};
use talon_proto::v1;
use talon_proto::v1::append_reply::Result as Answer;
use tokio_util::codec::{FramedRead, FramedWrite};

use super::convert::{entry_from_wire, log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire};
use super::door::SHOW_TIMEOUT;
use super::frames::{Frames, READ_BYTES};
use super::{Gate, Link, MESSAGE_BYTES_MAX, Received};
use crate::environment::Stream as Connection;
use crate::state::Raft;
use crate::types::{DecodeError, Payload, TypeConfig};

/// How long the first message may be: it comes from who may be a stranger.
const OPEN_BYTES_MAX: usize = 16 << 10;

/// What the answering needs to know.
#[derive(Clone)]
pub(super) struct Following {
    pub raft: Raft,
    pub link: Arc<Link>,
    pub gate: Arc<dyn Gate>,
}

impl Following {
    /// Answers one connection, from behind its preface to its end.
    ///
    /// # Errors
    /// If it breaks.
    pub async fn answer(self, connection: Box<dyn Connection>) -> io::Result<()> {
        let (arriving, leaving) = tokio::io::split(connection);
        let opening = Frames::<v1::AppendReply, v1::AppendOpen>::new(OPEN_BYTES_MAX);
        let mut arriving = FramedRead::new(arriving, opening);
        let mut leaving = FramedWrite::new(leaving, Frames::<v1::AppendReply, ()>::new(MESSAGE_BYTES_MAX));
        let open = tokio::time::timeout(SHOW_TIMEOUT, arriving.next()).await?;
        let Some(open) = open.transpose()? else { return Ok(()) };
        if let Err(why) = self.admit(&open) {
            return leaving.send(self.reply(Answer::Refused(why))).await;
        }
        let mut arriving = arriving.map_decoder(|_| Frames::<(), v1::AppendRequest>::new(MESSAGE_BYTES_MAX));
        arriving.read_buffer_mut().reserve(READ_BYTES);
        self.follow(open.node_id, arriving).map(Ok).forward(leaving).await
    }

    /// Checks who asks, and joins its cluster if this node has none.
    fn admit(&self, open: &v1::AppendOpen) -> Result<(), String> {
        self.link.admit_opening(open).map_err(|status| status.message().to_owned())?;
        self.link.join(&*self.gate, &open.cluster_id)
    }

    fn reply(&self, answer: Answer) -> v1::AppendReply {
        v1::AppendReply { result: Some(answer), wall_ms: self.link.time.wall_ms() }
    }

    /// The replies to the requests of node `from`, in order; they end where this node can say no more.
    fn follow(
        &self,
        from: u64,
        requests: impl Stream<Item = io::Result<v1::AppendRequest>> + Send + 'static,
    ) -> impl Stream<Item = v1::AppendReply> {
        // What the leader had committed, by request: it counts once the request is accepted.
        let asked: Arc<Mutex<VecDeque<Option<u64>>>> = Arc::default();
        // Said at once: the answers to what came before wait for the disk, and are no sign of life any more.
        let gone = Arc::new(AtomicBool::new(false));
        let hang_up = {
            let (gate, gone) = (self.gate.clone(), gone.clone());
            move || {
                gone.store(true, Ordering::Release);
                gate.left(from);
            }
        };
        let hang_up_at_end = hang_up.clone();
        let requests = requests.chain(futures::stream::poll_fn(move |_| {
            hang_up_at_end();
            Poll::Ready(None)
        }));
        let (link, taking, asking) = (self.link.clone(), self.gate.clone(), asked.clone());
        // A message that cannot be read ends the stream: nothing behind it may be taken.
        let requests = requests.scan((), move |(), message| {
            let message = message.inspect_err(|_| hang_up());
            let request = message.map_err(|error| error.to_string()).and_then(|message| {
                link.time.hear(from, message.wall_ms);
                from_wire(message).map_err(|error| error.to_string())
            });
            // What is not taken is not acknowledged either: the leader tries again. It is heard all the same. A new leader's first entry
            // is always taken: without it, nobody could lead and answer reads.
            let request = match request {
                Ok(request) if has_calls(&request) && !taking.takes_entries() => Err("the disk is full".to_owned()),
                request => request,
            };
            let request = request.inspect_err(|why| tracing::debug!(from, why, "a replication stream ended")).ok();
            if let Some(request) = &request {
                let committed = request.leader_commit.map(|log_id| log_id.index);
                asking.lock().unwrap_or_else(PoisonError::into_inner).push_back(committed);
            }
            std::future::ready(request)
        });
        tokio_stream::StreamExt::map_while(self.raft.stream_append(requests), move |result| {
            let committed_index = asked.lock().unwrap_or_else(PoisonError::into_inner).pop_front().flatten();
            let result =
                result.inspect_err(|error| tracing::debug!(from, %error, "this node's raft has stopped")).ok()?;
            if !matches!(result, Err(StreamAppendError::HigherVote(_))) && !gone.load(Ordering::Acquire) {
                self.gate.heard(Received { committed_index });
            }
            Some(self.reply(match result {
                Ok(matched) => Answer::Matched(v1::Matched { log_id: matched.as_ref().map(log_id_to_wire) }),
                Err(StreamAppendError::Conflict(conflict)) => Answer::Conflict(log_id_to_wire(&conflict)),
                Err(StreamAppendError::HigherVote(vote)) => Answer::HigherVote(vote_to_wire(&vote)),
            }))
        })
    }
}

fn has_calls(request: &AppendEntriesRequest<TypeConfig>) -> bool {
    request.entries.iter().any(|entry| matches!(entry.payload, Payload::Normal(_)))
}

fn from_wire(message: v1::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, DecodeError> {
    Ok(AppendEntriesRequest {
        vote: vote_from_wire(message.vote)?,
        prev_log_id: message.previous.map(log_id_from_wire),
        leader_commit: message.committed.map(log_id_from_wire),
        entries: message.entries.into_iter().map(entry_from_wire).collect::<Result<_, _>>()?,
    })
}

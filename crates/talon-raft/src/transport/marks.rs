//! What openraft sends as soon as an entry is committed: a request without entries, only to say so. Under load the next entry comes
//! at once and says it as well, so such a request waits a moment for it. That is one message less an entry and follower, its
//! answer, and what they wake on both sides: a third of what an entry costs a follower.

use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use openraft::raft::AppendEntriesRequest;
use tokio::time::Instant;

use crate::types::TypeConfig;

/// How long a follower may learn later that an entry is committed, and so show it later, while nothing else is written.
const WAIT: Duration = Duration::from_millis(5);

type Request = AppendEntriesRequest<TypeConfig>;

/// The same requests, less those that the next one makes needless: it comes from the same leader, follows the same entry, and knows of
/// at least as many commits.
pub(super) fn with_entries(requests: impl Stream<Item = Request> + Unpin) -> impl Stream<Item = Request> {
    stream::unfold(requests.fuse(), |mut requests| async {
        let mut request = requests.next().await?;
        let until = Instant::now() + WAIT;
        while request.entries.is_empty()
            // The end comes at once behind a request that openraft waits for, such as a probe.
            && let Ok(Some(next)) = tokio::time::timeout_at(until, requests.next()).await
        {
            request = next;
        }
        Some((request, requests))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Entry, Payload, Vote, log_id};

    fn request(committed: u64, entry: Option<u64>) -> Request {
        let entries = entry.map(|index| Entry { log_id: log_id(1, index), payload: Payload::Blank });
        AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(log_id(1, 4)),
            leader_commit: Some(log_id(1, committed)),
            entries: entries.into_iter().collect(),
        }
    }

    fn summary(request: &Request) -> (Option<u64>, usize) {
        (request.leader_commit.map(|position| position.index), request.entries.len())
    }

    #[tokio::test]
    async fn a_mark_travels_with_the_next_entry_or_soon_alone() {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let receiver = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
        let mut requests = Box::pin(with_entries(receiver));
        sender.send(request(3, None)).unwrap();
        sender.send(request(4, None)).unwrap();
        sender.send(request(4, Some(5))).unwrap();
        assert_eq!(summary(&requests.next().await.unwrap()), (Some(4), 1));
        let started = tokio::time::Instant::now();
        sender.send(request(5, None)).unwrap();
        assert_eq!(summary(&requests.next().await.unwrap()), (Some(5), 0));
        assert!(started.elapsed() >= WAIT);
        sender.send(request(6, None)).unwrap();
        drop(sender);
        assert_eq!(summary(&requests.next().await.unwrap()), (Some(6), 0));
        assert!(requests.next().await.is_none());
    }
}

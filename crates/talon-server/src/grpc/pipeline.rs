//! The bidirectional `Pipeline`: what has arrived is carried out as one pipeline of the database, answered in order, and only then is more
//! taken in. So what one stream holds in memory is bounded, and a client that sends faster than it is served is slowed
//! down by gRPC's flow control.

use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use talon_core::{Call, Consistency, Database, Denied, Outcome, Refusal, Reply};
use talon_proto::v1;
use talon_proto::v1::pipeline_request::Call as PipelineCall;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::door::{self, Door};
use super::reply::to_outcome;
use super::status::{self, Fate};

/// How many answers may wait for the client to read them, besides those of the batch in hand.
const ANSWERS_MAX: usize = 16;

/// The answers to a stream of requests.
pub(super) type Answers = ReceiverStream<Result<v1::PipelineResponse, Status>>;

/// One request, read as far as it can be without the data.
struct Item {
    id: u64,
    consistency: Consistency,
    /// What to carry out, or what to answer at once.
    call: Result<Call, Outcome>,
}

/// Serves a stream of requests; it ends with the stream, or when its client no longer reads.
pub(super) fn run<D: Database>(door: Arc<Door<D>>, requests: Streaming<v1::PipelineRequest>) -> Answers {
    let (answers, stream) = mpsc::channel(ANSWERS_MAX);
    tokio::spawn(async move {
        if let Err(status) = serve(&door, requests, &answers).await {
            // If it cannot be told, nobody is there any more.
            let _ = answers.send_timeout(Err(status), door.settings.stream_idle()).await;
        }
    });
    ReceiverStream::new(stream)
}

async fn serve<D: Database>(
    door: &Door<D>,
    mut requests: Streaming<v1::PipelineRequest>,
    answers: &mpsc::Sender<Result<v1::PipelineResponse, Status>>,
) -> Result<(), Status> {
    loop {
        let first = tokio::select! {
            first = requests.next() => first,
            () = door.stopping.cancelled() => {
                // All that was taken in has been answered, and nothing else was carried out.
                return Err(status::status(Code::Unavailable, Fate::NotApplied, "SHUTDOWN this node is going down"));
            }
            () = answers.closed() => return Ok(()),
        };
        let Some(first) = first else { return Ok(()) };
        let mut batch = vec![read(door, first?)];
        let mut bytes = size_bytes(&batch[0]);
        let mut end = None;
        while batch.len() < door.settings.pipeline_calls_max && bytes < door.settings.pipeline_bytes_max {
            match requests.next().now_or_never() {
                Some(Some(Ok(request))) => {
                    let item = read(door, request);
                    bytes += size_bytes(&item);
                    batch.push(item);
                }
                // What came before the end is still carried out and answered.
                Some(Some(Err(broken))) => {
                    end = Some(Err(broken));
                    break;
                }
                Some(None) => {
                    end = Some(Ok(()));
                    break;
                }
                None => break,
            }
        }
        for response in carry_out(door, batch).await {
            let sent = answers.send_timeout(Ok(response), door.settings.stream_idle()).await;
            if sent.is_err() {
                return Ok(());
            }
        }
        if let Some(end) = end {
            return end;
        }
    }
}

fn size_bytes(item: &Item) -> usize {
    item.call.as_ref().map_or(0, Call::size_bytes)
}

fn read<D: Database>(door: &Door<D>, request: v1::PipelineRequest) -> Item {
    let refused = |refusal: Refusal| Ok(Reply::Error(refusal));
    let consistency = door.consistency(request.consistency, request.max_staleness_ms);
    let call = match request.call {
        Some(PipelineCall::Command(command)) => door::parse(command.words).map(Call::One).map_err(refused),
        Some(PipelineCall::Transaction(transaction)) => {
            door::parse_all(transaction.commands).map(Call::Transaction).map_err(refused)
        }
        None => Err(refused(Refusal::new("ERR a request without a command"))),
    };
    let call = call.and_then(|call| match (&consistency, door.check_size(&call)) {
        (Err(status), _) => Err(refused(Refusal::from_string(status.message().to_owned()))),
        (_, Err(denied)) => Err(Err(denied)),
        (Ok(_), Ok(())) => Ok(call),
    });
    Item { id: request.id, consistency: consistency.unwrap_or_default(), call }
}

/// Carries a batch out, each run of equal consistency as one pipeline of the database.
async fn carry_out<D: Database>(door: &Door<D>, batch: Vec<Item>) -> Vec<v1::PipelineResponse> {
    let deadline = Instant::now() + door.settings.request_time();
    let mut responses = Vec::with_capacity(batch.len());
    let mut batch = batch.into_iter().peekable();
    while let Some(first) = batch.next() {
        let consistency = first.consistency;
        let mut run = vec![first];
        while let Some(item) = batch.next_if(|item| item.consistency == consistency) {
            run.push(item);
        }
        let mut calls = Vec::with_capacity(run.len());
        let places: Vec<(u64, Option<Outcome>)> = run
            .into_iter()
            .map(|item| match item.call {
                Ok(call) => {
                    calls.push(call);
                    (item.id, None)
                }
                Err(outcome) => (item.id, Some(outcome)),
            })
            .collect();
        let outcomes = if calls.is_empty() {
            Vec::new()
        } else {
            // After the deadline nobody knows how far it got.
            tokio::time::timeout_at(deadline, door.database.execute(calls, consistency)).await.unwrap_or_default()
        };
        let mut outcomes = outcomes.into_iter();
        responses.extend(places.into_iter().map(|(id, outcome)| {
            let outcome = outcome.or_else(|| outcomes.next()).unwrap_or(Err(Denied::InDoubt));
            v1::PipelineResponse { id, outcome: Some(to_outcome(outcome)) }
        }));
    }
    responses
}

//! Read indexes: proof that this node still leads, shared by all reads that wait for one.

use std::time::Duration;

use openraft::ReadPolicy;
use tokio::sync::{mpsc, oneshot};

use crate::state::Raft;

/// How many reads may wait for a round.
const WAITING_MAX: usize = 65_536;
/// How long one round may take.
const ROUND_MAX: Duration = Duration::from_millis(1000);

/// Where reads ask for one.
#[derive(Clone)]
pub struct ReadIndex {
    asks: mpsc::Sender<oneshot::Sender<bool>>,
}

impl ReadIndex {
    /// Starts the task that makes the rounds; it ends when the last handle is dropped.
    pub fn start(raft: Raft) -> ReadIndex {
        let (asks, mut waiting) = mpsc::channel::<oneshot::Sender<bool>>(WAITING_MAX);
        tokio::spawn(async move {
            let mut round = Vec::new();
            // Everybody who asked before a round begins shares it; who comes during it waits for the next.
            while waiting.recv_many(&mut round, WAITING_MAX).await > 0 {
                let answer = tokio::time::timeout(ROUND_MAX, raft.ensure_linearizable(ReadPolicy::ReadIndex)).await;
                let leads = matches!(answer, Ok(Ok(_)));
                round.drain(..).for_each(|ask| {
                    let _ = ask.send(leads);
                });
            }
        });
        ReadIndex { asks }
    }

    /// Whether this node leads at some moment after the call, as far as openraft can tell, and has applied everything that was
    /// committed at the call.
    pub async fn confirm(&self) -> bool {
        let (ask, answer) = oneshot::channel();
        self.asks.send(ask).await.is_ok() && answer.await.unwrap_or(false)
    }
}

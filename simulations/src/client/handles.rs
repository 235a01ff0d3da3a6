//! Reads through a handle that a client keeps on a node: `SNAPSHOT CREATE`, and `SNAPSHOT GET` later.

use std::time::Duration;

use talon_history::{Action, Outcome, Reply, Value, Word};
use tokio::time::sleep;

use super::{Client, Level, exchange};

/// How long a handle is kept, ms: longer than any is used.
const HANDLE_MS: &str = "20000";

impl Client {
    /// Reads keys several times through a handle on that node, with time between. In the history, it is one transaction at the position that
    /// the node named when it made the handle.
    pub async fn read_handle(
        &mut self,
        node: u64,
        level: Level,
        keys: &[Word],
        times: usize,
        apart: Duration,
    ) -> Outcome {
        let connected = self.turn_to(node, level).await;
        let read = Action::Transaction(vec![Action::Mget(keys.to_vec()); times]);
        let id = self.call(self.number(), Some(node), read);
        self.world.history().operation_mut(id).consistency = level.promise();
        let (outcome, position) = match connected {
            Ok(()) => self.through_handle(keys, times, apart).await,
            Err(why) => (Outcome::Refused(why), None),
        };
        self.returned(id, outcome.clone(), position);
        outcome
    }

    async fn through_handle(&mut self, keys: &[Word], times: usize, apart: Duration) -> (Outcome, Option<u64>) {
        let create = ["SNAPSHOT", "CREATE", "PX", HANDLE_MS].map(|word| word.as_bytes().to_vec()).to_vec();
        let (handle, index) = match self.one(create).await {
            Some(Value::Array(numbers)) => match numbers[..] {
                [Value::Int(handle), Value::Int(index), Value::Int(_)] => (handle.to_string(), index),
                _ => return (Outcome::Unknown(format!("a handle is {numbers:?}")), None),
            },
            other => return (Outcome::Refused(format!("no handle: {other:?}")), None),
        };
        let named = |subcommand: &str| ["SNAPSHOT", subcommand, &handle].map(|word| word.as_bytes().to_vec()).to_vec();
        let mut replies = Vec::new();
        for _ in 0..times {
            sleep(apart).await;
            let mut get = named("GET");
            get.extend(keys.iter().map(|key| key.to_vec()));
            let values = match self.one(get).await {
                Some(Value::Array(values)) => values,
                other => return (Outcome::Unknown(format!("the handle answers {other:?}")), None),
            };
            let words = values.into_iter().map(|value| match value {
                Value::Bulk(bytes) => Reply::Bytes(bytes.into()),
                Value::Nil => Reply::Nil,
                other => Reply::Error(format!("{other:?}")),
            });
            replies.push(Reply::Many(words.collect()));
        }
        // If it is not heard, the handle ends by itself.
        self.one(named("RELEASE")).await;
        (Outcome::Reply(Reply::Many(replies)), u64::try_from(index).ok())
    }

    /// One command on the connection to any node.
    async fn one(&mut self, command: Vec<Vec<u8>>) -> Option<Value> {
        let mut values = Vec::new();
        exchange(&mut self.replica, &[command], &mut values, self.answer_max).await;
        values.pop()
    }
}

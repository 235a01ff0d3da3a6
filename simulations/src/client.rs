//! A client that speaks RESP over the simulated network, follows redirections, gives up in time, and writes down what it did.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use talon_core::random::SplitMix64;
use talon_history::{Action, Outcome, Value};
use talon_resp::ValueDecoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::ambient::elapsed_us;
use crate::host::{RESP_PORT, name};
use crate::machine::{Pause, Socket, connect};
use crate::world::World;

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_millis(500);
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_millis(2_000);

/// The name of a client's host in the network.
pub fn host(number: u32) -> String {
    format!("client-{number}")
}

/// One client.
pub struct Client {
    world: Arc<World>,
    number: u32,
    random: SplitMix64,
    /// The node it talks to.
    node: u64,
    socket: Option<Socket>,
}

impl Client {
    /// Connected to nobody yet.
    pub fn new(world: Arc<World>, number: u32, seed: u64) -> Client {
        Client { world, number, random: SplitMix64(seed), node: 1, socket: None }
    }

    /// Has an action carried out by the leader, and writes down what came of it.
    pub async fn carry_out(&mut self, action: Action) -> Outcome {
        let id = self.world.history().call(self.number, Some(self.node), elapsed_us(), action.clone());
        let outcome = self.ask(&action).await;
        self.world.history().returned(id, elapsed_us(), outcome.clone());
        outcome
    }

    async fn ask(&mut self, action: &Action) -> Outcome {
        if self.socket.is_none() {
            match tokio::time::timeout(CONNECT_MAX, connect(&name(self.node), RESP_PORT, Arc::<Pause>::default())).await
            {
                Ok(Ok(socket)) => self.socket = Some(socket),
                failed => {
                    self.turn_to(None);
                    return Outcome::Refused(format!("no connection: {:?}", failed.map(|made| made.map(drop))));
                }
            }
        }
        let commands = action.commands();
        let mut values = Vec::new();
        let asking = tokio::time::timeout(ANSWER_MAX, self.exchange(&commands, &mut values)).await;
        let whole = matches!(asking, Ok(Ok(())));
        let moved = values.iter().find_map(|value| match value {
            Value::Error(text) => text.strip_prefix("MOVED ").map(str::to_owned),
            _ => None,
        });
        let outcome = action.judge(values);
        match (whole, moved, &outcome) {
            (_, Some(moved), _) => self.turn_to(
                moved
                    .split_once("node-")
                    .and_then(|(_, rest)| rest.split_once(':').and_then(|(id, _)| id.parse().ok())),
            ),
            (false, None, _) | (_, None, Outcome::Refused(_)) => self.turn_to(None),
            (true, None, _) => {}
        }
        outcome
    }

    /// To that node, or another one.
    fn turn_to(&mut self, node: Option<u64>) {
        self.socket = None;
        let voters = self.world.plan.voters;
        self.node = node.unwrap_or_else(|| 1 + self.random.draw() % voters);
    }

    async fn exchange(&mut self, commands: &[Vec<Vec<u8>>], values: &mut Vec<Value>) -> io::Result<()> {
        let Some(socket) = &mut self.socket else { return Err(io::ErrorKind::NotConnected.into()) };
        let mut out = BytesMut::new();
        for command in commands {
            let words: Vec<Bytes> = command.iter().map(|word| Bytes::copy_from_slice(word)).collect();
            talon_resp::encode_command(&words, &mut out);
        }
        socket.write_all(&out).await?;
        let decoder = ValueDecoder { length_max: 1 << 24 };
        let mut input = BytesMut::new();
        while values.len() < commands.len() {
            match decoder.next(&mut input).map_err(io::Error::other)? {
                Some(value) => values.push(translate(value)),
                None if socket.read_buf(&mut input).await? == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                None => {}
            }
        }
        Ok(())
    }
}

fn translate(value: talon_resp::Value) -> Value {
    match value {
        talon_resp::Value::Simple(text) => Value::Simple(text),
        talon_resp::Value::Error(text) => Value::Error(text),
        talon_resp::Value::Integer(number) => Value::Int(number),
        talon_resp::Value::Bulk(bytes) => Value::Bulk(bytes),
        talon_resp::Value::Null => Value::Nil,
        talon_resp::Value::Array(values) => Value::Array(values.into_iter().map(translate).collect()),
        other => Value::Error(format!("a reply of a kind that was not asked for: {other:?}")),
    }
}

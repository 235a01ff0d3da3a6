//! One RESP connection over the simulated network: commands go out in one write, values come back.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use talon_history::Value;
use talon_resp::{Protocol, ValueDecoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::host::{RESP_PORT, name};
use crate::machine::{Pause, Socket, connect};

/// More than any answer of any workload has.
const ANSWER_BYTES_MAX: usize = 1 << 24;

/// A connection to a node.
pub(super) struct Connection {
    /// The node's number.
    pub(super) node: u64,
    socket: Socket,
    input: BytesMut,
}

impl Connection {
    /// Connects from the current host.
    pub(super) async fn open(node: u64) -> io::Result<Connection> {
        // A client's machine never stands still.
        let socket = connect(&name(node), RESP_PORT, Arc::<Pause>::default()).await?;
        Ok(Connection { node, socket, input: BytesMut::new() })
    }

    /// Sends all commands at once, and adds their answers to `values` as they come in. After an error, or if it is dropped before it is
    /// done, the connection is of no use any more.
    pub(super) async fn exchange(&mut self, commands: &[Vec<Vec<u8>>], values: &mut Vec<Value>) -> io::Result<()> {
        let mut out = BytesMut::new();
        for command in commands {
            let words: Vec<Bytes> = command.iter().map(|word| Bytes::copy_from_slice(word)).collect();
            talon_resp::encode_command(&words, &mut out);
        }
        self.socket.write_all(&out).await?;
        let decoder = ValueDecoder { length_max: ANSWER_BYTES_MAX };
        while values.len() < commands.len() {
            match decoder.next(&mut self.input).map_err(io::Error::other)? {
                Some(value) => values.push(translate(value)),
                None if self.socket.read_buf(&mut self.input).await? == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// What a reply of the database looks like to a client.
pub(super) fn as_sent(reply: &talon_core::Reply) -> Value {
    let mut bytes = BytesMut::new();
    talon_resp::encode(reply, Protocol::Resp2, &mut bytes);
    match (ValueDecoder { length_max: ANSWER_BYTES_MAX }).next(&mut bytes) {
        Ok(Some(value)) => translate(value),
        other => Value::Error(format!("no whole reply: {other:?}")),
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

//! A front door on a real socket, and a client that sees every byte.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod memory;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use memory::MemoryDatabase;
use talon_resp::{Value, ValueDecoder, encode_command};
use talon_server::resp::{RespSettings, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A front door with its database.
pub struct Door {
    pub address: SocketAddr,
    pub database: Arc<MemoryDatabase>,
    pub settings: Arc<RespSettings>,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Door {
    /// Over a cluster of `nodes`, of which this one leads.
    pub async fn open(nodes: u64, settings: RespSettings) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let database = Arc::new(MemoryDatabase::new(nodes, address.port()));
        let settings = Arc::new(settings);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listener, database.clone(), settings.clone(), shutdown.clone()));
        Door { address, database, settings, shutdown, task }
    }

    pub async fn client(&self) -> Wire {
        Wire::connect(self.address).await
    }
}

/// A client's end of a connection.
pub struct Wire {
    pub stream: TcpStream,
    buffer: BytesMut,
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Wire {
        Wire { stream: TcpStream::connect(address).await.expect("the door is open"), buffer: BytesMut::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    /// The next reply; `None` = the connection was closed.
    pub async fn reply(&mut self) -> Option<Value> {
        let decoder = ValueDecoder { length_max: 64 * 1024 * 1024 };
        loop {
            if let Some(value) = decoder.next(&mut self.buffer).expect("valid RESP") {
                return Some(value);
            }
            match timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("an answer in time") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Sends one command and reads its reply.
    pub async fn ask(&mut self, line: &str) -> Value {
        let words: Vec<Bytes> = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        let mut out = BytesMut::new();
        encode_command(&words, &mut out);
        self.send(&out).await;
        self.reply().await.expect("an answer")
    }

    /// As [`Wire::ask`], with the reply as a person would write it.
    pub async fn say(&mut self, line: &str) -> String {
        show(&self.ask(line).await)
    }

    /// Everything until the other side closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.buffer).to_vec();
        let mut chunk = vec![0; 65_536];
        loop {
            match timeout(PATIENCE, self.stream.read(&mut chunk)).await.expect("closed in time") {
                Ok(0) | Err(_) => return all,
                Ok(count) => all.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// Nothing comes, and the connection stays open.
    pub async fn is_quiet(&mut self) -> bool {
        let mut one = [0u8; 1];
        timeout(Duration::from_millis(100), self.stream.peek(&mut one)).await.is_err()
    }
}

/// A reply in a short form: `OK`, `(1)`, `"text"`, `nil`, `[a, b]`, `{a: b}`, `!ERR …`.
pub fn show(value: &Value) -> String {
    let all = |items: &[Value]| items.iter().map(show).collect::<Vec<_>>().join(", ");
    match value {
        Value::Simple(text) => text.clone(),
        Value::Error(text) => format!("!{text}"),
        Value::Integer(number) => format!("({number})"),
        Value::Bulk(bytes) | Value::Verbatim(bytes) => format!("\"{}\"", String::from_utf8_lossy(bytes)),
        Value::Null => "nil".to_owned(),
        Value::Array(items) => format!("[{}]", all(items)),
        Value::Set(items) => format!("~[{}]", all(items)),
        Value::Push(items) => format!(">[{}]", all(items)),
        Value::Map(pairs) => {
            let pairs: Vec<String> =
                pairs.iter().map(|(key, value)| format!("{}: {}", show(key), show(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Value::Double(number) => format!(",{number}"),
        Value::Boolean(yes) => format!("#{yes}"),
        Value::BigNumber(digits) => digits.clone(),
    }
}

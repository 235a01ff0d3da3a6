//! The RESP front door over something that is not a socket: pipes in memory with little room.

mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use support::memory::MemoryDatabase;
use talon_server::resp::{Listener, RespSettings, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(10);
/// Less than one reply, so that neither side can write without being read.
const PIPE_BYTES: usize = 64;

struct Pipes(mpsc::Receiver<DuplexStream>);

impl Listener for Pipes {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        let pipe = self.0.recv().await.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok((pipe, SocketAddr::from(([127, 0, 0, 1], 2000))))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 1000)))
    }

    fn stream_addr(_: &DuplexStream) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 1000)))
    }
}

#[tokio::test]
async fn a_long_pipeline_through_a_narrow_pipe() {
    let (connect, pipes) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    let database = Arc::new(MemoryDatabase::new(1, 1000));
    let task = tokio::spawn(serve(Pipes(pipes), database, Arc::default(), shutdown.clone()));
    let (mut client, server) = duplex(PIPE_BYTES);
    connect.send(server).await.expect("the door is open");
    let value = "v".repeat(200);
    let count = 500;
    let requests = format!("SET k {value}\r\n{}", "GET k\r\n".repeat(count));
    // All of it is taken before the first reply is read.
    timeout(PATIENCE, client.write_all(requests.as_bytes())).await.expect("taken").expect("sent");
    let expected = format!("+OK\r\n{}", format!("$200\r\n{value}\r\n").repeat(count));
    let mut replies = BytesMut::new();
    while replies.len() < expected.len() {
        let count = timeout(PATIENCE, client.read_buf(&mut replies)).await.expect("in time").expect("a reply");
        assert_ne!(count, 0, "closed after {} bytes", replies.len());
    }
    assert_eq!(replies, expected);
    timeout(PATIENCE, client.write_all(b"CLIENT INFO\r\n")).await.expect("taken").expect("sent");
    let mut line = vec![0; 64];
    timeout(PATIENCE, client.read_exact(&mut line)).await.expect("in time").expect("a reply");
    let line = String::from_utf8_lossy(&line);
    assert!(line.contains("addr=127.0.0.1:2000 laddr=127.0.0.1:1000"), "{line}");
    // The rest of that reply would be waited for.
    drop(client);
    shutdown.cancel();
    timeout(PATIENCE, task).await.expect("in time").expect("no panic");
}

#[tokio::test]
async fn who_sends_and_never_reads_is_cut_off() {
    let (connect, pipes) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    let settings = RespSettings { output_stall_max: Duration::from_millis(200), ..RespSettings::default() };
    let database = Arc::new(MemoryDatabase::new(1, 1000));
    let task = tokio::spawn(serve(Pipes(pipes), database, Arc::new(settings), shutdown.clone()));
    let (mut client, server) = duplex(PIPE_BYTES);
    connect.send(server).await.expect("the door is open");
    let send_for_ever = async { while client.write_all(b"PING\r\n").await.is_ok() {} };
    timeout(PATIENCE, send_for_ever).await.expect("cut off in time");
    shutdown.cancel();
    timeout(PATIENCE, task).await.expect("in time").expect("no panic");
}

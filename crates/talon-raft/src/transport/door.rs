//! The raft port: sorts the connections that come by their first bytes, replication here, gRPC there.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use talon_proto::v1::raft_server::RaftServer;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;

use super::cut::Cut;
use super::following::Following;
use super::frames::PREFACE;
use super::{Gate, Link, MESSAGE_BYTES_MAX, RaftService, WINDOW_BYTES};
use crate::environment::{Sockets, Stream};
use crate::state::{Raft, Stores};

/// How long a connection may take to show what it is for, and who opened it.
pub(super) const SHOW_TIMEOUT: Duration = Duration::from_secs(10);

/// Listens for the other nodes and answers them, until `ending`.
///
/// # Errors
/// If the address cannot be listened on.
pub(crate) async fn listen(
    address: SocketAddr,
    sockets: &dyn Sockets,
    raft: &Raft,
    link: &Arc<Link>,
    gate: Arc<dyn Gate>,
    stores: &Arc<Stores>,
    ending: &CancellationToken,
) -> io::Result<()> {
    let mut connections = sockets.listen(address).await?;
    let service = RaftService::new(raft.clone(), link.clone(), gate.clone(), stores.clone(), ending.clone());
    let service = RaftServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    // Before anything is decoded: a stranger must not make this node read a large message.
    let admitting = link.clone();
    let service = InterceptedService::new(service, move |request: tonic::Request<()>| {
        admitting.admit(request.metadata()).map(|_| request)
    });
    let (calling, calls) = mpsc::channel(1);
    let ended = ending.clone();
    tokio::spawn(async move {
        let server = tonic::transport::Server::builder()
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keepalive_interval(Some(Duration::from_secs(5)))
            .add_service(service);
        let calls = ReceiverStream::new(calls);
        if let Err(error) = server.serve_with_incoming_shutdown(calls, ended.cancelled_owned()).await {
            tracing::error!(%error, "the raft listener ended");
        }
    });

    let following = Following { raft: raft.clone(), link: link.clone(), gate };
    let ended = ending.clone();
    tokio::spawn(ending.clone().run_until_cancelled_owned(async move {
        while let Some(accepted) = connections.next().await {
            let connection = match accepted {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(%error, "a node's connection was not accepted");
                    continue;
                }
            };
            let (following, calling, cutting) = (following.clone(), calling.clone(), ended.clone());
            tokio::spawn(ended.clone().run_until_cancelled_owned(async move {
                if let Err(error) = sort(connection, following, calling, cutting).await {
                    tracing::debug!(%error, "a node's connection ended");
                }
            }));
        }
    }));
    Ok(())
}

/// A connection for gRPC.
type Call = Cut<Box<dyn Stream>>;

/// Serves a replication connection to its end; hands any other on.
async fn sort(
    mut connection: Box<dyn Stream>,
    following: Following,
    calling: mpsc::Sender<io::Result<Call>>,
    ending: CancellationToken,
) -> io::Result<()> {
    let mut first = [0; PREFACE.len()];
    tokio::time::timeout(SHOW_TIMEOUT, connection.read_exact(&mut first)).await??;
    if first == PREFACE {
        // openraft reads from it in a task of its own.
        return following.answer(Box::new(Cut::new(connection, &ending))).await;
    }
    let (rest, writing) = tokio::io::split(connection);
    let connection: Box<dyn Stream> = Box::new(tokio::io::join(io::Cursor::new(first).chain(rest), writing));
    calling.send(Ok(Cut::new(connection, &ending))).await.map_err(|_| io::ErrorKind::ConnectionAborted.into())
}

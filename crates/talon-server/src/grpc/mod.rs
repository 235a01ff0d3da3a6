//! The front door for programs: the services `Kv` and `Cluster` of `proto/talon/v1`, and the standard health and reflection
//! services, on one port.
//!
//! *Enters*: connections, and whatever keeps the data ([`Database`], and [`Administer`] where there is a cluster).
//! *Leaves*: replies, and statuses that say what became of a request ([`status`] has the table). *Must never know*: raft,
//! the storage, RESP.
//!
//! Everything is bounded by [`Settings`]: connections, requests at once on each, bytes of a request and of an answer, time,
//! scans and snapshots. A scan or a pipeline whose client does not read waits for it (the next page is read
//! when there is room for it), and ends when it has waited too long.
//!
//! ```no_run
//! # async fn run(database: std::sync::Arc<impl talon_core::Database>) -> Result<(), talon_server::grpc::ServeError> {
//! use talon_server::grpc::{Settings, serve};
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:7380").await.map_err(talon_server::grpc::ServeError::Listen)?;
//! let settings = Settings { protected_mode: false, ..Settings::default() };
//! let ctrl_c = async {
//!     tokio::signal::ctrl_c().await.ok();
//! };
//! serve(listener, database, settings, ctrl_c).await
//! # }
//! ```

mod cluster;
mod connections;
mod door;
mod gate;
mod kv;
mod pipeline;
mod reply;
mod scans;
mod settings;
pub mod status;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use talon_core::{Administer, Database};
use talon_proto::v1::cluster_server::ClusterServer;
use talon_proto::v1::kv_server::KvServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::{Connected, Router, TcpConnectInfo, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

pub use settings::Settings;

use cluster::ClusterDoor;
use door::Door;
use gate::Gate;
use kv::KvDoor;

/// How old the health service's answer may be.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);

/// Why the front door closed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Nothing could be accepted on the port.
    #[error("cannot listen for gRPC: {0}")]
    Listen(#[source] io::Error),
    /// The server itself failed.
    #[error("the gRPC server failed: {0}")]
    Transport(#[source] tonic::transport::Error),
    /// The reflection service could not read its own descriptors.
    #[error("the gRPC reflection service failed: {0}")]
    Reflection(#[source] tonic_reflection::server::Error),
}

/// Serves a database without a cluster until `shutdown` completes and what was in flight is answered.
///
/// # Errors
/// If the server itself fails; never because of a client.
pub async fn serve<D: Database>(
    listener: TcpListener,
    database: Arc<D>,
    settings: Settings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    serve_connections(tcp(listener), database, settings, shutdown).await
}

/// Serves a member of a cluster, with the service `Cluster`, until `shutdown` completes and what was in flight is answered.
///
/// # Errors
/// If the server itself fails; never because of a client.
pub async fn serve_cluster<N: Database + Administer>(
    listener: TcpListener,
    node: Arc<N>,
    settings: Settings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    serve_cluster_connections(tcp(listener), node, settings, shutdown).await
}

/// [`serve`] over connections of any kind, as simulations have them.
///
/// # Errors
/// If the server itself fails; never because of a client.
pub async fn serve_connections<D, I, IO>(
    incoming: I,
    database: Arc<D>,
    settings: Settings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError>
where
    D: Database,
    I: Stream<Item = io::Result<IO>>,
    IO: AsyncRead + AsyncWrite + Connected<ConnectInfo = TcpConnectInfo> + Unpin + Send + 'static,
{
    let house = House::new(database, settings);
    let router = house.router()?;
    house.serve(router, incoming, shutdown).await
}

/// [`serve_cluster`] over connections of any kind, as simulations have them.
///
/// # Errors
/// If the server itself fails; never because of a client.
pub async fn serve_cluster_connections<N, I, IO>(
    incoming: I,
    node: Arc<N>,
    settings: Settings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError>
where
    N: Database + Administer,
    I: Stream<Item = io::Result<IO>>,
    IO: AsyncRead + AsyncWrite + Connected<ConnectInfo = TcpConnectInfo> + Unpin + Send + 'static,
{
    let house = House::new(Arc::clone(&node), settings);
    let cluster = InterceptedService::new(ClusterServer::new(ClusterDoor::new(node)), house.gate.clone());
    let router = house.router()?.add_service(cluster);
    house.serve(router, incoming, shutdown).await
}

fn tcp(listener: TcpListener) -> TcpIncoming {
    // Replies are written whole; waiting for more to send would only delay them.
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// What the services of one port share.
struct House<D> {
    door: Arc<Door<D>>,
    gate: Gate,
    reporter: HealthReporter,
    /// Ends streams that would otherwise never end.
    stopping: CancellationToken,
}

impl<D: Database> House<D> {
    fn new(database: Arc<D>, settings: Settings) -> House<D> {
        let gate = Gate::new(settings.password.clone(), settings.protected_mode);
        let stopping = CancellationToken::new();
        let door = Arc::new(Door::new(database, settings, stopping.clone()));
        House { door, gate, reporter: HealthReporter::new(), stopping }
    }

    fn router(&self) -> Result<Router, ServeError> {
        let settings = &self.door.settings;
        let kv = KvServer::new(KvDoor::new(Arc::clone(&self.door)))
            .max_decoding_message_size(settings.message_bytes_max())
            .max_encoding_message_size(settings.reply_bytes_max);
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(talon_proto::PUBLIC_FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(ServeError::Reflection)?;
        let health = tonic_health::server::HealthService::from_health_reporter(self.reporter.clone());
        Ok(Server::builder()
            .max_concurrent_streams(settings.streams_per_connection_max)
            .concurrency_limit_per_connection(settings.streams_per_connection_max as usize)
            .initial_stream_window_size(settings.stream_window_bytes)
            .initial_connection_window_size(settings.connection_window_bytes)
            .http2_keepalive_interval(Some(settings.keepalive()))
            .http2_keepalive_timeout(Some(settings.keepalive()))
            .add_service(tonic_health::pb::health_server::HealthServer::new(health))
            .add_service(InterceptedService::new(reflection, self.gate.clone()))
            .add_service(InterceptedService::new(kv, self.gate.clone())))
    }

    async fn serve<I, IO>(
        self,
        router: Router,
        incoming: I,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError>
    where
        I: Stream<Item = io::Result<IO>>,
        IO: AsyncRead + AsyncWrite + Connected<ConnectInfo = TcpConnectInfo> + Unpin + Send + 'static,
    {
        let settings = &self.door.settings;
        // Before the first connection: a health service that knows nothing says that all is well.
        self.set_health(self.health()).await;
        let incoming = connections::bounded(incoming, settings.connections_max);
        let server = router.serve_with_incoming_shutdown(incoming, self.stopping.cancelled());
        let stop = async {
            shutdown.await;
            self.set_health(ServingStatus::NotServing).await;
            self.stopping.cancel();
            // A client that keeps a stream open for ever (a health watch) must not keep the node from going down.
            tokio::time::sleep(settings.drain()).await;
        };
        tokio::select! {
            result = server => result.map_err(ServeError::Transport),
            () = stop => {
                tracing::warn!("gRPC connections were still open at the end of the time for draining");
                Ok(())
            }
            () = self.watch_health() => Ok(()),
            () = self.door.settings.snapshots.sweep() => Ok(()),
        }
    }

    async fn set_health(&self, status: ServingStatus) {
        // The empty name stands for the whole server.
        for name in ["", <KvServer<KvDoor<D>> as NamedService>::NAME] {
            self.reporter.set_service_status(name, status).await;
        }
    }

    fn health(&self) -> ServingStatus {
        let serving = self.door.database.status().serving && !self.stopping.is_cancelled();
        if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
    }

    /// Keeps the health service's answer true, for ever.
    async fn watch_health(&self) {
        let mut reported = None;
        loop {
            let seen = self.door.database.status().version;
            let health = self.health();
            // Each report wakes every watcher, so only changes are reported.
            if reported != Some(health) {
                self.set_health(health).await;
                reported = Some(health);
            }
            // Whether a node serves also changes without a change of version (a stale replica), so it is looked at now and then.
            let changed = self.door.database.status_changed(seen);
            let _ = tokio::time::timeout(HEALTH_INTERVAL, changed).await;
        }
    }
}

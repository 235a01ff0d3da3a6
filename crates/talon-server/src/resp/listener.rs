//! Accepts connections, watches leadership, and ends everything in time.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use talon_core::{Administer, Database};
use talon_resp::encode_error_line;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::clients::Client;
use super::connection::{Connection, linger};
use super::events::Events;
use super::metrics::{Open, add};
use super::notices::Notice;
use super::session::Shared;
use super::settings::RespSettings;
use super::socket::Listener;
use super::topology;

/// After a failed accept (no file handles left, say), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How many refused clients may be reading their refusal at one time; further ones are just closed.
const REFUSALS_MAX: usize = 128;

const TOO_MANY: &str = "ERR max number of clients reached";
const PROTECTED: &str = "DENIED Talon is running in protected mode: it listens beyond loopback and no password is set, so \
    only clients on its own machine are let in. Set a password (requirepass), or listen on loopback only, or switch \
    protected mode off if the network is trusted.";

/// Serves RESP on `listener` until `shutdown`; returns when every connection has ended, at the latest after
/// [`RespSettings::drain_max`].
pub async fn serve<L: Listener, D: Database + Administer>(
    mut listener: L,
    database: Arc<D>,
    settings: Arc<RespSettings>,
    shutdown: CancellationToken,
) {
    let local = listener.local_addr().ok();
    let shared = Arc::new(Shared::new(settings.clone(), local.map_or(0, |local| local.port())));
    let guarded = settings.protected_mode
        && settings.password.is_none()
        && local.is_none_or(|local| !local.ip().to_canonical().is_loopback());
    let mut tasks = JoinSet::new();
    let mut refusals = JoinSet::new();
    let watcher = watch_leadership(database.clone(), &shared);
    let sampler = shared.rates.watch(&shared.metrics);
    let counter = shared.key_counts.count_when_wanted(&*database);
    let hears: Arc<dyn talon_core::Listener> = shared.clone();
    database.listen(Arc::downgrade(&hears));
    let sweeper = settings.snapshots.sweep();
    tokio::pin!(watcher, sampler, counter, sweeper);
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = &mut watcher => continue,
            () = &mut sampler => continue,
            () = &mut counter => continue,
            () = &mut sweeper => continue,
            Some(_) = tasks.join_next() => continue,
            Some(_) = refusals.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        add(&shared.metrics.connections_received, 1);
        let refusal = if guarded && !address.ip().to_canonical().is_loopback() {
            PROTECTED
        } else {
            let local = L::stream_addr(&stream).unwrap_or(address);
            let descriptor = L::stream_descriptor(&stream);
            match shared.clients.enter(address, local, descriptor, shared.tunables.clients_max()) {
                Some(client) => {
                    let connection = Connection::new(stream, database.clone(), shared.clone(), client.clone());
                    let shared = shared.clone();
                    tasks.spawn(async move {
                        let _open = Open::new(&shared.metrics.connections);
                        let _entered = Entered { shared: &shared, client: &client };
                        connection.run().await;
                    });
                    continue;
                }
                None => TOO_MANY,
            }
        };
        add(&shared.metrics.connections_rejected, 1);
        if refusals.len() < REFUSALS_MAX {
            refusals.spawn(refuse(stream, refusal));
        }
    }
    drop(listener);
    shared.clients.notify(Notice::Shutdown);
    // Requests under way may still need leadership to be watched: their connections end either way.
    let drained = timeout(settings.drain_max, async { while tasks.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(connections = tasks.len(), "connections did not end in time; cutting them off");
        tasks.shutdown().await;
    }
    refusals.shutdown().await;
}

/// Takes the client out of the list however its task ends.
struct Entered<'a> {
    shared: &'a Shared,
    client: &'a Client,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.shared.monitors.leave(self.client.id);
        self.shared.channels.leave(self.client.id);
        self.shared.clients.leave(self.client.id);
    }
}

async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin, line: &'static str) {
    let mut out = BytesMut::new();
    encode_error_line(line.as_bytes(), &mut out);
    if stream.write_all(&out).await.is_ok() {
        linger(&mut stream).await;
    }
}

/// Tells all connections whenever this node stops leading, and subscribers what Sentinels would. Never returns.
async fn watch_leadership<D: Database>(database: Arc<D>, shared: &Shared) {
    let mut status = database.status();
    let mut events = Events::new(&shared.settings.sentinel_name, status.clone());
    loop {
        database.status_changed(status.version).await;
        let now = database.status();
        if topology::leads(&status) && !topology::leads(&now) && !shared.settings.forwards {
            tracing::info!(term = now.term, "no longer leading: closing client connections");
            shared.clients.notify(Notice::Demotion);
        }
        for (channel, message) in events.follow(now.clone()) {
            shared.tell(&Bytes::from_static(channel.as_bytes()), &message);
        }
        status = now;
    }
}

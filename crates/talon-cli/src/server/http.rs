//! The HTTP port: `/metrics` for Prometheus, `/livez` and `/readyz` for whoever supervises the process.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use talon_core::{Database, Status};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the pages are made of.
struct Pages<D> {
    database: Arc<D>,
    registry: Registry,
    draining: CancellationToken,
}

/// Serves until `end` is cancelled. While `draining` is cancelled the node says that it is not ready.
///
/// # Errors
/// If the listener fails.
pub async fn serve<D: Database>(
    listener: TcpListener,
    database: Arc<D>,
    registry: Registry,
    draining: CancellationToken,
    end: CancellationToken,
) -> io::Result<()> {
    let pages = Arc::new(Pages { database, registry, draining });
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready::<D>))
        .route("/metrics", get(metrics::<D>))
        .with_state(pages);
    axum::serve(listener, router).with_graceful_shutdown(async move { end.cancelled().await }).await
}

async fn ready<D: Database>(State(pages): State<Arc<Pages<D>>>) -> (StatusCode, String) {
    match unreadiness(&pages.database.status(), pages.draining.is_cancelled()) {
        None => (StatusCode::OK, "ready\n".into()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

/// Why a node should get no clients, if it should not.
fn unreadiness(status: &Status, draining: bool) -> Option<&'static str> {
    if draining {
        Some("going down")
    } else if !status.serving {
        Some("catching up, or not yet a member of a cluster")
    } else if status.leader_id.is_none() {
        Some("no leader is known")
    } else {
        None
    }
}

async fn metrics<D: Database>(State(pages): State<Arc<Pages<D>>>) -> impl IntoResponse {
    let mut page = String::new();
    match text::encode(&mut page, &pages.registry) {
        Ok(()) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            page,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            format!("the metrics cannot be written: {error}\n"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::metrics::tests::{Still, status};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    #[test]
    fn readiness_needs_a_leader_and_a_caught_up_node() {
        assert_eq!(unreadiness(&status(), false), None);
        assert!(unreadiness(&status(), true).is_some());
        assert!(unreadiness(&Status { serving: false, ..status() }, false).is_some());
        assert!(unreadiness(&Status { leader_id: None, ..status() }, false).is_some());
    }

    async fn page(port: u16, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: talon\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn pages_are_served_until_the_end() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (draining, end) = (CancellationToken::new(), CancellationToken::new());
        let registry = crate::server::metrics::registry(&Arc::new(Still));
        let task = tokio::spawn(serve(listener, Arc::new(Still), registry, draining.clone(), end.clone()));
        assert!(page(port, "/livez").await.starts_with("HTTP/1.1 200"));
        assert!(page(port, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(page(port, "/metrics").await.contains("talon_raft_leader_id 1"));
        assert!(page(port, "/nothing").await.starts_with("HTTP/1.1 404"));
        draining.cancel();
        assert!(page(port, "/readyz").await.starts_with("HTTP/1.1 503"));
        end.cancel();
        task.await.unwrap().unwrap();
    }
}

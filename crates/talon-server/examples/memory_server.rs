//! The RESP front door over a database in memory, so that real clients can be tried without a cluster:
//! `cargo run -p talon-server --example memory_server -- 6390 [nodes] [password]`.
//!
//! With more than one node it says that it leads a cluster whose other members do not exist.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/support/memory.rs"]
mod memory;

use std::sync::Arc;

use memory::MemoryDatabase;
use talon_server::resp::{RespSettings, serve};
use talon_server::secret::Secret;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().as_deref().unwrap_or("6390").parse()?;
    let nodes: u64 = args.next().as_deref().unwrap_or("1").parse()?;
    let settings = RespSettings { password: args.next().map(Secret::new), ..RespSettings::default() };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    tracing::info!(port, nodes, "serving from memory");
    serve(listener, Arc::new(MemoryDatabase::new(nodes, port)), Arc::new(settings), shutdown).await;
    Ok(())
}

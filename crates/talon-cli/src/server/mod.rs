//! `talon server`: one node.

mod descriptors;
mod doors;
pub mod http;
mod join;
pub mod metrics;
mod parent;
mod wiring;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap::ArgMatches;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::settings::{LiveSettings, ServerCommand, SettingsError, load, unknown_variables};
use crate::telemetry;
use wiring::Live;

/// Why a node could not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The operating system refused something.
    #[error("{0}: {1}")]
    System(String, #[source] std::io::Error),
    /// The node did not start.
    #[error(transparent)]
    Start(#[from] talon_raft::StartError),
    /// The node cannot go on.
    #[error("{0}")]
    Fault(String),
}

/// How long what still runs at the end may take to notice.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a node until a signal comes or it fails.
///
/// # Errors
/// If it cannot start, or met a fault.
pub fn run(command: &ServerCommand, matches: &ArgMatches) -> Result<ExitCode, ServerError> {
    if let Some(parent) = command.parent_pid {
        parent::end_with(parent).map_err(|error| ServerError::System("parent-pid".into(), error))?;
    }
    let mut resolved = load(command, matches)?.resolve()?;
    if command.print_config {
        let text = resolved.settings.to_toml()?;
        io::stdout().write_all(text.as_bytes()).map_err(|error| ServerError::System("print-config".into(), error))?;
        return Ok(ExitCode::SUCCESS);
    }
    let log = telemetry::start(resolved.settings.log_format, &resolved.settings.log_level)?;
    for name in unknown_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
        tracing::warn!(name, "an environment variable begins with TALON_ and is no setting");
    }
    let clients_most = descriptors::provide(&mut resolved.settings)?;
    let live = Arc::new(LiveSettings::new(&resolved.settings, command.config.clone(), log)?);
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = resolved.settings.worker_threads {
        builder.worker_threads(threads);
    }
    let runtime = builder
        .enable_all()
        .thread_name("talon")
        .build()
        .map_err(|error| ServerError::System("threads".into(), error))?;
    let raft = RaftThread::start()?;
    let outcome = runtime.block_on(wiring::run(
        resolved,
        Live { settings: live, clients_most },
        command.accept_clock_jump,
        &raft.handle,
    ));
    runtime.shutdown_timeout(END_TIMEOUT);
    raft.end();
    if let Err(error) = &outcome {
        end_at_once(error);
    }
    outcome
}

/// The thread on which raft runs, and nothing else: its tasks wake each other many times an entry, which costs little on one thread and
/// much across several, and no client's work keeps a heartbeat waiting.
struct RaftThread {
    handle: Handle,
    end: CancellationToken,
    ended: mpsc::Receiver<()>,
}

impl RaftThread {
    fn start() -> Result<RaftThread, ServerError> {
        let failed = |error| ServerError::System("threads".into(), error);
        let runtime = Builder::new_current_thread().enable_all().thread_name("talon-raft").build().map_err(failed)?;
        let (handle, end) = (runtime.handle().clone(), CancellationToken::new());
        let (ending, (has_ended, ended)) = (end.clone(), mpsc::channel());
        let run = move || {
            runtime.block_on(ending.cancelled());
            runtime.shutdown_timeout(END_TIMEOUT);
            drop(has_ended);
        };
        std::thread::Builder::new().name("talon-raft".into()).spawn(run).map_err(failed)?;
        Ok(RaftThread { handle, end, ended })
    }

    /// Waits for its end, but not for long: something may hang in the storage.
    fn end(self) {
        self.end.cancel();
        // Nothing is ever sent: it is over when the sender is gone.
        let _ = self.ended.recv_timeout(2 * END_TIMEOUT);
    }
}

/// Ends the process without the destructors of what is global: threads may still be at work in the storage (a state hash, a wide
/// read), and they would find RocksDB's locks gone and abort. Then the exit code would say that the node crashed.
fn end_at_once(error: &ServerError) -> ! {
    eprintln!("talon: {error}");
    // SAFETY: `_exit` takes no pointer and does not return.
    unsafe { nix::libc::_exit(1) }
}

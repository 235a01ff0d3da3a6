//! What the operating system tells a running process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The wish that this process ends: SIGTERM, SIGINT (Ctrl-C) or SIGHUP (its terminal is gone).
pub struct EndWish {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl EndWish {
    /// Listens from now on; these signals no longer kill the process by themselves.
    ///
    /// # Errors
    /// If the operating system refuses the handlers.
    pub fn listen() -> io::Result<EndWish> {
        Ok(EndWish {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one and returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}

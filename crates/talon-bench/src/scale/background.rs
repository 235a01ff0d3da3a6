//! What goes on beside the thing that is measured: other clients, and a look at the memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::load::{Load, Measured, Resp, Stop, drive};
use crate::machine::{Memory, Used};

const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Nodes that use less of one core together than this have nothing to do but hear from each other.
const QUIET_CORES: f64 = 0.15;
const QUIET_SPAN: Duration = Duration::from_secs(1);
const QUIET_TIMEOUT: Duration = Duration::from_secs(600);

/// Clients that work until they are stopped.
pub struct Others {
    stop: Stop,
    thread: JoinHandle<Outcome<Measured>>,
}

impl Others {
    /// Begins.
    pub fn start(address: SocketAddr, load: Load) -> Others {
        let stop = load.stop.clone();
        Others { stop, thread: thread::spawn(move || drive(&Resp::at(address), &load)) }
    }

    /// Ends; what they saw.
    ///
    /// # Errors
    /// If a connection broke, or a request was answered with an error.
    pub fn stop(self) -> Outcome<Measured> {
        self.stop.now();
        self.thread.join().map_err(|_| "a thread panicked")??.without_errors()
    }
}

/// Looks at the memory of processes until it is stopped.
pub struct Watch {
    stop: Arc<AtomicBool>,
    before: Vec<f64>,
    thread: JoinHandle<Vec<f64>>,
}

/// What was seen of one process.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Resident at the beginning, MiB.
    pub before_mib: f64,
    /// Resident at most, MiB.
    pub most_mib: f64,
}

impl Watch {
    /// Begins. A process that comes later, or ends, is no error.
    pub fn start(pids: &[u32]) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let look = |pids: &[u32]| -> Vec<f64> {
            pids.iter().map(|&pid| Memory::of(pid).map_or(0.0, |memory| memory.resident_mib)).collect()
        };
        let before = look(pids);
        let (pids, is_stopped) = (pids.to_vec(), stop.clone());
        let thread = thread::spawn(move || {
            let mut most = look(&pids);
            while !is_stopped.load(Ordering::Relaxed) {
                thread::sleep(LOOK_INTERVAL);
                most.iter_mut().zip(look(&pids)).for_each(|(most, now)| *most = most.max(now));
            }
            most
        });
        Watch { stop, before, thread }
    }

    /// Ends.
    ///
    /// # Errors
    /// None but a panic of the thread.
    pub fn stop(self) -> Outcome<Vec<Seen>> {
        self.stop.store(true, Ordering::Relaxed);
        let most = self.thread.join().map_err(|_| "a thread panicked")?;
        Ok(self.before.into_iter().zip(most).map(|(before_mib, most_mib)| Seen { before_mib, most_mib }).collect())
    }
}

/// By how much the memory of the process that grew most has grown, MiB.
pub fn growth_mib(seen: &[Seen]) -> f64 {
    seen.iter().map(|seen| seen.most_mib - seen.before_mib).fold(0.0, f64::max)
}

/// Waits until the nodes have nothing more to do: what was written is flushed and compacted.
///
/// # Errors
/// If a node is gone.
pub fn wait_until_quiet(pids: &[u32]) -> Outcome<()> {
    let start = Instant::now();
    let mut before = Used::look(pids)?;
    while start.elapsed() < QUIET_TIMEOUT {
        thread::sleep(QUIET_SPAN);
        let now = Used::look(pids)?;
        let busy: Duration = now.since(&before, 1).servers.iter().sum();
        if busy.as_secs_f64() < QUIET_CORES * QUIET_SPAN.as_secs_f64() {
            return Ok(());
        }
        before = now;
    }
    println!("  the nodes are still busy after {} s", QUIET_TIMEOUT.as_secs());
    Ok(())
}

//! The simulated machine that a node runs on: clocks, disks, connections, and power. It outlives the node: what is on its disks is
//! there when the node is started again.

mod clocks;
mod disks;
mod pause;
mod sockets;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use talon_core::random::SplitMix64;
use talon_raft::environment::{Environment, Observer, Workers};

pub use clocks::MachineClocks;
pub use disks::{MachineDisks, PowerLoss};
pub use pause::Pause;
pub use sockets::{Door, MachineSockets, Socket, connect, listen};

/// The machine of one node.
pub struct Machine {
    /// Its clocks.
    pub clocks: Arc<MachineClocks>,
    /// Its disks.
    pub disks: Arc<MachineDisks>,
    /// Whether it stands still.
    pub pause: Arc<Pause>,
    folder: PathBuf,
    seeds: Mutex<SplitMix64>,
}

impl Machine {
    /// A new machine with empty disks; what a node keeps as plain files lies in `folder`.
    pub fn new(folder: &Path, seed: u64) -> Machine {
        let mut seeds = SplitMix64(seed);
        let pause = Arc::new(Pause::default());
        Machine {
            clocks: Arc::new(MachineClocks::new(pause.clone())),
            disks: Arc::new(MachineDisks::new(seeds.draw(), pause.clone())),
            pause,
            folder: folder.to_owned(),
            seeds: Mutex::new(seeds),
        }
    }

    /// Where a node's plain files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts in new, empty disks. Nobody may be using the old ones.
    ///
    /// # Errors
    /// If the folder of plain files cannot be removed.
    pub fn empty(&self) -> std::io::Result<()> {
        self.disks.empty();
        if self.folder.exists() { std::fs::remove_dir_all(&self.folder) } else { Ok(()) }
    }

    /// What a node is started in.
    pub fn environment(&self, observer: Arc<dyn Observer>) -> Environment {
        Environment {
            clocks: self.clocks.clone(),
            sockets: Arc::new(MachineSockets::new(self.pause.clone())),
            disks: self.disks.clone(),
            workers: Workers::Inline,
            observer: Some(observer),
        }
    }

    /// The next random number of this machine.
    pub fn draw(&self) -> u64 {
        lock(&self.seeds).draw()
    }
}

/// Nothing panics while one of these locks is held, and if it did, the run would be over.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

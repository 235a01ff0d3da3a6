//! Large values, so that log segments fill, checkpoints are taken, and RocksDB writes files, every other second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use talon_cluster_tests::{Outcome, attempt};
use talon_tests_support::{Client, wait_until};

/// How many keys are written in turn.
const KEYS: u64 = 32;
const VALUE_BYTES: usize = 48 << 10;
/// Between two values: about 2 MB a second.
const REST: Duration = Duration::from_millis(16);
const TIMEOUT: Duration = Duration::from_secs(20);

/// A running writer.
#[derive(Debug)]
pub struct Ballast {
    stop: Arc<AtomicBool>,
    written_bytes: Arc<AtomicU64>,
    thread: JoinHandle<Vec<u64>>,
}

impl Ballast {
    /// Starts to write under this prefix.
    pub fn start(addresses: &[SocketAddr], prefix: &str) -> Ballast {
        let stop = Arc::new(AtomicBool::new(false));
        let written_bytes = Arc::new(AtomicU64::new(0));
        let (addresses, prefix, stopped) = (addresses.to_vec(), prefix.to_owned(), Arc::clone(&stop));
        let written = Arc::clone(&written_bytes);
        let thread = thread::spawn(move || {
            let mut acknowledged = vec![0; KEYS as usize];
            let mut client = None;
            for number in 1.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                thread::sleep(REST);
                let address = addresses[number as usize % addresses.len()];
                let Some(mut open) = client.take().or_else(|| connect(address)) else { continue };
                let key = format!("{prefix}:ballast:{}", number % KEYS);
                let words = vec!["SET".to_owned(), key, format!("{number:0>VALUE_BYTES$}")];
                if let Outcome::Acknowledged(_) = attempt(&mut open, &[words]) {
                    acknowledged[(number % KEYS) as usize] = number;
                    written.fetch_add(VALUE_BYTES as u64, Ordering::Relaxed);
                    client = Some(open);
                }
            }
            acknowledged
        });
        Ballast { stop, written_bytes, thread }
    }

    /// Waits until so many more bytes have been acknowledged; whether that was in time.
    pub fn goes_on(&self, more_bytes: u64, timeout: Duration) -> bool {
        let written_bytes = || self.written_bytes.load(Ordering::Relaxed);
        let target_bytes = written_bytes() + more_bytes;
        wait_until(timeout, || written_bytes() >= target_bytes)
    }

    /// Ends the writer; every key must have what was last acknowledged, or something newer.
    ///
    /// # Panics
    /// If one has not.
    pub fn check(self, prefix: &str, client: &mut Client) {
        self.stop.store(true, Ordering::Relaxed);
        let acknowledged = self.thread.join().expect("the writer ends");
        for (place, least) in acknowledged.iter().enumerate() {
            let value = client.call(&["GET", &format!("{prefix}:ballast:{place}")]).expect("an answer").text();
            let found: u64 = value.map_or(0, |text| text.parse().expect("a number with zeros in front"));
            assert!(found >= *least, "LOST: key {place} of the ballast has {found}, and {least} was acknowledged");
        }
    }
}

fn connect(address: SocketAddr) -> Option<Client> {
    let client = Client::connect(address).ok()?;
    client.set_timeout(TIMEOUT).ok()?;
    Some(client)
}

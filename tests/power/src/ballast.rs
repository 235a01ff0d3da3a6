//! Large values, so that log segments fill, checkpoints are taken, and RocksDB writes files, every other second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use talon_cluster_tests::{Outcome, attempt};
use talon_tests_support::Client;

/// How many keys are written in turn.
const KEYS: u64 = 32;
const VALUE_BYTES: usize = 16 << 10;
/// Between two values: about 1 MB a second.
const REST: Duration = Duration::from_millis(16);
const TIMEOUT: Duration = Duration::from_secs(20);

/// A running writer.
#[derive(Debug)]
pub struct Ballast {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u64>>,
}

impl Ballast {
    /// Starts to write under this prefix.
    pub fn start(addresses: &[SocketAddr], prefix: &str) -> Ballast {
        let stop = Arc::new(AtomicBool::new(false));
        let (addresses, prefix, stopped) = (addresses.to_vec(), prefix.to_owned(), Arc::clone(&stop));
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
                    client = Some(open);
                }
            }
            acknowledged
        });
        Ballast { stop, thread }
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

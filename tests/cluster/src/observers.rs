//! Readers of every node, in sessions of their own: what they see is never half a transaction and never goes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use talon_tests_support::{Client, Value};

/// How long an observer rests between two looks.
const REST: Duration = Duration::from_millis(5);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Only so many complaints are kept.
const COMPLAINTS_MAX: usize = 10;

/// One reader a node.
#[derive(Debug)]
pub struct Observers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(u64, Vec<String>)>>,
}

impl Observers {
    /// Reads the pairs of the writers with these prefixes.
    pub fn start(addresses: &[SocketAddr], prefixes: Vec<String>) -> Observers {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = addresses
            .iter()
            .map(|address| {
                let (address, prefixes, stop) = (*address, prefixes.clone(), Arc::clone(&stop));
                thread::spawn(move || observe(address, &prefixes, &stop))
            })
            .collect();
        Observers { stop, threads }
    }

    /// How many looks were good, and what was not.
    pub fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = (0, Vec::new());
        for thread in self.threads {
            let (looks, complaints) = thread.join().expect("an observer ends");
            all.0 += looks;
            all.1.extend(complaints);
        }
        all
    }
}

fn observe(address: SocketAddr, prefixes: &[String], stop: &AtomicBool) -> (u64, Vec<String>) {
    let (mut looks, mut complaints) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) && complaints.len() < COMPLAINTS_MAX {
        thread::sleep(REST);
        // Each connection is a session. It reads from whatever this node is at the time.
        let Some(mut client) = session(address) else { continue };
        let mut last = vec![(0, 0); prefixes.len()];
        'session: while !stop.load(Ordering::Relaxed) {
            for (prefix, last) in prefixes.iter().zip(&mut last) {
                let keys = ["p:a", "p:b", "p:c"].map(|key| format!("{prefix}:{key}"));
                let words = [&["MGET".to_owned()], &keys[..]].concat();
                let Ok(Value::Array(values)) = client.call(&words) else { break 'session };
                let numbers: Vec<i64> =
                    values.iter().map(|value| value.text().map_or(0, |text| text.parse().unwrap_or(-1))).collect();
                let now = (numbers[0], numbers[2]);
                if numbers[0] != numbers[1] {
                    complaints.push(format!("{address}: half a transaction of {prefix}: {numbers:?}"));
                } else if now.0 < last.0 || now.1 < last.1 {
                    complaints.push(format!("{address}: {prefix} went back from {last:?} to {now:?}"));
                }
                *last = now;
                looks += 1;
            }
            thread::sleep(REST);
        }
    }
    (looks, complaints)
}

fn session(address: SocketAddr) -> Option<Client> {
    let mut client = Client::connect(address).ok()?;
    client.set_timeout(TIMEOUT).ok()?;
    matches!(client.call(&["READONLY"]), Ok(Value::Simple(_))).then_some(client)
}

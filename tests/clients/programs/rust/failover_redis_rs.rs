//! The crate `redis` through a failover: `failover_redis_rs sentinel|cluster off|default PORT,PORT,PORT KEY`. What it
//! writes is told in `programs/python/writer.py`.
//!
//! Its blocking connections stay broken once they broke, and an application opens another; that is what `Client` does.

use std::error::Error;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis::cluster::{ClusterClient, ClusterConnection};
use redis::sentinel::Sentinel;
use redis::{Connection, RedisResult};

/// How long it rests after a success: several programs share one machine.
const REST: Duration = Duration::from_millis(5);
const REST_AFTER_FAILURE: Duration = Duration::from_millis(20);

enum Client {
    Cluster { client: ClusterClient, open: Option<ClusterConnection> },
    Sentinel { sentinel: Box<Sentinel>, open: Option<Connection> },
}

impl Client {
    fn incr(&mut self, key: &str) -> RedisResult<i64> {
        let mut command = redis::cmd("INCR");
        command.arg(key);
        match self {
            Client::Cluster { client, open } => {
                let mut connection = open.take().map_or_else(|| client.get_connection(), Ok)?;
                let reply = command.query(&mut connection);
                *open = Some(connection).filter(|_| reply.is_ok());
                reply
            }
            Client::Sentinel { sentinel, open } => {
                let fresh = |sentinel: &mut Sentinel| sentinel.master_for("talon", None)?.get_connection();
                let mut connection = open.take().map_or_else(|| fresh(sentinel), Ok)?;
                let reply = command.query(&mut connection);
                *open = Some(connection).filter(|_| reply.is_ok());
                reply
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [discovery, retries, ports, key] = &words[..] else {
        return Err("usage: failover_redis_rs sentinel|cluster off|default PORT,PORT,PORT KEY".into());
    };
    let urls: Vec<String> = ports.split(',').map(|port| format!("redis://127.0.0.1:{port}")).collect();
    let mut client = if discovery == "sentinel" {
        Client::Sentinel { sentinel: Box::new(Sentinel::build(urls)?), open: None }
    } else {
        let builder = ClusterClient::builder(urls);
        let client = if retries == "off" { builder.retries(0) } else { builder }.build()?;
        Client::Cluster { client, open: None }
    };
    let ended = Arc::new(AtomicBool::new(false));
    let input_ended = Arc::clone(&ended);
    thread::spawn(move || {
        // An error ends the input, too.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        input_ended.store(true, Ordering::Relaxed);
    });
    let begun = Instant::now();
    let mut number = 0_u64;
    while !ended.load(Ordering::Relaxed) {
        number += 1;
        let outcome = client.incr(key);
        let ms = begun.elapsed().as_secs_f64() * 1000.0;
        match outcome {
            Ok(reply) => {
                println!("ok {number} {reply} {ms:.1}");
                thread::sleep(REST);
            }
            Err(error) => {
                println!("failed {number} {ms:.1} {error}");
                thread::sleep(REST_AFTER_FAILURE);
            }
        }
    }
    Ok(())
}

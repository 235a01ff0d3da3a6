//! The crate `redis` through a failover: `failover_redis_rs cluster default|once PORT,PORT,PORT KEY`. What it writes is told in
//! `programs/python/writer.py`.
//!
//! Its blocking connections look at the slots again when they are redirected, never when a node is gone; its pools throw such a
//! connection away, and so does this.

use std::error::Error;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use redis::cluster::{ClusterClient, ClusterConnection};
use redis::{Cmd, RedisResult};

/// How long it rests after a success: several programs share one machine.
const REST: Duration = Duration::from_millis(5);
const REST_AFTER_FAILURE: Duration = Duration::from_millis(20);

fn carry_out(client: &ClusterClient, open: &mut Option<ClusterConnection>, command: &Cmd) -> RedisResult<i64> {
    let mut connection = open.take().map_or_else(|| client.get_connection(), Ok)?;
    let reply = command.query(&mut connection)?;
    *open = Some(connection);
    Ok(reply)
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [_, retries, ports, key] = &words[..] else {
        return Err("usage: failover_redis_rs cluster default|once PORT,PORT,PORT KEY".into());
    };
    let once = retries == "once";
    let session = format!("{key}:{}", SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos());
    let urls = ports.split(',').map(|port| format!("redis://127.0.0.1:{port}"));
    let client = ClusterClient::new(urls)?;
    let mut open = None;
    let ended = Arc::new(AtomicBool::new(false));
    let input_ended = Arc::clone(&ended);
    thread::spawn(move || {
        // An error ends the input, too.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        input_ended.store(true, Ordering::Relaxed);
    });
    let begun = Instant::now();
    let mut number = 1_u64;
    while !ended.load(Ordering::Relaxed) {
        let mut command = Cmd::new();
        if once {
            command.arg("ONCE").arg(&session).arg(number);
        }
        let outcome = carry_out(&client, &mut open, command.arg("INCR").arg(key));
        let ms = begun.elapsed().as_secs_f64() * 1000.0;
        match outcome {
            Ok(reply) => {
                println!("ok {number} {reply} {ms:.1}");
                number += 1;
                thread::sleep(REST);
            }
            Err(error) => {
                println!("failed {number} {ms:.1} {error}");
                number += u64::from(!once);
                thread::sleep(REST_AFTER_FAILURE);
            }
        }
    }
    Ok(())
}

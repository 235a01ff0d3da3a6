//! The loads: `redis-benchmark`, and one client that waits for every reply.

use std::error::Error;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use talon_tests_support::{Client, Value, wait_until};

/// As many as `redis-benchmark` has by itself.
const CONNECTIONS: u64 = 50;
/// The bytes of a value.
const VALUE_BYTES: usize = 64;
/// Keys in one MSET while the keys are being filled, and how many of these are under way at once.
const FILL_KEYS: usize = 100;
const FILL_DEPTH: usize = 16;
/// How many keys are asked for to see whether GETs hit.
const SAMPLE: usize = 10_000;
/// How much longer than expected a load may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(90);

/// The key that `redis-benchmark -r` makes of a number.
fn key(number: u64) -> String {
    format!("key:{number:012}")
}

fn value(random: &mut impl Rng) -> Vec<u8> {
    (0..VALUE_BYTES).map(|_| random.random_range(b'0'..=b'o')).collect()
}

/// Sets all keys that `redis-benchmark -r keys` may ask for.
///
/// # Errors
/// If the server does not take them.
pub fn fill(address: SocketAddr, keys: u64) -> io::Result<()> {
    let mut client = Client::connect(address)?;
    let mut random = StdRng::seed_from_u64(keys);
    let mut under_way = 0;
    let numbers: Vec<u64> = (0..keys).collect();
    for group in numbers.chunks(FILL_KEYS) {
        let mut words = vec![b"MSET".to_vec()];
        for &number in group {
            words.extend([key(number).into_bytes(), value(&mut random)]);
        }
        client.send(&words)?;
        under_way += 1;
        if under_way == FILL_DEPTH {
            expect_ok(&client.receive()?)?;
            under_way -= 1;
        }
    }
    (0..under_way).try_for_each(|_| expect_ok(&client.receive()?))
}

fn expect_ok(reply: &Value) -> io::Result<()> {
    if *reply == Value::Simple("OK".into()) { Ok(()) } else { Err(io::Error::other(format!("not OK: {reply:?}"))) }
}

/// Which share of random GETs finds its key.
///
/// # Errors
/// If the server does not answer.
pub fn hit_share(address: SocketAddr, keys: u64) -> io::Result<f64> {
    let mut client = Client::connect(address)?;
    let mut random = StdRng::seed_from_u64(1);
    let mut hits = 0;
    for _ in 0..SAMPLE / FILL_KEYS {
        let mut words = vec!["MGET".to_owned()];
        words.extend((0..FILL_KEYS).map(|_| key(random.random_range(0..keys))));
        let Value::Array(values) = client.call(&words)? else { return Err(io::Error::other("MGET answers no array")) };
        hits += values.iter().filter(|value| matches!(value, Value::Bulk(bytes) if bytes.len() == VALUE_BYTES)).count();
    }
    Ok(hits as f64 / SAMPLE as f64)
}

/// What `redis-benchmark` measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Requests a second.
    pub requests_per_s: f64,
    /// Half of the requests took no longer.
    pub p50_ms: f64,
    /// 99 of 100 requests took no longer.
    pub p99_ms: f64,
}

/// One run of `redis-benchmark`.
#[derive(Clone, Copy, Debug)]
pub struct RedisBenchmark {
    /// The server.
    pub address: SocketAddr,
    /// `set`, `get` or `incr`.
    pub test: &'static str,
    /// Requests that one connection sends before it waits.
    pub pipeline: u64,
    /// How many keys there are.
    pub keys: u64,
}

impl RedisBenchmark {
    /// As many requests as take about `time` at `requests_per_s`: whole pipelines of all connections.
    pub fn requests(&self, requests_per_s: f64, time: Duration) -> u64 {
        let turn = self.pipeline * CONNECTIONS;
        ((requests_per_s * time.as_secs_f64()) as u64 / turn).max(1) * turn
    }

    /// Sends so many requests.
    ///
    /// # Errors
    /// If `redis-benchmark` fails, so also if the server answers with an error, or takes much longer than `expected`.
    pub fn run(&self, requests: u64, expected: Duration) -> Result<Measured, Box<dyn Error>> {
        let mut command = Command::new("redis-benchmark");
        command.args(["-h", &self.address.ip().to_string(), "-p", &self.address.port().to_string()]);
        command.args(["-c", &CONNECTIONS.to_string(), "-d", &VALUE_BYTES.to_string(), "-r", &self.keys.to_string()]);
        command.args(["-t", self.test, "-P", &self.pipeline.to_string(), "-n", &requests.to_string(), "--csv"]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-benchmark (apt-get install redis-tools): {error}"))?;
        let mut ended = None;
        // What it writes is two lines, so the pipe never fills.
        wait_until(expected + PATIENCE, || {
            ended = child.try_wait().ok().flatten();
            ended.is_some()
        });
        let Some(status) = ended else {
            child.kill()?;
            child.wait()?;
            return Err(format!("{self:?} did not end in time").into());
        };
        let mut text = String::new();
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_string(&mut text)?;
        }
        match parse_csv(&text).filter(|_| status.success()) {
            Some(measured) => Ok(measured),
            None => Err(format!("{self:?}: {status}\n{text}").into()),
        }
    }
}

/// The one row of `redis-benchmark --csv`, by the names in its header.
fn parse_csv(text: &str) -> Option<Measured> {
    let mut rows = text
        .lines()
        .filter(|line| line.starts_with('"'))
        .map(|line| line.split(',').map(|field| field.trim_matches('"')));
    let (names, row): (Vec<&str>, Vec<&str>) = (rows.next()?.collect(), rows.next()?.collect());
    let number = |name: &str| row.get(names.iter().position(|&field| field == name)?)?.parse().ok();
    Some(Measured {
        requests_per_s: number("rps")?,
        p50_ms: number("p50_latency_ms")?,
        p99_ms: number("p99_latency_ms")?,
    })
}

/// One client that sends a SET, waits for its reply, and sends the next.
///
/// # Errors
/// If the server does not take a SET.
pub fn closed_loop(address: SocketAddr, keys: u64, time: Duration) -> io::Result<Measured> {
    let mut client = Client::connect(address)?;
    let mut random = StdRng::seed_from_u64(2);
    let text = value(&mut random);
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed() < time {
        let key = key(random.random_range(0..keys));
        let sent = Instant::now();
        let reply = client.call(&[b"SET", key.as_bytes(), &text])?;
        times.push(sent.elapsed());
        expect_ok(&reply)?;
    }
    let requests_per_s = times.len() as f64 / started.elapsed().as_secs_f64();
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    Ok(Measured { requests_per_s, p50_ms: at(0.50), p99_ms: at(0.99) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_csv_is_read_by_its_header() {
        let text = "WARNING: something\n\
            \"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
            \"SET\",\"10695.19\",\"4.503\",\"1.040\",\"3.343\",\"8.127\",\"41.695\",\"47.007\"\n";
        assert_eq!(parse_csv(text), Some(Measured { requests_per_s: 10695.19, p50_ms: 3.343, p99_ms: 41.695 }));
        assert_eq!(parse_csv("Error from server: MOVED 1 127.0.0.1:6381\n"), None);
    }

    #[test]
    fn requests_are_whole_pipelines_and_never_none() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let load = RedisBenchmark { address, test: "set", pipeline: 16, keys: 10 };
        assert_eq!(load.requests(1000.0, Duration::from_secs(4)), 4000);
        assert_eq!(load.requests(1.0, Duration::from_secs(1)), 800);
    }

    #[test]
    fn keys_are_those_of_redis_benchmark() {
        assert_eq!(key(42), "key:000000000042");
        assert_eq!(value(&mut StdRng::seed_from_u64(3)).len(), VALUE_BYTES);
    }
}

//! `redis-benchmark`, the client that nobody here has written.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use talon_tests_support::wait_until;

use super::Sample;
use crate::Outcome;

/// The bytes of a value.
pub const VALUE_BYTES: usize = 64;
/// How much is sent to find out how much fills the time of one cell.
const PROBE_PER_CONNECTION: u64 = 20;
/// How much longer than expected a load may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(180);

/// One way to run it.
#[derive(Clone, Copy, Debug)]
pub struct RedisBenchmark {
    /// The server.
    pub address: SocketAddr,
    /// `set`, `get` or `incr`.
    pub test: &'static str,
    /// Requests that one connection sends before it waits.
    pub pipeline: u64,
    /// Connections.
    pub connections: u64,
    /// How many keys there are.
    pub keys: u64,
}

impl RedisBenchmark {
    /// As many requests as take about `time`, found by a short run: whole pipelines of all connections.
    ///
    /// # Errors
    /// As [`RedisBenchmark::run`].
    pub fn requests(&self, time: Duration) -> Outcome<u64> {
        let turn = self.pipeline * self.connections;
        let probe = self.run(turn * PROBE_PER_CONNECTION, time)?;
        Ok(((probe.requests_per_s * time.as_secs_f64()) as u64 / turn).max(1) * turn)
    }

    /// Sends so many requests.
    ///
    /// # Errors
    /// If `redis-benchmark` fails, so also if the server answers with an error, or takes much longer than `expected`.
    pub fn run(&self, requests: u64, expected: Duration) -> Outcome<Sample> {
        let mut command = Command::new("redis-benchmark");
        let (connections, bytes) = (self.connections.to_string(), VALUE_BYTES.to_string());
        command.args(["-h", &self.address.ip().to_string(), "-p", &self.address.port().to_string()]);
        command.args(["-c", &connections, "-d", &bytes, "-r", &self.keys.to_string()]);
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
            Some(sample) => Ok(Sample { requests, ..sample }),
            None => Err(format!("{self:?}: {status}\n{text}").into()),
        }
    }
}

/// The one row of `redis-benchmark --csv`, by the names in its header.
fn parse_csv(text: &str) -> Option<Sample> {
    let mut rows = text
        .lines()
        .filter(|line| line.starts_with('"'))
        .map(|line| line.split(',').map(|field| field.trim_matches('"')));
    let (names, row): (Vec<&str>, Vec<&str>) = (rows.next()?.collect(), rows.next()?.collect());
    let number = |name: &str| row.get(names.iter().position(|&field| field == name)?)?.parse().ok();
    Some(Sample {
        requests: 0,
        requests_per_s: number("rps")?,
        p50_ms: number("p50_latency_ms")?,
        p99_ms: number("p99_latency_ms")?,
        p999_ms: None,
        hit_rate: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_csv_is_read_by_its_header() {
        let text = "WARNING: something\n\
            \"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
            \"SET\",\"10695.19\",\"4.503\",\"1.040\",\"3.343\",\"8.127\",\"41.695\",\"47.007\"\n";
        let sample = parse_csv(text).unwrap();
        assert_eq!((sample.requests_per_s, sample.p50_ms, sample.p99_ms), (10695.19, 3.343, 41.695));
        assert!(parse_csv("Error from server: MOVED 1 127.0.0.1:6381\n").is_none());
    }
}

//! Loads: what is asked for, by how many clients, and how fast. The same for every target: RESP, gRPC, the embedded database.

mod embedded;
mod engine;
mod grpc;
mod keys;
mod replies;
mod resp;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use rand::seq::SliceRandom;
use rand::{SeedableRng, rngs::StdRng};
use serde::Serialize;

use crate::Outcome;

pub use embedded::Embedded;
pub use engine::drive;
pub use grpc::Grpc;
pub use keys::key;
pub use replies::{Answer, Replies};
pub use resp::Resp;

/// How many bytes are under way on one connection at most while keys are filled.
const FILL_BYTES: usize = 1 << 20;
const FILL_CONNECTIONS: usize = 8;
const FILL_PIPELINE: usize = 64;

/// What one request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Reads a key.
    Get,
    /// Writes a key.
    Set,
    /// Adds one to a counter.
    Incr,
    /// Reads a stretch of keys with their values.
    Scan,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Get, Kind::Set, Kind::Incr, Kind::Scan];

    /// As it is written in a mix.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Get => "get",
            Kind::Set => "set",
            Kind::Incr => "incr",
            Kind::Scan => "scan",
        }
    }
}

/// Which kinds of requests, and how many of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// With their weights.
    pub kinds: Vec<(Kind, u32)>,
    /// Whether they come in turn instead of by chance.
    pub in_turn: bool,
}

impl Mix {
    /// Only this.
    pub fn only(kind: Kind) -> Mix {
        Mix { kinds: vec![(kind, 1)], in_turn: true }
    }

    /// One of each, in turn.
    pub fn in_turn(kinds: &[Kind]) -> Mix {
        Mix { kinds: kinds.iter().map(|&kind| (kind, 1)).collect(), in_turn: true }
    }

    /// Whether it asks for this.
    pub fn has(&self, kind: Kind) -> bool {
        self.kinds.iter().any(|&(known, weight)| known == kind && weight > 0)
    }

    /// The request at a place, where `chance` is a random number.
    pub fn kind_at(&self, place: u64, chance: u64) -> Kind {
        let total: u64 = self.kinds.iter().map(|&(_, weight)| u64::from(weight)).sum();
        let mut rest = if self.in_turn { place } else { chance } % total.max(1);
        for &(kind, weight) in &self.kinds {
            match rest.checked_sub(u64::from(weight)) {
                Some(left) => rest = left,
                None => return kind,
            }
        }
        Kind::Get
    }
}

impl FromStr for Mix {
    type Err = String;

    /// `get=95,set=5` by chance, `set+get` in turn.
    fn from_str(text: &str) -> Result<Mix, String> {
        let kind = |name: &str| {
            let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
            found.ok_or_else(|| format!("{name} is none of get, set, incr, scan"))
        };
        if !text.contains('=') {
            let kinds = text.split('+').map(|name| Ok((kind(name)?, 1))).collect::<Result<_, String>>()?;
            return Ok(Mix { kinds, in_turn: true });
        }
        let mut kinds = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').ok_or("a mix is like get=95,set=5 or set+get")?;
            kinds.push((kind(name)?, weight.parse::<u16>().map_err(|error| format!("{part}: {error}"))?.into()));
        }
        if kinds.iter().all(|&(_, weight)| weight == 0) {
            return Err("nothing has a weight".into());
        }
        Ok(Mix { kinds, in_turn: false })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (between, weights) = if self.in_turn { ("+", false) } else { (",", true) };
        for (place, (kind, weight)) in self.kinds.iter().enumerate() {
            let before = if place == 0 { "" } else { between };
            write!(f, "{before}{}", kind.name())?;
            if weights {
                write!(f, "={weight}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Mix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Which keys are asked for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keys {
    /// All are as likely.
    Uniform,
    /// The most wanted one is wanted 2^exponent times as often as the second, and so on; which ones these are is scattered over all keys.
    Zipfian(f64),
    /// All are as likely; the first has this number.
    Beyond(u64),
    /// Each once, in this order.
    #[serde(skip)]
    Each(Arc<Vec<u32>>),
}

impl Keys {
    /// Each of so many keys once, in a random order.
    ///
    /// # Errors
    /// If there are more than 2^32.
    pub fn shuffled(keys: u64) -> Outcome<Keys> {
        let mut order: Vec<u32> = (0..u32::try_from(keys)?).collect();
        order.shuffle(&mut StdRng::seed_from_u64(keys));
        Ok(Keys::Each(Arc::new(order)))
    }
}

/// When it ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// After so long.
    Time(Duration),
    /// After so many requests.
    Requests(u64),
}

/// Ends a load from outside.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// No further request falls due.
    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A load.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    /// What is asked for.
    pub mix: Mix,
    /// How many keys there are.
    pub keys: u64,
    /// Which of them are asked for.
    pub order: Keys,
    /// The bytes of a value.
    pub value_bytes: usize,
    /// How many keys one scan reads.
    pub scan_keys: u64,
    /// How many connections (embedded: callers).
    pub connections: usize,
    /// How many requests are under way on one connection.
    pub pipeline: usize,
    /// How many threads carry the connections.
    pub threads: usize,
    /// Open loop: so many requests a second fall due, whether or not the earlier ones are answered. Closed loop: none.
    pub rate: Option<f64>,
    /// When it ends.
    pub limit: Limit,
    /// Ends it earlier.
    #[serde(skip)]
    pub stop: Stop,
    /// Where the random numbers begin.
    pub seed: u64,
}

impl Load {
    /// Closed loop on 50 connections, with 64-byte values.
    pub fn new(mix: Mix, keys: u64, limit: Limit) -> Load {
        Load {
            mix,
            keys,
            order: Keys::Uniform,
            value_bytes: 64,
            scan_keys: 100,
            connections: 50,
            pipeline: 1,
            threads: 1,
            rate: None,
            limit,
            stop: Stop::default(),
            seed: 1,
        }
    }

    /// Sets every key once.
    ///
    /// # Errors
    /// If there are too many keys.
    pub fn fill(keys: u64, value_bytes: usize) -> Outcome<Load> {
        let pipeline = (FILL_BYTES / value_bytes.max(1)).clamp(1, FILL_PIPELINE);
        Ok(Load {
            order: Keys::shuffled(keys)?,
            value_bytes,
            connections: FILL_CONNECTIONS,
            pipeline,
            ..Load::new(Mix::only(Kind::Set), keys, Limit::Requests(keys))
        })
    }

    /// With so many requests under way on each connection.
    #[must_use]
    pub fn pipeline(self, pipeline: usize) -> Load {
        Load { pipeline, ..self }
    }

    /// With so many connections.
    #[must_use]
    pub fn connections(self, connections: usize) -> Load {
        Load { connections, ..self }
    }

    /// With so many requests falling due each second.
    #[must_use]
    pub fn rate(self, rate: f64) -> Load {
        Load { rate: Some(rate), ..self }
    }

    /// With values of so many bytes.
    #[must_use]
    pub fn value_bytes(self, value_bytes: usize) -> Load {
        Load { value_bytes, ..self }
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What it does.
    pub kind: Kind,
    /// The key's number.
    pub number: u64,
    /// What is written.
    pub value: &'a [u8],
    /// How many keys a scan reads.
    pub scan_keys: u64,
}

/// What became of requests.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// GETs that found their key.
    pub hits: u64,
    /// GETs that did not.
    pub misses: u64,
    /// Keys that scans read.
    pub scanned: u64,
    /// Requests that were answered with an error.
    pub errors: u64,
    /// The first of these.
    pub first_error: Option<String>,
}

impl Counts {
    /// One GET.
    pub fn get(&mut self, found: bool) {
        if found { self.hits += 1 } else { self.misses += 1 }
    }

    /// One error.
    pub fn error(&mut self, text: impl Into<String>) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| text.into());
    }

    fn add(&mut self, other: Counts) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.scanned += other.scanned;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    /// Which share of the GETs found their key; none without GETs.
    pub fn hit_rate(&self) -> Option<f64> {
        let gets = self.hits + self.misses;
        (gets > 0).then(|| self.hits as f64 / gets as f64)
    }
}

/// What was measured. Latencies are in nanoseconds.
pub struct Measured {
    /// By kind, those that occurred.
    pub latencies: Vec<(Kind, Histogram<u64>)>,
    /// What became of the requests.
    pub counts: Counts,
    /// From the first request to the last reply.
    pub elapsed: Duration,
}

impl Measured {
    /// Requests that were answered.
    pub fn requests(&self) -> u64 {
        self.latencies.iter().map(|(_, histogram)| histogram.len()).sum()
    }

    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.requests() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The latencies of this kind.
    pub fn of(&self, kind: Kind) -> Option<&Histogram<u64>> {
        self.latencies.iter().find(|(known, _)| *known == kind).map(|(_, histogram)| histogram)
    }

    /// Itself, unless a request was answered with an error.
    ///
    /// # Errors
    /// Then.
    pub fn without_errors(self) -> Outcome<Measured> {
        match &self.counts.first_error {
            Some(first) => {
                Err(format!("{} of {} requests failed: {first}", self.counts.errors, self.requests()).into())
            }
            None => Ok(self),
        }
    }
}

/// What is driven.
pub trait Target: Sync {
    /// A connection, or one of several users of one.
    type Session: Session;

    /// How many requests a session carries at once, of `pipeline` on one connection; the connection has as many sessions as make up
    /// the pipeline.
    fn depth(&self, pipeline: usize) -> usize;

    /// Opens one connection, for so many sessions.
    fn connect(&self, connection: usize, sessions: usize) -> impl Future<Output = Outcome<Vec<Self::Session>>>;
}

/// One user of a connection, who sends some requests, waits for all replies, and sends the next.
pub trait Session: 'static {
    /// Sends and waits.
    fn exchange(&mut self, requests: &[Request<'_>], counts: &mut Counts) -> impl Future<Output = Outcome<()>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_are_read_and_written() {
        let mix: Mix = "get=95,set=5".parse().unwrap();
        assert_eq!((mix.kinds.clone(), mix.in_turn), (vec![(Kind::Get, 95), (Kind::Set, 5)], false));
        assert_eq!((mix.kind_at(0, 94), mix.kind_at(0, 95), mix.kind_at(0, 100)), (Kind::Get, Kind::Set, Kind::Get));
        let turn: Mix = "set+get".parse().unwrap();
        assert_eq!([0, 1, 2].map(|place| turn.kind_at(place, 7)), [Kind::Set, Kind::Get, Kind::Set]);
        assert_eq!((mix.to_string(), turn.to_string()), ("get=95,set=5".into(), "set+get".into()));
        for bad in ["", "put", "get=0", "get=1,set", "get=x"] {
            assert!(bad.parse::<Mix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fill_has_every_key_once() {
        let Keys::Each(order) = Load::fill(1000, 16 << 20).unwrap().order else { panic!("an order") };
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<u32>>());
        assert_ne!(sorted, *order);
        assert_eq!(Load::fill(1000, 16 << 20).unwrap().pipeline, 1, "large values go one by one");
    }
}

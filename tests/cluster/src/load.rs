//! Writers that go on whatever happens to the nodes, as a careful client would, and keep books.
//!
//! A number is never sent twice: a write whose fate is unknown, or that was refused, stays so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use talon_tests_support::{Client, Value};

use crate::books::{Books, Fates, Totals};
use crate::observers::Observers;

/// How long a reply may take: longer than a node holds a call and waits for its fate.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a writer waits before it tries again after an error.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// How the load is made.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// What all keys begin with.
    pub prefix: String,
    /// How many connections write.
    pub writers: usize,
    /// How long each writer rests between two writes.
    pub rest: Duration,
}

impl LoadOptions {
    /// So many writers, without rest.
    pub fn new(prefix: &str, writers: usize) -> LoadOptions {
        LoadOptions { prefix: prefix.to_owned(), writers, rest: Duration::ZERO }
    }
}

/// What one request came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Carried out.
    Acknowledged(Value),
    /// The node says that it was not carried out.
    Refused(String),
    /// Nobody can tell.
    Unknown(String),
}

impl Outcome {
    /// By the words of an error.
    pub fn of_error(line: String) -> Outcome {
        match line.split(' ').next() {
            Some("INDOUBT") => Outcome::Unknown(line),
            _ => Outcome::Refused(line),
        }
    }

    /// The kind of error, for counting.
    fn kind(&self) -> Option<String> {
        match self {
            Outcome::Acknowledged(_) => None,
            Outcome::Refused(line) | Outcome::Unknown(line) => {
                Some(line.split(' ').next().unwrap_or_default().to_owned())
            }
        }
    }

    /// The address behind MOVED.
    fn moved_to(&self) -> Option<SocketAddr> {
        match self {
            Outcome::Refused(line) if line.starts_with("MOVED ") => line.split(' ').nth(2)?.parse().ok(),
            _ => None,
        }
    }
}

/// Sends commands in one go, and reads all replies; the last one tells.
pub fn attempt(client: &mut Client, commands: &[Vec<String>]) -> Outcome {
    let gone = |error: std::io::Error| Outcome::Unknown(format!("connection:{:?}", error.kind()));
    for words in commands {
        if let Err(error) = client.send(words) {
            return gone(error);
        }
    }
    let mut last = Value::Null;
    for _ in commands {
        match client.receive() {
            Ok(value) => last = value,
            Err(error) => return gone(error),
        }
    }
    match last {
        Value::Error(line) => Outcome::of_error(line),
        value => Outcome::Acknowledged(value),
    }
}

/// What all writers share.
#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    begun: Instant,
    acknowledged: AtomicU64,
    /// When something was last acknowledged, in microseconds since the beginning.
    last_us: AtomicU64,
    gap_max_us: AtomicU64,
}

impl Shared {
    fn acknowledge(&self) {
        let now_us = self.begun.elapsed().as_micros() as u64;
        let last_us = self.last_us.fetch_max(now_us, Ordering::Relaxed);
        self.gap_max_us.fetch_max(now_us.saturating_sub(last_us), Ordering::Relaxed);
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// Running writers, and observers that read transactions from all nodes meanwhile.
#[derive(Debug)]
pub struct Load {
    prefix: String,
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<Books>>,
    observers: Observers,
}

impl Load {
    /// Starts writers against these nodes.
    pub fn start(addresses: &[SocketAddr], options: &LoadOptions) -> Load {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            begun: Instant::now(),
            acknowledged: AtomicU64::new(0),
            last_us: AtomicU64::new(0),
            gap_max_us: AtomicU64::new(0),
        });
        let writers = (0..options.writers)
            .map(|number| {
                let writer = Writer {
                    number,
                    books: Books::new(format!("{}:{number}", options.prefix)),
                    shared_counter: format!("{}:shared", options.prefix),
                    addresses: addresses.to_vec(),
                    next: number,
                    client: None,
                    shared: Arc::clone(&shared),
                    rest: options.rest,
                };
                thread::spawn(move || writer.run())
            })
            .collect();
        let prefixes = (0..options.writers).map(|number| format!("{}:{number}", options.prefix)).collect();
        Load { prefix: options.prefix.clone(), shared, writers, observers: Observers::start(addresses, prefixes) }
    }

    /// How many writes have been acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more writes have been acknowledged; whether that was in time.
    pub fn goes_on(&self, more: u64, timeout: Duration) -> bool {
        let (target, end) = (self.acknowledged() + more, Instant::now() + timeout);
        while self.acknowledged() < target {
            if Instant::now() > end {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// The longest time so far in which nobody was acknowledged anything.
    pub fn gap(&self) -> Duration {
        Duration::from_micros(self.shared.gap_max_us.load(Ordering::Relaxed))
    }

    /// Ends the writers and gives their books.
    ///
    /// # Panics
    /// If an observer saw half a transaction or a step back.
    pub fn stop(self) -> AllBooks {
        self.shared.stop.store(true, Ordering::Relaxed);
        let books = self.writers.into_iter().map(|writer| writer.join().expect("a writer ends")).collect();
        let (observations, complaints) = self.observers.stop();
        assert!(complaints.is_empty(), "observers complain: {complaints:#?}");
        AllBooks { shared_counter: format!("{}:shared", self.prefix), books, observations }
    }
}

/// The books of all writers of a load.
#[derive(Clone, Debug)]
pub struct AllBooks {
    shared_counter: String,
    /// One each.
    pub books: Vec<Books>,
    /// How many consistent observations of transactions were made meanwhile.
    pub observations: u64,
}

impl AllBooks {
    /// Compares everything with the data behind `client`, the leader's.
    ///
    /// # Panics
    /// If anything is lost, twice, or there without having been acknowledged or unknown.
    pub fn check(&mut self, client: &mut Client) -> Totals {
        let mut totals = Totals::default();
        for books in &mut self.books {
            totals += &books.check(client);
        }
        let mut complaints: Vec<String> = self.books.iter().flat_map(|books| books.complaints.clone()).collect();
        complaints.extend(self.check_shared_counter(client));
        assert!(complaints.is_empty(), "{complaints:#?}");
        totals
    }

    /// All writers' answers are different numbers, and none is beyond what was asked for.
    fn check_shared_counter(&self, client: &mut Client) -> Vec<String> {
        let mut all = Books::new(self.shared_counter.clone());
        let acknowledged: u64 = self.books.iter().map(|books| books.shared.acknowledged.len() as u64).sum();
        let unknown: u64 = self.books.iter().map(|books| books.shared.unknown.len() as u64).sum();
        let mut answers: Vec<i64> = self.books.iter().flat_map(|books| books.shared_answers.clone()).collect();
        answers.sort_unstable();
        let twice: Vec<i64> = answers.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
        if !twice.is_empty() {
            all.complain(format!("answered twice: {twice:?}"));
        }
        let value = match client.call(&["GET", &self.shared_counter]) {
            Ok(value) => value.text().and_then(|text| text.parse::<i64>().ok()),
            Err(error) => {
                all.complain(error.to_string());
                None
            }
        };
        all.check_count("the counter of all", value, (acknowledged, acknowledged + unknown));
        if answers.last().copied() > value {
            all.complain(format!("{:?} was answered, and it is {value:?}", answers.last()));
        }
        all.complaints
    }

    /// How many errors of which kind all writers met.
    pub fn errors(&self) -> std::collections::BTreeMap<String, u64> {
        let mut errors = std::collections::BTreeMap::new();
        for (kind, count) in self.books.iter().flat_map(|books| &books.errors) {
            *errors.entry(kind.clone()).or_insert(0) += count;
        }
        errors
    }
}

struct Writer {
    number: usize,
    books: Books,
    shared_counter: String,
    addresses: Vec<SocketAddr>,
    next: usize,
    client: Option<Client>,
    shared: Arc<Shared>,
    rest: Duration,
}

impl Writer {
    fn run(mut self) -> Books {
        let mut number = 0;
        let mut last = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let Some(mut client) = self.client.take().or_else(|| self.connect()) else {
                *self.books.errors.entry("no node takes a connection".to_owned()).or_default() += 1;
                thread::sleep(PAUSE_AFTER_ERROR);
                continue;
            };
            number += 1;
            let outcome = self.write(&mut client, number);
            if let Some(kind) = outcome.kind() {
                *self.books.errors.entry(kind).or_default() += 1;
                match outcome.moved_to().and_then(|leader| self.addresses.iter().position(|at| *at == leader)) {
                    Some(leader) => self.next = leader,
                    None => self.next += 1,
                }
                thread::sleep(PAUSE_AFTER_ERROR);
                continue;
            }
            self.shared.acknowledge();
            self.books.gap_max = self.books.gap_max.max(last.elapsed());
            last = Instant::now();
            self.client = Some(client);
            if !self.rest.is_zero() {
                thread::sleep(self.rest);
            }
        }
        self.books
    }

    fn connect(&mut self) -> Option<Client> {
        let count = self.addresses.len();
        for step in 0..count {
            let place = (self.next + step) % count;
            if let Ok(client) = Client::connect(self.addresses[place])
                && client.set_timeout(REPLY_TIMEOUT).is_ok()
            {
                self.next = place;
                return Some(client);
            }
        }
        None
    }

    fn write(&mut self, client: &mut Client, number: u64) -> Outcome {
        match number % 5 {
            0 => self.set(client, number),
            1 => self.append(client, number),
            2 => self.increment(client, number),
            3 => self.pair(client, number),
            _ => self.increment_shared(client, number),
        }
    }

    fn set(&mut self, client: &mut Client, number: u64) -> Outcome {
        let words = vec!["SET".to_owned(), format!("{}:u:{number}", self.books.prefix), self.books.value(number)];
        let outcome = attempt(client, &[words]);
        enter(&mut self.books.keys, number, &outcome);
        outcome
    }

    fn append(&mut self, client: &mut Client, number: u64) -> Outcome {
        let words = vec!["APPEND".to_owned(), format!("{}:a", self.books.prefix), format!("{number},")];
        let outcome = attempt(client, &[words]);
        enter(&mut self.books.markers, number, &outcome);
        outcome
    }

    /// Nobody else touches this counter, so its answers are known but for what is unknown; and what the leader has just
    /// answered it must not forget at once.
    fn increment(&mut self, client: &mut Client, number: u64) -> Outcome {
        let key = format!("{}:c", self.books.prefix);
        let least = self.books.increments.acknowledged.len() as i64 + 1;
        let most = least + self.books.increments.unknown.len() as i64;
        let outcome = attempt(client, &[vec!["INCR".to_owned(), key.clone()]]);
        enter(&mut self.books.increments, number, &outcome);
        let Outcome::Acknowledged(answer) = &outcome else { return outcome };
        match answer {
            Value::Integer(value) if (least..=most).contains(value) => {
                let read = attempt(client, &[vec!["GET".to_owned(), key]]);
                if let Outcome::Acknowledged(read) = &read
                    && read.text() != Some(value.to_string())
                {
                    self.books.complain(format!("INCR answered {value}, and GET behind it {read:?}"));
                }
                if read.kind().is_some() {
                    // The increment is in the books; the connection is of no more use.
                    return match read {
                        Outcome::Refused(line) | Outcome::Unknown(line) => Outcome::Refused(line),
                        acknowledged => acknowledged,
                    };
                }
            }
            other => self.books.complain(format!("INCR answered {other:?}, which is not in {least}..={most}")),
        }
        outcome
    }

    fn pair(&mut self, client: &mut Client, number: u64) -> Outcome {
        let (prefix, text) = (self.books.prefix.clone(), number.to_string());
        let word = str::to_owned;
        let commands = [
            vec![word("MULTI")],
            vec![word("SET"), format!("{prefix}:p:a"), text.clone()],
            vec![word("SET"), format!("{prefix}:p:b"), text],
            vec![word("INCR"), format!("{prefix}:p:c")],
            vec![word("EXEC")],
        ];
        let outcome = attempt(client, &commands);
        enter(&mut self.books.pairs, number, &outcome);
        if let Outcome::Acknowledged(answer) = &outcome {
            let whole = matches!(answer, Value::Array(replies) if replies.len() == 3 && matches!(replies[2], Value::Integer(_)));
            if !whole {
                self.books.complain(format!("EXEC answered {answer:?}"));
            }
        }
        outcome
    }

    fn increment_shared(&mut self, client: &mut Client, number: u64) -> Outcome {
        let outcome = attempt(client, &[vec!["INCR".to_owned(), self.shared_counter.clone()]]);
        enter(&mut self.books.shared, number, &outcome);
        match &outcome {
            Outcome::Acknowledged(Value::Integer(value)) => self.books.shared_answers.push(*value),
            Outcome::Acknowledged(other) => {
                self.books.complain(format!("writer {}: INCR answered {other:?}", self.number));
            }
            _ => {}
        }
        outcome
    }
}

fn enter(fates: &mut Fates, number: u64, outcome: &Outcome) {
    match outcome {
        Outcome::Acknowledged(_) => fates.acknowledged.push(number),
        Outcome::Refused(_) => fates.refused.push(number),
        Outcome::Unknown(_) => fates.unknown.push(number),
    }
}

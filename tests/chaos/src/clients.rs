//! Clients that go on whatever happens, and write down every call.
//!
//! A read counts as linearizable if its connection was the leader's: the node said so to `ROLE`, or acknowledged a write on it.
//! That holds to the end of the connection, whatever becomes of the node; so it is for the node to refuse when it leads no more.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use talon_history::{Action, Consistency, History, Outcome};
use talon_tests_support::{Client, Cluster, Value, wait_until};

use crate::network::{Entry, Seat};
use crate::plan::{Plan, any};

/// How long a client rests between two calls: histories stay small enough to be judged, and the machine has other work.
const REST_MAX_US: u64 = 3_000;
/// How long it waits after an error, before it tries elsewhere.
const PAUSE_AFTER_ERROR_MAX_MS: u64 = 30;

/// The clock of a history, and the numbers of its clients.
#[derive(Clone, Debug)]
pub struct Recorder {
    begun: Instant,
    clients: Arc<AtomicU64>,
}

impl Recorder {
    /// A clock that begins now.
    pub fn start() -> Recorder {
        Recorder { begun: Instant::now(), clients: Arc::new(AtomicU64::new(0)) }
    }

    fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    fn new_client(&self) -> u32 {
        self.clients.fetch_add(1, Ordering::Relaxed) as u32
    }
}

/// How long a client waits, at most.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For a reply.
    pub reply: Duration,
}

impl Patience {
    /// Tries elsewhere soon.
    pub const SHORT: Patience = Patience { connect: Duration::from_millis(400), reply: Duration::from_millis(900) };
    /// Waits until a node that sleeps is awake again.
    pub const LONG: Patience = Patience { connect: Duration::from_millis(400), reply: Duration::from_secs(60) };
}

/// A node, as clients know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its number.
    pub id: u16,
    /// Where it takes Redis clients.
    pub address: SocketAddr,
}

/// All nodes of a cluster.
pub fn targets(cluster: &Cluster) -> Vec<Target> {
    cluster.nodes.iter().map(|node| Target { id: node.id, address: node.address() }).collect()
}

/// A connection that is recorded.
pub struct Line {
    client: Client,
    number: u32,
    node: u16,
    recorder: Recorder,
    /// The node led while this connection was open.
    pub is_leaders: bool,
}

impl Line {
    /// Connects, and asks who the node is.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub fn open(node: Target, patience: Patience, recorder: &Recorder) -> io::Result<Line> {
        let mut client = Client::connect_within(node.address, patience.connect)?;
        client.set_timeout(patience.reply)?;
        let role = client.call(&["ROLE"])?;
        let is_leaders =
            matches!(&role, Value::Array(parts) if parts.first().and_then(Value::text).as_deref() == Some("master"));
        Ok(Line { client, number: recorder.new_client(), node: node.id, recorder: recorder.clone(), is_leaders })
    }

    /// Calls, and writes it down. After an unknown outcome the connection is of no more use.
    pub fn call(&mut self, action: Action, history: &mut History) -> Outcome {
        let id = history.call(self.number, Some(self.node.into()), self.recorder.now_us(), action.clone());
        let commands = action.commands();
        let mut values = Vec::with_capacity(commands.len());
        let sent = commands.iter().try_for_each(|words| self.client.send(words));
        let received = sent.and_then(|()| {
            for _ in &commands {
                values.push(value(self.client.receive()?));
            }
            Ok(())
        });
        let outcome = match received {
            Ok(()) => action.judge(values),
            Err(error) => Outcome::Unknown(format!("connection: {:?}", error.kind())),
        };
        history.returned(id, self.recorder.now_us(), outcome.clone());
        self.is_leaders |= action.writes() && outcome.reply().is_some();
        if !self.is_leaders {
            history.operation_mut(id).consistency = Consistency::Stale;
        }
        outcome
    }
}

fn value(value: Value) -> talon_history::Value {
    match value {
        Value::Null => talon_history::Value::Nil,
        Value::Simple(text) => talon_history::Value::Simple(text),
        Value::Error(text) => talon_history::Value::Error(text),
        Value::Integer(number) => talon_history::Value::Int(number),
        Value::Bulk(bytes) => talon_history::Value::Bulk(bytes),
        Value::Array(values) => talon_history::Value::Array(values.into_iter().map(self::value).collect()),
        other => talon_history::Value::Error(format!("ERR no RESP2 reply: {other:?}")),
    }
}

/// One client to be: where it sits, whom it may ask, and how long it waits.
#[derive(Clone, Copy)]
pub struct Post<'a> {
    /// Its seat; none: where this program is.
    pub seat: Option<&'a Seat>,
    /// How long it waits.
    pub patience: Patience,
}

/// Running clients.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<(JoinHandle<History>, Arc<Progress>)>,
}

/// How far one client has come.
#[derive(Debug, Default)]
pub struct Progress {
    reads: AtomicU64,
    writes: AtomicU64,
}

/// How many calls were answered, by the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// Linearizable reads.
    pub reads: u64,
    /// Acknowledged writes.
    pub writes: u64,
}

impl Load {
    /// Starts clients that carry out a plan against these nodes.
    pub fn start(posts: &[Post<'_>], nodes: &[Target], plan: &Plan, recorder: &Recorder) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = posts.iter().map(|post| {
            let progress = Arc::new(Progress::default());
            let worker = Worker {
                nodes: nodes.to_vec(),
                next: any(nodes.len() as u64) as usize,
                patience: post.patience,
                plan: plan.clone(),
                recorder: recorder.clone(),
                progress: Arc::clone(&progress),
                stop: Arc::clone(&stop),
                history: History::new(),
            };
            let entry: Option<Entry> = post.seat.map(Seat::entry);
            let work = move || {
                if let Some(entry) = entry {
                    entry.enter().expect("the seat can be taken");
                }
                worker.run()
            };
            (thread::spawn(work), progress)
        });
        Load { clients: clients.collect(), stop }
    }

    /// How far each client has come, in the order of their posts.
    pub fn answered(&self) -> Vec<Answered> {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let answered =
            |progress: &Progress| Answered { reads: count(&progress.reads), writes: count(&progress.writes) };
        self.clients.iter().map(|(_, progress)| answered(progress)).collect()
    }

    /// Waits until each of these clients has got so many more reads and so many more writes answered; whether in time.
    pub fn goes_on(&self, posts: &[usize], more: u64, timeout: Duration) -> bool {
        let before = self.answered();
        wait_until(timeout, || {
            let now = self.answered();
            let more_of = |post: &usize| {
                let (now, before) = (now[*post], before[*post]);
                now.reads >= before.reads + more && now.writes >= before.writes + more
            };
            posts.iter().all(more_of)
        })
    }

    /// Ends the clients, and gives what each wrote down.
    ///
    /// # Panics
    /// If a client did.
    pub fn stop(mut self) -> Vec<History> {
        self.stop.store(true, Ordering::Relaxed);
        let clients = std::mem::take(&mut self.clients);
        clients.into_iter().map(|(client, _)| client.join().expect("a client ends")).collect()
    }
}

/// A test that fails leaves no clients behind.
impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Worker {
    nodes: Vec<Target>,
    next: usize,
    patience: Patience,
    plan: Plan,
    recorder: Recorder,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    history: History,
}

impl Worker {
    fn run(mut self) -> History {
        while !self.stop.load(Ordering::Relaxed) {
            let node = self.nodes[self.next % self.nodes.len()];
            // Only here the next node is chosen: whoever is told of a leader looks there first.
            self.next += 1;
            if let Ok(mut line) = Line::open(node, self.patience, &self.recorder) {
                self.use_up(&mut line);
            }
            thread::sleep(Duration::from_millis(any(PAUSE_AFTER_ERROR_MAX_MS)));
        }
        self.history
    }

    /// Calls until something goes wrong.
    fn use_up(&mut self, line: &mut Line) {
        while !self.stop.load(Ordering::Relaxed) {
            let action = self.plan.any_action();
            let writes = action.writes();
            match line.call(action, &mut self.history) {
                Outcome::Reply(_) if line.is_leaders => {
                    let count = if writes { &self.progress.writes } else { &self.progress.reads };
                    count.fetch_add(1, Ordering::Relaxed);
                }
                // A follower has answered a read. The next write will say who leads.
                Outcome::Reply(_) => {}
                Outcome::Refused(line) => {
                    let leader =
                        moved_to(&line).and_then(|leader| self.nodes.iter().position(|node| node.address == leader));
                    self.next = leader.unwrap_or(self.next);
                    return;
                }
                Outcome::Unknown(_) => return,
            }
            thread::sleep(Duration::from_micros(any(REST_MAX_US)));
        }
    }
}

fn moved_to(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("MOVED ")?.split(' ').nth(1)?.parse().ok()
}

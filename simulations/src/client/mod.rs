//! A client that speaks RESP over the simulated network: it finds the leader, follows redirections, gives up in time, tries another node,
//! and writes down all that it did.
//!
//! A plain Redis client would read old states from whichever node it happens to be connected to. This one asks `ROLE` on each new
//! connection, as Sentinel clients do, and a connection that met the leader once is given nothing but linearizable reads. Where nodes forward,
//! it may take any node for the leader (`door.rs`).

mod connection;
mod door;
mod handles;
mod question;
mod watching;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use talon_core::random::SplitMix64;
use talon_core::{Database, Denied, Request};
use talon_history::{Action, Consistency, Outcome, Value};
use talon_raft::Node;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use self::connection::{Connection, as_sent};
use self::door::Door;
use self::question::{Question, moved_to, node_of};
use crate::ambient::elapsed_us;
use crate::machine::Pause;
use crate::world::World;

/// How many nodes are asked who leads before a call is given up.
const ROLES_MAX: u32 = 4;
/// How often a read in a session is asked again, because the node was behind the session.
const SESSION_READS_MAX: u32 = 4;
/// Numbers in the history: a client's own is its number times this; those above it are its pipelines' and sessions'.
const NUMBERS: u32 = 10_000;
/// The first of its sessions; below it are the places in its pipelines.
const FIRST_SESSION: u32 = 50;
/// How many actions a pipeline may have.
pub const PIPELINE_MAX: usize = FIRST_SESSION as usize - 1;

/// The name of a client's host in the network. Clients share two, since each host is stepped each millisecond, whether or not it has
/// anything to do.
pub fn host(number: u32) -> String {
    format!("clients-{}", 1 + number % 2)
}

/// How fresh the answers of a connection to any node are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// What the node is set to: on a follower, whatever state it is in.
    #[default]
    Default,
    /// As on the leader.
    Linearizable,
    /// As on the leader, by its lease.
    Lease,
    /// So many ms old at most.
    Bounded(u64),
    /// Whatever state the node is in, a leader too.
    Snapshot,
}

impl Level {
    /// `CLIENT CONSISTENCY …`
    fn command(self) -> Vec<Vec<u8>> {
        let mut command = vec![b"CLIENT".to_vec(), b"CONSISTENCY".to_vec()];
        command.extend(match self {
            Level::Default => vec![b"DEFAULT".to_vec()],
            Level::Linearizable => vec![b"LINEARIZABLE".to_vec()],
            Level::Lease => vec![b"LEASE".to_vec()],
            Level::Bounded(ms) => vec![b"BOUNDED".to_vec(), ms.to_string().into_bytes()],
            Level::Snapshot => vec![b"SNAPSHOT".to_vec()],
        });
        command
    }

    /// What it promises.
    fn promise(self) -> Consistency {
        match self {
            Level::Default | Level::Snapshot => Consistency::Stale,
            Level::Linearizable | Level::Lease => Consistency::Linearizable,
            Level::Bounded(ms) => Consistency::Bounded(ms),
        }
    }
}

/// What came of a question to any node.
struct Asked {
    /// The operation in the history.
    id: u64,
    outcome: Outcome,
    position: Option<u64>,
    /// Whether the state that answered was not behind the session.
    counts: bool,
}

/// One client.
pub struct Client {
    world: Arc<World>,
    number: u32,
    random: SplitMix64,
    /// To the leader, or who was thought to be.
    leader: Option<Connection>,
    /// What that one is.
    door: Door,
    /// In READONLY mode, to any node.
    replica: Option<Connection>,
    /// How fresh its answers are.
    level: Level,
    /// Whom the last redirection named.
    named: Option<u64>,
    sessions: u32,
    /// The highest position that the session has seen.
    session: Option<u64>,
    connect_max: Duration,
    answer_max: Duration,
}

impl Client {
    /// Connected to nobody yet.
    pub fn new(world: Arc<World>, number: u32, seed: u64) -> Client {
        let mut random = SplitMix64(seed);
        let connect_max = Duration::from_millis(200 + random.below(600));
        // The last one is longer than a node holds a call while nobody leads.
        let answer_max = Duration::from_millis([400, 1_000, 2_500, 6_500][random.below(4) as usize]);
        Client {
            world,
            number,
            random,
            leader: None,
            door: Door::default(),
            replica: None,
            level: Level::Default,
            named: None,
            sessions: 0,
            session: None,
            connect_max,
            answer_max,
        }
    }

    /// From now on it carries the highest position that it has seen from node to node, as a client of its own in the history.
    pub fn begin_session(&mut self) {
        self.session = Some(0);
        self.sessions += 1;
        // Who stays with one node does not carry a position to it.
        if self.door.is_session() {
            (self.leader, self.door) = (None, Door::Leader);
        }
    }

    /// It carries nothing any more.
    pub fn end_session(&mut self) {
        self.session = None;
    }

    /// Its number in the history.
    fn number(&self) -> u32 {
        let session = self.session.map_or(0, |_| self.newest_session());
        self.number * NUMBERS + session
    }

    fn newest_session(&self) -> u32 {
        FIRST_SESSION + self.sessions % (NUMBERS - FIRST_SESSION)
    }

    /// Has an action carried out by the leader. In a session, and now and then without one, it asks for the position, too.
    pub async fn carry_out(&mut self, action: Action) -> Outcome {
        let connected = self.find_leader().await;
        let often = if self.door.is_session() { 2 } else { 4 };
        let placed = self.session.is_some() || self.random.below(often) == 0;
        let asked = vec![(self.number_at_door(), Question { action, placed })];
        let outcome = self.on_leader(connected, asked).await.pop();
        outcome.unwrap_or_else(|| Outcome::Unknown("no outcome".to_owned()))
    }

    /// Has several carried out by the leader, sent all at once. In the history each place in the pipeline is a client of its own.
    pub async fn pipeline(&mut self, actions: Vec<Action>) -> Vec<Outcome> {
        let first = self.number * NUMBERS + 1;
        let actions = actions.into_iter().take(PIPELINE_MAX);
        let connected = self.find_leader().await;
        let asked = (first..).zip(actions.map(|action| Question { action, placed: false })).collect();
        self.on_leader(connected, asked).await
    }

    async fn on_leader(&mut self, connected: Result<(), String>, asked: Vec<(u32, Question)>) -> Vec<Outcome> {
        let node = self.leader.as_ref().map(|connection| connection.node).or(self.named);
        let ids: Vec<u64> =
            asked.iter().map(|(number, question)| self.call(*number, node, question.action.clone())).collect();
        let promised = self.door.promises(asked.len() == 1);
        for (id, _) in ids.iter().zip(&asked).filter(|(_, (_, question))| !question.action.writes()) {
            self.world.history().operation_mut(*id).consistency = promised;
        }
        if let Err(why) = connected {
            let outcome = Outcome::Refused(why);
            ids.iter().for_each(|id| self.returned(*id, outcome.clone(), None));
            self.back_off(100).await;
            return vec![outcome; ids.len()];
        }
        let commands: Vec<Vec<Vec<u8>>> = asked.iter().flat_map(|(_, question)| question.commands()).collect();
        let mut values = Vec::new();
        let whole = exchange(&mut self.leader, &commands, &mut values, self.answer_max).await;
        self.named = moved_to(&values);
        let mut values = values.into_iter();
        let mut outcomes = Vec::new();
        for (id, (_, question)) in ids.into_iter().zip(asked) {
            let own = values.by_ref().take(question.commands().len()).collect();
            let (outcome, position) = question.judge(own);
            self.returned(id, outcome.clone(), position);
            if outcome.reply().is_some() && !question.action.writes() {
                self.note_term(id, position);
            }
            outcomes.push(outcome);
        }
        let refused = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Refused(_)));
        if !whole || refused {
            self.leader = None;
            self.back_off(if whole { 60 } else { 300 }).await;
        }
        outcomes
    }

    /// The term of the last entry in the state that answered. A leader has applied an entry of its own term before it answers, so there it is that.
    fn note_term(&self, id: u64, position: Option<u64>) {
        let term = position.and_then(|index| Some(self.world.ledger.open().entries.get(&index)?.term));
        self.world.history().operation_mut(id).term = term;
    }

    /// Has a read answered by that node from whatever state it is in, and writes down which one that was. In a session, the answer counts
    /// as the session's only if the state is not behind it; whether it does is answered, too.
    pub async fn read_on(&mut self, node: u64, action: Action) -> (Outcome, bool) {
        let asked = self.ask(node, Level::Default, Question { action, placed: true }).await;
        (asked.outcome, asked.counts)
    }

    /// Has a read answered by that node, as fresh as is said.
    pub async fn read_as(&mut self, node: u64, level: Level, action: Action) -> Outcome {
        // Asking for the position takes another way through the node.
        let placed = self.random.below(2) == 0;
        self.ask(node, level, Question { action, placed }).await.outcome
    }

    async fn ask(&mut self, node: u64, level: Level, question: Question) -> Asked {
        let connected = self.turn_to(node, level).await;
        let id = self.call(self.number(), Some(node), question.action.clone());
        self.world.history().operation_mut(id).consistency = level.promise();
        if let Err(why) = connected {
            let outcome = Outcome::Refused(why);
            self.returned(id, outcome.clone(), None);
            return Asked { id, outcome, position: None, counts: false };
        }
        let mut values = Vec::new();
        if !exchange(&mut self.replica, &question.commands(), &mut values, self.answer_max).await {
            self.replica = None;
        }
        let (outcome, position) = question.judge(values);
        let counts = match (self.session, position) {
            (Some(carried), Some(position)) => position >= carried,
            _ => false,
        };
        if counts && level.promise() != Consistency::Linearizable {
            self.world.history().operation_mut(id).consistency = Consistency::Session;
        }
        self.returned(id, outcome.clone(), position);
        Asked { id, outcome, position, counts }
    }

    /// Asks that node the same several times on one connection, each time as fresh as is said. What of it is not behind the session counts as the
    /// session's, and is known to be of one life of the node.
    pub async fn read_again(&mut self, node: u64, looks: &[(Level, Duration)], action: &Action) {
        self.replica = None;
        for (level, apart) in looks {
            let asked = self.ask(node, *level, Question { action: action.clone(), placed: true }).await;
            if self.replica.is_none() {
                return;
            }
            if asked.outcome.reply().is_some() {
                self.note_term(asked.id, asked.position);
            }
            sleep(*apart).await;
        }
    }

    /// A read of the session, by any node that is not behind it.
    pub async fn read_in_session(&mut self, action: &Action) {
        for _ in 0..SESSION_READS_MAX {
            let node = self.someone();
            if self.read_on(node, action.clone()).await.1 {
                return;
            }
            self.back_off(40).await;
        }
    }

    /// Reads from a snapshot that a program takes which has the node within it: all reads from one snapshot, however much time is between
    /// them. In the history, it is one transaction.
    pub async fn read_snapshot(
        &mut self,
        node: u64,
        reads: Vec<Action>,
        linearizable: bool,
        apart: Duration,
    ) -> Outcome {
        let id = self.call(self.number(), Some(node), Action::Transaction(reads.clone()));
        if !linearizable {
            self.world.history().operation_mut(id).consistency = Consistency::Stale;
        }
        let world = self.world.clone();
        let long = self.answer_max + apart * reads.len() as u32;
        let (outcome, position) = timeout(long, snapshot(&world, node, &reads, linearizable, apart))
            .await
            .unwrap_or_else(|_| (Outcome::Unknown("no answer in time".to_owned()), None));
        self.returned(id, outcome.clone(), position);
        outcome
    }

    /// A node to ask: a member of the cluster that runs, and now and then any that runs. Who is no member cannot answer reads, and says so late.
    pub fn someone(&mut self) -> u64 {
        let members = self.world.members();
        let any = self.random.below(50) == 0;
        let running: Vec<u64> = self
            .world
            .processes
            .iter()
            .filter(|process| process.node().is_some() && (any || members.contains(&process.id)))
            .map(|process| process.id)
            .collect();
        let among = if running.is_empty() { members } else { running };
        among[self.random.below(among.len() as u64) as usize]
    }

    /// Waits a little.
    async fn back_off(&mut self, most_ms: u64) {
        sleep(Duration::from_millis(5 + self.random.below(most_ms))).await;
    }

    fn call(&self, number: u32, node: Option<u64>, action: Action) -> u64 {
        self.world.history().call(number, node, elapsed_us(), action)
    }

    fn returned(&mut self, id: u64, outcome: Outcome, position: Option<u64>) {
        if outcome.reply().is_some()
            && let (Some(carried), Some(position)) = (self.session, position)
        {
            self.session = Some(carried.max(position));
        }
        let mut history = self.world.history();
        history.operation_mut(id).applied = position;
        history.returned(id, elapsed_us(), outcome);
    }

    /// Connects to whoever says that it leads, or has the leader do what only the leader may.
    async fn find_leader(&mut self) -> Result<(), String> {
        if self.leader.is_some() {
            return Ok(());
        }
        if self.takes_any_node() { self.enter_anywhere().await } else { self.find_who_leads().await }
    }

    /// Connects to whoever says that it leads.
    async fn find_who_leads(&mut self) -> Result<(), String> {
        if self.leader.is_some() && self.door == Door::Leader {
            return Ok(());
        }
        (self.leader, self.door) = (None, Door::Leader);
        self.ask_who_leads().await?;
        if self.world.plan.forwards {
            // It is not told to go when another node leads: then it would be answered from an old state.
            return self.ask_for_more().await;
        }
        Ok(())
    }

    async fn ask_who_leads(&mut self) -> Result<(), String> {
        let mut why = String::new();
        for _ in 0..ROLES_MAX {
            let node = self.named.take().unwrap_or_else(|| self.someone());
            let role = match self.open(node, b"ROLE").await {
                Ok((connection, Value::Array(role))) => match role.first() {
                    Some(Value::Bulk(name)) if &name[..] == b"master" => {
                        self.leader = Some(connection);
                        return Ok(());
                    }
                    _ => role,
                },
                Ok((_, other)) => {
                    why = format!("node {node} says {other:?}");
                    continue;
                }
                Err(error) => {
                    why = error;
                    continue;
                }
            };
            why = format!("node {node} does not lead");
            self.named = match role.get(1) {
                Some(Value::Bulk(host)) => std::str::from_utf8(host).ok().and_then(node_of),
                _ => None,
            };
            if self.named.is_none() {
                self.back_off(50).await;
            }
        }
        Err(why)
    }

    /// Connects to that node as to a replica that answers so.
    async fn turn_to(&mut self, node: u64, level: Level) -> Result<(), String> {
        if self.replica.as_ref().is_none_or(|connection| connection.node != node) {
            self.replica = None;
            self.level = Level::Default;
            match self.open(node, b"READONLY").await? {
                (connection, Value::Simple(_)) => self.replica = Some(connection),
                (_, other) => return Err(format!("node {node} says {other:?}")),
            }
        }
        if self.level == level {
            return Ok(());
        }
        let mut values = Vec::new();
        let answered = exchange(&mut self.replica, &[level.command()], &mut values, self.connect_max).await;
        match values.pop() {
            Some(Value::Simple(_)) if answered => {
                self.level = level;
                Ok(())
            }
            other => {
                self.replica = None;
                Err(format!("node {node} says {other:?}"))
            }
        }
    }

    /// A new connection, and the answer to its first command.
    async fn open(&mut self, node: u64, first: &[u8]) -> Result<(Connection, Value), String> {
        let mut connection = match timeout(self.connect_max, Connection::open(node)).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(format!("no connection to node {node}: {:?}", error.kind())),
            Err(_) => return Err(format!("no connection to node {node} in time")),
        };
        let mut values = Vec::new();
        let commands = [vec![first.to_vec()]];
        match timeout(self.connect_max, connection.exchange(&commands, &mut values)).await {
            Ok(Ok(())) => {}
            _ => return Err(format!("node {node} does not answer")),
        }
        values.pop().map(|value| (connection, value)).ok_or_else(|| format!("node {node} answers nothing"))
    }
}

/// Whether all was answered in time. If not, the connection is gone: a late answer must not be taken for another question's.
async fn exchange(
    connection: &mut Option<Connection>,
    commands: &[Vec<Vec<u8>>],
    values: &mut Vec<Value>,
    answer_max: Duration,
) -> bool {
    let Some(mut open) = connection.take() else { return false };
    let whole = matches!(timeout(answer_max, open.exchange(commands, values)).await, Ok(Ok(())));
    if whole {
        *connection = Some(open);
    }
    whole
}

/// Has a program within the node's process read.
async fn snapshot(
    world: &World,
    node: u64,
    reads: &[Action],
    linearizable: bool,
    apart: Duration,
) -> (Outcome, Option<u64>) {
    let refused = |why: String| (Outcome::Refused(why), None);
    let Some(process) = world.process(node).cloned() else { return refused("there is no such node".to_owned()) };
    let mut requests = Vec::new();
    for words in reads.iter().flat_map(Action::commands) {
        let mut words = words.into_iter().map(Bytes::from);
        match Request::parse(&words.next().unwrap_or_default(), words.collect()) {
            Ok(request) => requests.push(request),
            Err(refusal) => return refused(refusal.line().to_owned()),
        }
    }
    let (sender, answer) = oneshot::channel();
    let pause = process.machine.pause.clone();
    process.run_within(Box::new(move |node| {
        Box::pin(async move {
            let answer = read_within(&node, &requests, linearizable, apart, &pause).await;
            // The client may have given up.
            let _ = sender.send(answer);
        })
    }));
    match answer.await {
        Ok(Ok((values, index))) => {
            let queued = std::iter::repeat_n(Value::Simple("QUEUED".to_owned()), reads.len() + 1);
            let answers = queued.chain([Value::Array(values)]).collect();
            (Action::Transaction(reads.to_vec()).judge(answers), Some(index))
        }
        Ok(Err(denied)) => refused(format!("{denied:?}")),
        Err(_) => refused("it ended".to_owned()),
    }
}

async fn read_within(
    node: &Node,
    requests: &[Request],
    linearizable: bool,
    apart: Duration,
    pause: &Pause,
) -> Result<(Vec<Value>, u64), Denied> {
    // A program on a machine that stands still stands still.
    let goes_on = || poll_fn(|context| pause.poll_running(context));
    goes_on().await;
    let consistency = match linearizable {
        true => talon_core::Consistency::Lease,
        false => talon_core::Consistency::Snapshot,
    };
    let view = node.point_in_time(consistency).await?;
    let mut values = Vec::new();
    for request in requests {
        if !values.is_empty() {
            sleep(apart).await;
        }
        goes_on().await;
        values.push(as_sent(&view.read(request)?));
    }
    Ok((values, view.index()))
}

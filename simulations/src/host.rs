//! A node's process on a simulated machine: the real node, and the real RESP front door.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use talon_core::{Administer, Member, MemberRole};
use talon_raft::{Node, NodeAddress, Settings, WritesOnFollower};
use talon_server::resp::{self, RespSettings};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ledger::SharedLedger;
use crate::machine::{Machine, listen};

/// Where clients connect.
pub const RESP_PORT: u16 = 6380;
const RAFT_PORT: u16 = 7380;
/// How long an operator waits for an order to be carried out.
const ORDER_MAX: Duration = Duration::from_secs(15);

/// One process. It outlives crashes: the next life finds what the last one left.
pub struct Process {
    /// The node's number.
    pub id: u64,
    /// What it runs on.
    pub machine: Machine,
    settings: Settings,
    ledger: SharedLedger,
    state: Mutex<State>,
    stop: Notify,
    ordered: Notify,
}

#[derive(Default)]
struct State {
    node: Option<Arc<Node>>,
    ended: Option<String>,
    orders: VecDeque<Order>,
    answers: Vec<(Order, Result<(), String>)>,
    programs: Vec<Program>,
}

/// What runs within the process, beside the node: a program that has Talon within it. It ends with the process.
pub type Program = Box<dyn FnOnce(Arc<Node>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What an operator asks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Take this node in; it does not vote yet.
    Add(u64),
    /// Let this learner vote.
    Promote(u64),
    /// Take this node out.
    Remove(u64),
    /// Hand leadership over, to this node or to any.
    Transfer(Option<u64>),
}

/// A node's name in the network.
pub fn name(id: u64) -> String {
    format!("node-{id}")
}

/// A node's addresses.
pub fn address(id: u64) -> NodeAddress {
    NodeAddress { host: name(id), raft_port: RAFT_PORT, resp_port: RESP_PORT, grpc_port: 0 }
}

impl Process {
    /// A process that was not started yet. `founders` form the cluster; a node that is not among them waits to be added.
    pub fn new(
        id: u64,
        machine: Machine,
        founders: &[u64],
        ledger: SharedLedger,
        tune: impl Fn(&mut Settings),
    ) -> Process {
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, RAFT_PORT));
        let mut settings = Settings::new(id, machine.folder().to_owned(), listen, address(id));
        if founders.contains(&id) {
            settings.peers = founders.iter().map(|id| (*id, address(*id))).collect::<BTreeMap<_, _>>();
        }
        tune(&mut settings);
        Process { id, machine, settings, ledger, state: Mutex::default(), stop: Notify::new(), ordered: Notify::new() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node, while it runs.
    pub fn node(&self) -> Option<Arc<Node>> {
        self.state().node.clone()
    }

    /// Why it ended by itself, if it did.
    pub fn ended(&self) -> Option<String> {
        self.state().ended.clone()
    }

    /// Has the node carry out an order. It must run.
    pub fn order(&self, order: Order) {
        self.state().orders.push_back(order);
        self.ordered.notify_one();
    }

    /// What came of an order, once. `None` = nothing yet, or the process ended before.
    pub fn answer(&self, order: Order) -> Option<Result<(), String>> {
        let answers = &mut self.state().answers;
        let place = answers.iter().position(|(known, _)| *known == order)?;
        Some(answers.remove(place).1)
    }

    /// Runs something within the process; if that does not run, or ends before, it is dropped.
    pub fn run_within(&self, program: Program) {
        let mut state = self.state();
        if state.node.is_some() {
            state.programs.push(program);
            self.ordered.notify_one();
        }
    }

    /// Forgets the node: the process has been ended from outside.
    pub fn gone(&self) {
        *self.state() = State::default();
    }

    /// Asks it to end as on SIGTERM.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    /// One life. Ends on a fault, or when it was asked to.
    pub async fn run(&self) {
        let why = self.live().await;
        tracing::info!(node = self.id, why, "the process ends");
        *self.state() = State { ended: Some(why), ..State::default() };
    }

    async fn live(&self) -> String {
        let environment = self.machine.environment(self.ledger.observer(self.id));
        let node = match Node::start_in(self.settings.clone(), environment).await {
            Ok(node) => node,
            Err(error) => return format!("it does not start: {error}"),
        };
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, RESP_PORT));
        let door = match listen(address, self.machine.pause.clone()).await {
            Ok(door) => door,
            Err(error) => return format!("it cannot listen: {error}"),
        };
        self.state().node = Some(node.clone());
        let ending = CancellationToken::new();
        let forwards = self.settings.writes_on_follower == WritesOnFollower::Forward;
        let settings = RespSettings { protected_mode: false, forwards, ..RespSettings::default() };
        let serving = tokio::spawn(resp::serve(door, node.clone(), Arc::new(settings), ending.clone()));
        let mut orders = JoinSet::new();
        let mut programs = JoinSet::new();
        loop {
            tokio::select! {
                fault = node.failed() => return format!("a fault: {fault}"),
                () = self.stop.notified() => break,
                () = self.ordered.notified() => {
                    let begun = std::mem::take(&mut self.state().programs);
                    begun.into_iter().for_each(|program| drop(programs.spawn(program(node.clone()))));
                    let given = std::mem::take(&mut self.state().orders);
                    given.into_iter().for_each(|order| drop(orders.spawn(carry_out(node.clone(), order))));
                }
                Some(Ok(answer)) = orders.join_next() => self.state().answers.push(answer),
                Some(_) = programs.join_next() => {}
            }
        }
        ending.cancel();
        // It ends in its own bound.
        let _ = serving.await;
        node.shutdown().await;
        "it was asked to".to_owned()
    }
}

async fn carry_out(node: Arc<Node>, order: Order) -> (Order, Result<(), String>) {
    let carrying_out = async {
        match order {
            Order::Add(id) => node.add_learner(member(id)).await,
            Order::Promote(id) => node.promote(id).await,
            Order::Remove(id) => node.remove(id).await,
            Order::Transfer(to) => node.transfer_leadership(to).await,
        }
    };
    let outcome = match tokio::time::timeout(ORDER_MAX, carrying_out).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err("the operator waited long enough".to_owned()),
    };
    tracing::info!(?order, ?outcome, "an order");
    (order, outcome)
}

fn member(id: u64) -> Member {
    let NodeAddress { host, raft_port, resp_port, grpc_port } = address(id);
    Member {
        id,
        host,
        resp_port,
        grpc_port,
        raft_port,
        role: MemberRole::Learner,
        matched_index: None,
        silent_ms: None,
    }
}

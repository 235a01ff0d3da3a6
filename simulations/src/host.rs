//! A node's process on a simulated machine: the real node, and the real RESP front door.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use talon_raft::{Node, NodeAddress, Settings};
use talon_server::resp::{self, RespSettings};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::ledger::SharedLedger;
use crate::machine::{Machine, listen};

/// Where clients connect.
pub const RESP_PORT: u16 = 6380;
const RAFT_PORT: u16 = 7380;

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
}

#[derive(Default)]
struct State {
    node: Option<Arc<Node>>,
    ended: Option<String>,
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
        Process { id, machine, settings, ledger, state: Mutex::default(), stop: Notify::new() }
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
        *self.state() = State { node: None, ended: Some(why) };
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
        let settings = RespSettings { protected_mode: false, ..RespSettings::default() };
        let serving = tokio::spawn(resp::serve(door, node.clone(), Arc::new(settings), ending.clone()));
        tokio::select! {
            fault = node.failed() => format!("a fault: {fault}"),
            () = self.stop.notified() => {
                ending.cancel();
                // It ends in its own bound.
                let _ = serving.await;
                node.shutdown().await;
                "it was asked to".to_owned()
            }
        }
    }
}

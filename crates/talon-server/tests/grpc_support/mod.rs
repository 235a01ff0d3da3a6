//! A database in memory for the tests of the gRPC door and of its client: whatever the door may meet can be arranged.

// Each test program uses its own part of it.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use talon_core::script::MemorySource;
use talon_core::{
    AdminError, Administer, Call, Consistency, Database, Denied, Member, MemberRole, Outcome, PointInTime, Request,
    Role, StateHash, Status, Transaction,
};
use talon_server::grpc::{self, Settings};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};

/// The data at one moment.
#[derive(Clone)]
struct State {
    source: MemorySource,
    clock_ms: u64,
    index: u64,
}

/// What happens to the next writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Weather {
    /// They are carried out.
    Fair,
    /// They are denied and not carried out.
    Denied(Denied),
    /// They are carried out, and nobody hears of it.
    AppliedInDoubt,
    /// They are carried out, and the answer does not come.
    AppliedAndSilent,
}

/// A database in memory.
pub struct Double {
    state: Mutex<State>,
    weather: Mutex<Weather>,
    status: Mutex<Arc<Status>>,
    changed: Notify,
    /// How many writes were asked for, carried out or not.
    pub writes_asked: AtomicU64,
    /// How many reads were asked for.
    pub reads_asked: AtomicU64,
    /// How they were to be answered.
    pub consistencies: Mutex<Vec<Consistency>>,
    /// The operators' wishes, in words.
    pub wishes: Mutex<Vec<String>>,
}

pub fn member(id: u64, grpc_port: u16) -> Member {
    Member {
        id,
        host: "127.0.0.1".into(),
        resp_port: 6379 + id as u16,
        grpc_port,
        raft_port: 8379 + id as u16,
        role: MemberRole::Voter,
        matched_index: Some(41),
        silent_ms: Some(0),
    }
}

impl Double {
    pub fn new() -> Arc<Double> {
        Arc::new(Double {
            state: Mutex::new(State { source: MemorySource::default(), clock_ms: 1_000_000, index: 0 }),
            weather: Mutex::new(Weather::Fair),
            status: Mutex::new(Arc::new(Status {
                version: 1,
                node_id: 1,
                cluster_id: "00112233445566778899aabbccddeeff".into(),
                role: Role::Leader,
                clustered: true,
                leader_id: Some(1),
                last_leader_id: Some(1),
                led_ms_ago: Some(0),
                term: 3,
                members: vec![member(1, 7380), member(2, 7381)],
                applied_index: 40,
                committed_index: 41,
                last_log_index: 42,
                first_log_index: 4,
                clock_ms: 1_000_000,
                serving: true,
                heard_from_leader_ms: 0,
                expired_keys: 0,
            })),
            changed: Notify::new(),
            writes_asked: AtomicU64::new(0),
            reads_asked: AtomicU64::new(0),
            consistencies: Mutex::new(Vec::new()),
            wishes: Mutex::new(Vec::new()),
        })
    }

    pub fn weather(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }

    pub fn advance(&self, by_ms: u64) {
        self.state.lock().unwrap().clock_ms += by_ms;
    }

    /// Changes the status, as a change of leader or of health does.
    pub fn change_status(&self, change: impl FnOnce(&mut Status)) {
        let mut status = self.status.lock().unwrap();
        let mut next = Status::clone(&status);
        change(&mut next);
        next.version += 1;
        *status = Arc::new(next);
        drop(status);
        self.changed.notify_waiters();
    }

    /// From now on `leader` leads.
    pub fn follow(&self, leader: Member) {
        self.change_status(|status| {
            status.role = Role::Follower;
            status.leader_id = Some(leader.id);
        });
        self.weather(Weather::Denied(Denied::NotLeader { leader }));
    }

    /// Stores keys without any door.
    pub fn fill(&self, pairs: impl IntoIterator<Item = (String, Vec<u8>)>) {
        let mut state = self.state.lock().unwrap();
        let clock_ms = state.clock_ms;
        state.source.transact(clock_ms, |transaction| {
            for (key, value) in pairs {
                transaction.put(&key.into(), value.into(), 0).unwrap();
            }
        });
        state.index += 1;
    }

    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.state.lock().unwrap().source.data.get(key.as_bytes()).map(|record| record.value.to_vec())
    }

    pub fn index(&self) -> u64 {
        self.state.lock().unwrap().index
    }

    fn carry_out(&self, call: &Call, consistency: Consistency) -> Option<Outcome> {
        let weather = self.weather.lock().unwrap().clone();
        let mut state = self.state.lock().unwrap();
        if call.is_write() {
            self.writes_asked.fetch_add(1, Ordering::SeqCst);
            if let Weather::Denied(denied) = weather {
                return Some(Err(denied));
            }
            let clock_ms = state.clock_ms;
            let reply = state.source.transact(clock_ms, |transaction| talon_core::request::execute(transaction, call));
            state.index += 1;
            match weather {
                Weather::AppliedInDoubt => Some(Err(Denied::InDoubt)),
                Weather::AppliedAndSilent => None,
                _ => Some(reply.map_err(|fault| Denied::Fault(fault.0))),
            }
        } else {
            self.reads_asked.fetch_add(1, Ordering::SeqCst);
            self.consistencies.lock().unwrap().push(consistency);
            if let (Weather::Denied(denied), Consistency::Lease) = (&weather, consistency) {
                return Some(Err(denied.clone()));
            }
            if let Weather::Denied(denied @ (Denied::Stale { .. } | Denied::Loading | Denied::NoLeader)) = weather {
                return Some(Err(denied));
            }
            let mut transaction = Transaction::for_read(&state.source, state.clock_ms, 0, 7);
            let reply = talon_core::request::execute(&mut transaction, call);
            Some(reply.map_err(|fault| Denied::Fault(fault.0)))
        }
    }
}

impl Database for Double {
    async fn execute(&self, calls: Vec<Call>, consistency: Consistency) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for call in &calls {
            match self.carry_out(call, consistency) {
                Some(outcome) => outcomes.push(outcome),
                None => std::future::pending().await,
            }
        }
        outcomes
    }

    async fn watch(&self, _: Vec<bytes::Bytes>) -> Result<talon_core::Watch, Denied> {
        Err(Denied::NoLeader)
    }

    async fn execute_if(&self, _: Vec<Request>, _: Vec<talon_core::Watch>) -> Outcome {
        Err(Denied::NoLeader)
    }

    async fn point_in_time(&self, consistency: Consistency) -> Result<Arc<dyn PointInTime>, Denied> {
        self.consistencies.lock().unwrap().push(consistency);
        if let (Weather::Denied(denied), Consistency::Lease) = (&*self.weather.lock().unwrap(), consistency) {
            return Err(denied.clone());
        }
        Ok(Arc::new(Moment(self.state.lock().unwrap().clone())))
    }

    async fn read_at(&self, view: Arc<dyn PointInTime>, calls: Vec<Call>) -> Vec<Outcome> {
        view.read_all(&calls)
    }

    fn listen(&self, _: std::sync::Weak<dyn talon_core::Listener>) {}

    fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.lock().unwrap())
    }

    async fn status_changed(&self, seen: u64) {
        loop {
            let changed = self.changed.notified();
            if self.status.lock().unwrap().version != seen {
                return;
            }
            changed.await;
        }
    }
}

struct Moment(State);

impl PointInTime for Moment {
    fn read(&self, request: &Request) -> Outcome {
        let mut transaction = Transaction::for_read(&self.0.source, self.0.clock_ms, 0, 7);
        let reply = request.execute(&mut transaction);
        reply.map_err(|fault| Denied::Fault(fault.0))
    }

    fn index(&self) -> u64 {
        self.0.index
    }

    fn clock_ms(&self) -> u64 {
        self.0.clock_ms
    }
}

impl Double {
    fn wish(&self, wish: String) -> Result<(), AdminError> {
        self.wishes.lock().unwrap().push(wish);
        match &*self.weather.lock().unwrap() {
            Weather::Denied(Denied::NotLeader { leader }) => {
                Err(AdminError::NotLeader { leader: Some(leader.clone()) })
            }
            Weather::Denied(Denied::NoLeader) => Err(AdminError::NotLeader { leader: None }),
            Weather::Denied(_) => Err(AdminError::Refused("it is the last voter".into())),
            Weather::AppliedInDoubt => Err(AdminError::TimedOut("no majority".into())),
            _ => Ok(()),
        }
    }
}

impl Administer for Double {
    async fn add_learner(&self, member: Member) -> Result<(), AdminError> {
        self.wish(format!("add {} {} {}", member.id, member.host, member.grpc_port))
    }

    async fn promote(&self, id: u64) -> Result<(), AdminError> {
        self.wish(format!("promote {id}"))
    }

    async fn remove(&self, id: u64) -> Result<(), AdminError> {
        self.wish(format!("remove {id}"))
    }

    async fn transfer_leadership(&self, to: Option<u64>) -> Result<(), AdminError> {
        self.wish(format!("transfer {to:?}"))
    }

    async fn mark_state(&self) -> Result<u64, AdminError> {
        self.wish("mark".into()).map(|()| 99)
    }

    async fn state_hash(&self, index: u64) -> Result<StateHash, AdminError> {
        self.wish(format!("hash {index}"))?;
        Ok(StateHash { index, clock_ms: 5, rows: 6, digest: "ab".into() })
    }
}

/// A served double; it stops serving when it is dropped.
pub struct Served {
    pub double: Arc<Double>,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<Result<(), grpc::ServeError>>,
}

impl Served {
    pub async fn start(settings: Settings) -> Served {
        Served::start_with(Double::new(), settings).await
    }

    pub async fn start_with(double: Arc<Double>, settings: Settings) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(grpc::serve_cluster(listener, Arc::clone(&double), settings, async {
            let _ = stopped.await;
        }));
        Served { double, address, stop: Some(stop), task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn writes_asked(&self) -> u64 {
        self.double.writes_asked.load(Ordering::SeqCst)
    }

    /// Tells the server to stop, and waits for it.
    pub async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), &mut self.task).await;
        ended.expect("the server stops").expect("without a panic").expect("without an error");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

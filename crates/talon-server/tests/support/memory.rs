//! A database in memory behind the front doors: everything real but the cluster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use talon_core::script::MemorySource;
use talon_core::{
    AdminError, Administer, Call, Consistency, Database, Denied, Listener, Listeners, Member, MemberRole, Outcome,
    PointInTime, Reply, Request, Role, Source, StateHash, Status, Transaction, Watch, Watches,
};
use tokio::sync::watch;

/// The double.
pub struct MemoryDatabase {
    data: Mutex<MemorySource>,
    watches: Arc<Watches>,
    listeners: Listeners,
    status: watch::Sender<Arc<Status>>,
    /// The leader is gone; this node learns of it when it asks.
    leader_is_gone: AtomicBool,
    /// What the next calls are denied with.
    denied: Mutex<Option<Denied>>,
    /// How many calls each batch had.
    batches: Mutex<Vec<usize>>,
    /// How the reads of each batch were to be answered.
    consistencies: Mutex<Vec<Consistency>>,
}

impl MemoryDatabase {
    /// Node 1 of `nodes`, leading; all are said to serve RESP at ports from `resp_port` on.
    pub fn new(nodes: u64, resp_port: u16) -> MemoryDatabase {
        let members = (1..=nodes)
            .map(|id| Member {
                id,
                host: "127.0.0.1".to_owned(),
                resp_port: resp_port + (id as u16 - 1),
                grpc_port: resp_port + 1000 + (id as u16 - 1),
                raft_port: resp_port + 2000 + (id as u16 - 1),
                role: MemberRole::Voter,
                matched_index: Some(0),
                silent_ms: Some(0),
            })
            .collect();
        let status = Status {
            version: 1,
            node_id: 1,
            cluster_id: "0123456789abcdef0123456789abcdef".to_owned(),
            role: Role::Leader,
            clustered: nodes > 1,
            leader_id: Some(1),
            last_leader_id: Some(1),
            led_ms_ago: None,
            term: 1,
            members,
            applied_index: 0,
            committed_index: 0,
            last_log_index: 0,
            first_log_index: 0,
            clock_ms: 1,
            serving: true,
            heard_from_leader_ms: 0,
            expired_keys: 0,
        };
        MemoryDatabase {
            data: Mutex::new(MemorySource::default()),
            watches: Arc::default(),
            listeners: Listeners::default(),
            status: watch::channel(Arc::new(status)).0,
            leader_is_gone: AtomicBool::new(false),
            denied: Mutex::new(None),
            batches: Mutex::new(Vec::new()),
            consistencies: Mutex::new(Vec::new()),
        }
    }

    /// Changes the status; its version is raised.
    pub fn change_status(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(|status| {
            let mut next = Status::clone(status);
            change(&mut next);
            next.last_leader_id = next.leader_id.or(next.last_leader_id);
            next.version += 1;
            *status = Arc::new(next);
        });
    }

    /// The leader goes; this node learns of it when it asks.
    pub fn lose_leader(&self) {
        self.leader_is_gone.store(true, Ordering::Release);
    }

    /// Every call is denied from now on, or none.
    pub fn deny(&self, denied: Option<Denied>) {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = denied;
    }

    /// How many calls each batch had so far.
    pub fn batches(&self) -> Vec<usize> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the reads of each batch since the last look were to be answered.
    pub fn take_consistencies(&self) -> Vec<Consistency> {
        std::mem::take(&mut self.consistencies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn now_ms() -> u64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }
}

impl MemoryDatabase {
    fn carry_out(&self, calls: &[Call], watches: &[Watch]) -> Vec<Outcome> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).push(calls.len());
        let denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let status = self.status();
        let clock_ms = Self::now_ms();
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        if !watches.iter().all(|watch| watch.holds(status.term, clock_ms)) {
            return vec![Ok(Reply::NullArray)];
        }
        let watched = self.watches.begin();
        let (outcomes, touches, published) = data.transact(clock_ms, |transaction| {
            transaction.keep_touches();
            transaction.begin_entry(clock_ms, clock_ms);
            let carry_out = |call: &Call| match (&denied, status.leader()) {
                (Some(denied), _) => Err(denied.clone()),
                (None, Some(leader)) if call.is_write() && status.role != Role::Leader => {
                    Err(Denied::NotLeader { leader: leader.clone() })
                }
                (None, None) if call.is_write() => Err(Denied::NoLeader),
                _ => talon_core::request::execute(transaction, call).map_err(|fault| Denied::Fault(fault.0)),
            };
            let outcomes = calls.iter().map(carry_out).collect();
            (outcomes, transaction.take_touches().filter(|_| watched), transaction.take_published())
        });
        self.watches.end(touches, || ());
        self.listeners.tell(&published);
        outcomes
    }
}

impl Database for MemoryDatabase {
    async fn execute(&self, calls: Vec<Call>, consistency: Consistency) -> Vec<Outcome> {
        self.consistencies.lock().unwrap_or_else(PoisonError::into_inner).push(consistency);
        self.carry_out(&calls, &[])
    }

    async fn watch(&self, keys: Vec<Bytes>) -> Result<Watch, Denied> {
        let status = self.status();
        if let (Role::Follower, Some(leader)) = (status.role, status.leader()) {
            return Err(Denied::NotLeader { leader: leader.clone() });
        }
        let data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        let mut watch = self.watches.watch(&keys);
        watch.begin(|| ()).expect("whoever carries out holds the data");
        let records: Vec<_> = keys.iter().map(|key| data.get(key).expect("memory does not fail")).collect();
        watch.judge(&records, Self::now_ms(), status.term);
        Ok(watch.into())
    }

    async fn execute_if(&self, requests: Vec<Request>, watches: Vec<Watch>) -> Outcome {
        self.carry_out(&[Call::Transaction(requests)], &watches).remove(0)
    }

    async fn point_in_time(&self, _: Consistency) -> Result<Arc<dyn PointInTime>, Denied> {
        let data = self.data.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Arc::new(Frozen { data, clock_ms: Self::now_ms() }))
    }

    async fn read_at(&self, view: Arc<dyn PointInTime>, calls: Vec<Call>) -> Vec<Outcome> {
        view.read_all(&calls)
    }

    fn listen(&self, listener: Weak<dyn Listener>) {
        self.listeners.add(listener);
    }

    fn status(&self) -> Arc<Status> {
        self.status.borrow().clone()
    }

    async fn confirmed_status(&self, _: Duration) -> Arc<Status> {
        if self.leader_is_gone.swap(false, Ordering::AcqRel) {
            self.change_status(|status| status.leader_id = None);
        }
        self.status()
    }

    async fn status_changed(&self, seen: u64) {
        let mut changes = self.status.subscribe();
        // The sender lives as long as `self`.
        let _ = changes.wait_for(|status| status.version != seen).await;
    }
}

/// There is nothing to administer.
fn refused<T>() -> Result<T, AdminError> {
    Err(AdminError::Refused("this is a double".to_owned()))
}

impl Administer for MemoryDatabase {
    async fn add_learner(&self, _: Member) -> Result<(), AdminError> {
        refused()
    }

    async fn promote(&self, _: u64) -> Result<(), AdminError> {
        refused()
    }

    async fn remove(&self, _: u64) -> Result<(), AdminError> {
        refused()
    }

    async fn transfer_leadership(&self, to: Option<u64>) -> Result<(), AdminError> {
        let id = to.unwrap_or(2);
        self.change_status(|status| (status.leader_id, status.role) = (Some(id), Role::Follower));
        Ok(())
    }

    async fn mark_state(&self) -> Result<u64, AdminError> {
        refused()
    }

    async fn state_hash(&self, _: u64) -> Result<StateHash, AdminError> {
        refused()
    }
}

struct Frozen {
    data: MemorySource,
    clock_ms: u64,
}

impl PointInTime for Frozen {
    fn read(&self, request: &Request) -> Outcome {
        let mut transaction = Transaction::for_read(&self.data, self.clock_ms, 0, 0);
        request.execute(&mut transaction).map_err(|fault| Denied::Fault(fault.0))
    }

    fn index(&self) -> u64 {
        0
    }

    fn clock_ms(&self) -> u64 {
        self.clock_ms
    }
}

//! Who is connected: for `CLIENT LIST`, `CLIENT KILL` and the limit on connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::notices::{Notice, Notices};
use super::outbox::Outbox;
use super::pubsub::Counts;

/// What others may see of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub id: u64,
    pub address: SocketAddr,
    pub local: SocketAddr,
    /// The number of its socket; -1 = it has none.
    descriptor: i32,
    /// It has said MONITOR.
    pub is_monitor: AtomicBool,
    since: Instant,
    /// Milliseconds from `since` to the last request.
    active_ms: AtomicU64,
    /// Whether it waits for something, as in WAIT, and whether it is to wait no longer.
    waiting: AtomicU8,
    /// A log index that holds what it wrote last; 0 = it wrote nothing.
    pub last_index: AtomicU64,
    /// What its connection is told.
    pub notices: Notices,
    /// What it is to send that was not asked for.
    pub outbox: Outbox,
    profile: Mutex<Profile>,
}

/// What a client said of itself, and what it is doing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profile {
    pub name: String,
    pub library: String,
    pub library_version: String,
    /// The last command's name.
    pub command: &'static str,
    pub resp3: bool,
    pub readonly: bool,
    /// How many commands MULTI has gathered; -1 = no MULTI.
    pub gathered: i64,
    /// How many channels and patterns it has subscribed to.
    pub subscriptions: Counts,
    pub no_evict: bool,
    pub no_touch: bool,
    /// Bytes read and not yet carried out.
    pub query_bytes: usize,
    /// The room of the read and the write buffer.
    pub buffer_bytes: usize,
    /// The bytes of what MULTI has gathered.
    pub gathered_bytes: usize,
}

/// The states of waiting.
const NOT_WAITING: u8 = 0;
const WAITING: u8 = 1;
const TIMED_OUT: u8 = 2;
const REFUSED: u8 = 3;

/// How CLIENT UNBLOCK ends another client's waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unblock {
    /// As if its time were over.
    Timeout,
    /// With an error.
    Error,
}

impl Client {
    /// It begins to wait for something.
    pub fn begin_waiting(&self) {
        self.waiting.store(WAITING, Ordering::Release);
    }

    /// It waits no longer; whether it is to be answered with an error.
    pub fn end_waiting(&self) -> bool {
        self.waiting.swap(NOT_WAITING, Ordering::AcqRel) == REFUSED
    }

    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) != NOT_WAITING
    }

    /// Whether whatever it waits for is not worth waiting for any more.
    pub fn may_stop_waiting(&self) -> bool {
        self.notices.is_ending() || self.waiting.load(Ordering::Acquire) > WAITING
    }

    /// Ends its waiting; `false` = it does not wait.
    pub fn unblock(&self, how: Unblock) -> bool {
        let state = if how == Unblock::Error { REFUSED } else { TIMED_OUT };
        self.waiting.compare_exchange(WAITING, state, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub fn profile(&self) -> MutexGuard<'_, Profile> {
        self.profile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was active at this moment.
    pub fn touch(&self, now: Instant) {
        self.active_ms.store(now.duration_since(self.since).as_millis() as u64, Ordering::Relaxed);
    }

    /// How old its connection is.
    pub fn age(&self) -> std::time::Duration {
        self.since.elapsed()
    }

    /// About how many bytes of memory it takes.
    pub fn memory_bytes(&self) -> usize {
        let (buffers, gathered) = {
            let profile = self.profile();
            (profile.buffer_bytes, profile.gathered_bytes)
        };
        std::mem::size_of::<Client>() + buffers + gathered + self.outbox.waiting().1
    }

    /// Its line in `CLIENT LIST`.
    pub fn line(&self) -> String {
        let profile = self.profile().clone();
        let age = self.since.elapsed();
        let idle_ms = (age.as_millis() as u64).saturating_sub(self.active_ms.load(Ordering::Relaxed));
        let mut flags = String::new();
        for (set, flag) in [
            (self.is_monitor.load(Ordering::Relaxed), 'O'),
            (profile.subscriptions.sum() > 0, 'P'),
            (profile.gathered >= 0, 'x'),
            (self.is_waiting(), 'b'),
            (profile.readonly, 'r'),
            (profile.no_evict, 'e'),
            (profile.no_touch, 'T'),
        ] {
            if set {
                flags.push(flag);
            }
        }
        if flags.is_empty() {
            flags.push('N');
        }
        let (messages, message_bytes) = self.outbox.waiting();
        let memory = self.memory_bytes();
        format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={flags} db=0 sub={} psub={} ssub=0 multi={} qbuf={} \
             qbuf-free={} argv-mem=0 multi-mem={} rbs=0 rbp=0 obl=0 oll={messages} omem={message_bytes} tot-mem={memory} \
             events=r cmd={} user=default \
             redir=-1 resp={} lib-name={} lib-ver={}",
            self.id,
            self.address,
            self.local,
            self.descriptor,
            profile.name,
            age.as_secs(),
            idle_ms / 1000,
            profile.subscriptions.channels,
            profile.subscriptions.patterns,
            profile.gathered,
            profile.query_bytes,
            profile.buffer_bytes.saturating_sub(profile.query_bytes),
            profile.gathered_bytes,
            if profile.command.is_empty() { "NULL" } else { profile.command },
            if profile.resp3 { 3 } else { 2 },
            profile.library,
            profile.library_version,
        )
    }
}

/// Everyone who is connected, by number.
#[derive(Debug)]
pub(crate) struct Clients {
    next_id: AtomicU64,
    all: Mutex<BTreeMap<u64, Arc<Client>>>,
}

impl Clients {
    pub fn new() -> Clients {
        Clients { next_id: AtomicU64::new(1), all: Mutex::new(BTreeMap::new()) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Client>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a new connection, unless there are too many already: more are let in from this machine than from elsewhere.
    pub fn enter(
        &self,
        address: SocketAddr,
        local: SocketAddr,
        descriptor: i32,
        (own_max, others_max): (usize, usize),
    ) -> Option<Arc<Client>> {
        let clients_max = if address.ip().to_canonical().is_loopback() { own_max } else { others_max };
        let mut all = self.lock();
        if all.len() >= clients_max {
            return None;
        }
        let client = Arc::new(Client {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            address,
            local,
            since: Instant::now(),
            active_ms: AtomicU64::new(0),
            waiting: AtomicU8::new(NOT_WAITING),
            descriptor,
            is_monitor: AtomicBool::new(false),
            last_index: AtomicU64::new(0),
            notices: Notices::default(),
            outbox: Outbox::default(),
            profile: Mutex::new(Profile { gathered: -1, ..Profile::default() }),
        });
        all.insert(client.id, client.clone());
        Some(client)
    }

    pub fn leave(&self, id: u64) {
        self.lock().remove(&id);
    }

    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.lock().get(&id).cloned()
    }

    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// How many wait for something.
    pub fn blocked_count(&self) -> usize {
        self.lock().values().filter(|client| client.is_waiting()).count()
    }

    /// Tells every connection.
    pub fn notify(&self, notice: Notice) {
        self.all().iter().for_each(|client| client.notices.raise(notice));
    }

    /// A copy, so that nobody waits while it is looked through.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_places_are_for_this_machine() {
        let clients = Clients::new();
        let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let (own, other, local) = (address("127.0.0.1:5"), address("192.0.2.7:5"), address("192.0.2.1:6380"));
        let enter = |from| clients.enter(from, local, 9, (4, 3)).is_some();
        assert!(enter(other) && enter(other) && enter(own));
        assert!(!enter(other), "the last one is kept");
        assert!(enter(own) && !enter(own));
        assert!(!enter(address("[::1]:5")));
        clients.leave(1);
        assert!(!enter(other) && enter(address("[::ffff:127.0.0.1]:5")));
    }
}

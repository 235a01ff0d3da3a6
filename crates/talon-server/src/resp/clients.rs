//! Who is connected: for `CLIENT LIST`, `CLIENT KILL` and the limit on connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    since: Instant,
    /// Milliseconds from `since` to the last request.
    active_ms: AtomicU64,
    /// It waits for something, as in WAIT.
    pub blocked: AtomicBool,
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
    /// How many keys it watches.
    pub watched: usize,
    pub no_evict: bool,
    /// Bytes read and not yet carried out.
    pub query_bytes: usize,
}

impl Client {
    pub fn profile(&self) -> MutexGuard<'_, Profile> {
        self.profile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was active at this moment.
    pub fn touch(&self, now: Instant) {
        self.active_ms.store(now.duration_since(self.since).as_millis() as u64, Ordering::Relaxed);
    }

    /// Its line in `CLIENT LIST`.
    pub fn line(&self) -> String {
        let profile = self.profile().clone();
        let age = self.since.elapsed();
        let idle_ms = (age.as_millis() as u64).saturating_sub(self.active_ms.load(Ordering::Relaxed));
        let mut flags = String::new();
        for (set, flag) in [
            (profile.subscriptions.sum() > 0, 'P'),
            (profile.gathered >= 0, 'x'),
            (profile.readonly, 'r'),
            (profile.no_evict, 'e'),
        ] {
            if set {
                flags.push(flag);
            }
        }
        if flags.is_empty() {
            flags.push('N');
        }
        format!(
            "id={} addr={} laddr={} fd=0 name={} age={} idle={} flags={flags} db=0 sub={} psub={} ssub=0 multi={} qbuf={} \
             qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} user=default \
             redir=-1 resp={} lib-name={} lib-ver={}",
            self.id,
            self.address,
            self.local,
            profile.name,
            age.as_secs(),
            idle_ms / 1000,
            profile.subscriptions.channels,
            profile.subscriptions.patterns,
            profile.gathered,
            profile.query_bytes,
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
            blocked: AtomicBool::new(false),
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

    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// How many wait for something.
    pub fn blocked_count(&self) -> usize {
        self.lock().values().filter(|client| client.blocked.load(Ordering::Relaxed)).count()
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
        let enter = |from| clients.enter(from, local, (4, 3)).is_some();
        assert!(enter(other) && enter(other) && enter(own));
        assert!(!enter(other), "the last one is kept");
        assert!(enter(own) && !enter(own));
        assert!(!enter(address("[::1]:5")));
        clients.leave(1);
        assert!(!enter(other) && enter(address("[::ffff:127.0.0.1]:5")));
    }
}

//! The nodes a client knows: those it was given, and those it was sent to; and which of them led when it was last heard.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::error::Error;

/// How many addresses it keeps besides those it was given. A cluster has fewer; odd answers must not fill the memory.
const LEARNED_MAX: usize = 32;
/// How often a connection with open calls is asked whether it is alive, and how long it may take to answer.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// The nodes a client knows.
pub(crate) struct Nodes {
    /// As it was given them; never empty.
    given: Vec<String>,
    connect_time: Duration,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    leader: Option<String>,
    /// The place in `given` that is asked next.
    next: usize,
    channels: HashMap<String, Channel>,
}

/// Any of the usual ways to write an address as a URL, so that each has one form.
fn url(address: &str) -> Result<String, Error> {
    let address = address.trim_end_matches('/');
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    match Endpoint::from_shared(url.clone()) {
        Ok(endpoint) if endpoint.uri().host().is_some_and(|host| !host.is_empty()) => Ok(url),
        Ok(_) => Err(Error::Endpoint(address.to_owned())),
        Err(error) => Err(Error::Endpoint(format!("{address}: {error}"))),
    }
}

impl Nodes {
    pub(crate) fn new(
        endpoints: impl IntoIterator<Item = impl AsRef<str>>,
        connect_time: Duration,
    ) -> Result<Nodes, Error> {
        let given = endpoints.into_iter().map(|endpoint| url(endpoint.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if given.is_empty() {
            return Err(Error::Endpoint("none was given".to_owned()));
        }
        Ok(Nodes { given, connect_time, known: Mutex::default() })
    }

    /// The same nodes, with a turn of its own.
    pub(crate) fn same(&self) -> Nodes {
        let known = self.known();
        let known = Known { leader: known.leader.clone(), next: known.next, channels: known.channels.clone() };
        Nodes { given: self.given.clone(), connect_time: self.connect_time, known: Mutex::new(known) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // It is whole at every moment, so a panic elsewhere did not leave it half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many were given.
    pub(crate) fn count(&self) -> usize {
        self.given.len()
    }

    /// The leader as far as it is known, else the next node in turn.
    pub(crate) fn leader_or_next(&self) -> String {
        let leader = self.known().leader.clone();
        leader.unwrap_or_else(|| self.next())
    }

    /// The next node in turn.
    pub(crate) fn next(&self) -> String {
        let mut known = self.known();
        let place = known.next % self.given.len();
        known.next = place + 1;
        self.given[place].clone()
    }

    /// The next node in turn that is not known to lead, if there is any.
    pub(crate) fn next_follower(&self) -> String {
        let leader = self.known().leader.clone();
        let first = self.next();
        if leader.as_ref() == Some(&first) { self.next() } else { first }
    }

    /// The node at `url` leads, as far as it is known.
    pub(crate) fn set_leader(&self, url: &str) {
        let mut known = self.known();
        if known.leader.as_deref() != Some(url) {
            known.leader = Some(url.to_owned());
        }
    }

    /// Another node said that the one at this address leads. Returns its URL; `None` if it is no address.
    pub(crate) fn follow(&self, address: &str) -> Option<String> {
        let url = url(address).ok()?;
        self.set_leader(&url);
        Some(url)
    }

    /// The node at `url` does not lead any more, or is not there.
    pub(crate) fn forget_leader(&self, url: &str) {
        let mut known = self.known();
        if known.leader.as_deref() == Some(url) {
            known.leader = None;
        }
    }

    /// A connection to a node: the one there is, or a new one.
    pub(crate) async fn channel(&self, url: &str) -> Result<Channel, String> {
        if let Some(channel) = self.known().channels.get(url) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| error.to_string())?;
        let endpoint = endpoint
            .connect_timeout(self.connect_time)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20);
        let connected = tokio::time::timeout(self.connect_time, endpoint.connect()).await;
        let channel = match connected {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(format!("{url} cannot be connected to: {error}")),
            Err(_) => return Err(format!("{url} did not accept a connection in time")),
        };
        let mut known = self.known();
        if known.channels.len() >= self.given.len() + LEARNED_MAX {
            known.channels.retain(|url, _| self.given.contains(url));
        }
        known.channels.insert(url.to_owned(), channel.clone());
        Ok(channel)
    }

    /// The connection to a node gave no answer: the next call makes a new one.
    pub(crate) fn drop_channel(&self, url: &str) {
        self.known().channels.remove(url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_urls_of_one_form() {
        assert_eq!(url("a.example:7380"), Ok("http://a.example:7380".into()));
        assert_eq!(url("http://[::1]:7380/"), Ok("http://[::1]:7380".into()));
        assert!(matches!(url("not an address"), Err(Error::Endpoint(_))));
        assert!(matches!(url(""), Err(Error::Endpoint(_))));
        assert!(Nodes::new(Vec::<String>::new(), Duration::ZERO).is_err());
    }

    #[test]
    fn nodes_are_asked_in_turn_and_the_leader_first() {
        let nodes = Nodes::new(["a:1", "b:1", "c:1"], Duration::ZERO).unwrap();
        let turn: Vec<_> = (0..4).map(|_| nodes.leader_or_next()).collect();
        assert_eq!(turn, ["http://a:1", "http://b:1", "http://c:1", "http://a:1"]);
        assert_eq!(nodes.follow("c:1").as_deref(), Some("http://c:1"));
        assert_eq!(nodes.leader_or_next(), "http://c:1");
        assert_eq!((nodes.next_follower(), nodes.next_follower()), ("http://b:1".into(), "http://a:1".into()));
        nodes.forget_leader("http://b:1");
        assert_eq!(nodes.leader_or_next(), "http://c:1");
        nodes.forget_leader("http://c:1");
        assert_eq!(nodes.leader_or_next(), "http://b:1");
        assert_eq!(nodes.follow("no address"), None);
    }
}

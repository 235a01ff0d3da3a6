//! Who has subscribed to what, and the delivery of messages. A message goes into the outbox of each subscriber; one whose
//! outbox is full does not read and is cut off.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use talon_core::glob::Glob;
use talon_core::{Listener, Refusal, Reply};

use super::clients::Client;
use super::events;
use super::metrics::{Metrics, add};
use super::notices::Notice;
use super::outbox::Message;
use super::session::Shared;

/// The longest name of a channel, and the longest pattern, in bytes. Whoever publishes waits for names to be matched with patterns.
const NAME_BYTES_MAX: usize = 4 * 1024;
/// How many bytes all names of one client take at most.
const NAMES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many steps a pattern may take with the name of a channel, whatever that is, and how many more for each of its bytes. Those that clients use
/// take about one a byte. One that takes more would hold up whoever publishes, and whoever applies what is published.
const MATCH_STEPS_MAX: usize = 4096;
const MATCH_STEPS_PER_BYTE: usize = 4;
/// Fewer steps than this are not charged to anybody.
const STEPS_FREE: usize = 256;
/// How many steps all patterns of one client may take with one message.
const CLIENT_STEPS_MAX: usize = 1 << 20;

/// Why a message cannot be published.
pub(crate) const CHANNEL_TOO_LONG: Refusal = Refusal::new("ERR the name of a channel is too long");

/// Whether this is too long for the name of a channel.
pub(crate) fn is_too_long(channel: &[u8]) -> bool {
    channel.len() > NAME_BYTES_MAX
}

/// What is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A channel by its name.
    Channel,
    /// All channels whose names match.
    Pattern,
}

/// How many subscriptions somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub channels: usize,
    pub patterns: usize,
}

impl Counts {
    pub fn sum(self) -> usize {
        self.channels + self.patterns
    }
}

/// Why a subscription was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    TooMany,
    TooLong,
}

impl NotTaken {
    pub fn refusal(self, subscriptions_max: usize) -> Refusal {
        match self {
            NotTaken::TooMany => Refusal::from_string(format!(
                "ERR a client may have {subscriptions_max} subscriptions (subscriptions_max)"
            )),
            NotTaken::TooLong => CHANNEL_TOO_LONG,
        }
    }
}

/// All subscriptions of a front door.
#[derive(Debug, Default)]
pub(crate) struct Channels(Mutex<Subscriptions>);

#[derive(Debug, Default)]
struct Subscriptions {
    channels: HashMap<Bytes, Subscribers>,
    patterns: BTreeMap<Bytes, (Glob, Subscribers)>,
    by_client: HashMap<u64, Own>,
}

type Subscribers = BTreeMap<u64, Arc<Client>>;

/// What one client has subscribed to.
#[derive(Debug, Default)]
struct Own {
    channels: BTreeSet<Bytes>,
    patterns: BTreeSet<Bytes>,
    name_bytes: usize,
}

impl Own {
    fn names(&mut self, kind: Kind) -> &mut BTreeSet<Bytes> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
        }
    }

    fn counts(&self) -> Counts {
        Counts { channels: self.channels.len(), patterns: self.patterns.len() }
    }
}

impl Channels {
    fn lock(&self) -> MutexGuard<'_, Subscriptions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes a client, which may have up to `subscriptions_max` in all; how many it has then.
    pub fn subscribe(
        &self,
        kind: Kind,
        name: &Bytes,
        client: &Arc<Client>,
        subscriptions_max: usize,
    ) -> Result<Counts, NotTaken> {
        if is_too_long(name) {
            return Err(NotTaken::TooLong);
        }
        let mut all = self.lock();
        let Subscriptions { channels, patterns, by_client } = &mut *all;
        let own = by_client.entry(client.id).or_default();
        if own.names(kind).contains(name) {
            return Ok(own.counts());
        }
        if own.counts().sum() >= subscriptions_max || own.name_bytes + name.len() > NAMES_BYTES_MAX {
            return Err(NotTaken::TooMany);
        }
        own.name_bytes += name.len();
        // A copy: a slice would keep the whole block it came from.
        let name = Bytes::copy_from_slice(name);
        let subscribers = match kind {
            Kind::Channel => channels.entry(name.clone()).or_default(),
            Kind::Pattern => {
                &mut patterns.entry(name.clone()).or_insert_with(|| (Glob::new(&name), Subscribers::new())).1
            }
        };
        subscribers.insert(client.id, client.clone());
        own.names(kind).insert(name);
        Ok(own.counts())
    }

    /// Takes a subscription back, if there is one; how many are left.
    pub fn unsubscribe(&self, kind: Kind, name: &Bytes, id: u64) -> Counts {
        self.lock().remove(kind, name, id)
    }

    /// What a client has subscribed to, in order.
    pub fn names(&self, kind: Kind, id: u64) -> Vec<Bytes> {
        let mut all = self.lock();
        all.by_client.get_mut(&id).map(|own| own.names(kind).iter().cloned().collect()).unwrap_or_default()
    }

    /// Takes all of a client's subscriptions back.
    pub fn leave(&self, id: u64) {
        let mut all = self.lock();
        let Some(own) = all.by_client.get(&id) else { return };
        let names = |kind: Kind, names: &BTreeSet<Bytes>| -> Vec<(Kind, Bytes)> {
            names.iter().map(|name| (kind, name.clone())).collect()
        };
        let mut left = names(Kind::Channel, &own.channels);
        left.extend(names(Kind::Pattern, &own.patterns));
        for (kind, name) in left {
            all.remove(kind, &name, id);
        }
    }

    /// Sends a message to all who have subscribed to the channel.
    pub fn publish(&self, channel: &Bytes, message: &Bytes, bytes_max: usize, metrics: &Metrics) {
        if is_too_long(channel) {
            return;
        }
        let all = self.lock();
        // Copies: slices would keep the whole blocks they came from for as long as somebody does not read.
        let copies = LazyCell::new(|| [channel, message].map(|text| Reply::Bulk(Bytes::copy_from_slice(text))));
        let deliver = |subscribers: &Subscribers, message: Reply| {
            for client in subscribers.values().filter(|client| is_there(client)) {
                if client.outbox.push(Message::Reply(message.clone()), bytes_max) {
                    client.notices.raise(Notice::Push);
                } else {
                    cut_off(client, metrics, "a subscriber does not read its messages; cutting it off");
                }
            }
        };
        if let Some(subscribers) = all.channels.get(channel) {
            let [channel, message] = &*copies;
            deliver(subscribers, Reply::Push(vec![Reply::bulk("message"), channel.clone(), message.clone()]));
        }
        // What the patterns of each client have taken.
        let mut charges: HashMap<u64, usize> = HashMap::new();
        for (pattern, (glob, subscribers)) in &all.patterns {
            if !subscribers.values().any(is_there) {
                continue;
            }
            let (fits, steps) = fits(glob, channel);
            if steps > STEPS_FREE {
                for client in subscribers.values() {
                    let charge = charges.entry(client.id).or_default();
                    *charge += steps;
                    if fits.is_none() || *charge > CLIENT_STEPS_MAX {
                        cut_off(client, metrics, "a subscriber's patterns take too long to match; cutting it off");
                    }
                }
            }
            if fits == Some(true) {
                let [channel, message] = &*copies;
                let pattern = Reply::Bulk(Bytes::copy_from_slice(pattern));
                let words = vec![Reply::bulk("pmessage"), pattern, channel.clone(), message.clone()];
                deliver(subscribers, Reply::Push(words));
            }
        }
    }

    /// How many a message to this channel would reach.
    pub fn receivers(&self, channel: &[u8]) -> usize {
        let all = self.lock();
        let matching = |(glob, subscribers): &&(Glob, Subscribers)| {
            subscribers.values().any(is_there) && fits(glob, channel).0 == Some(true)
        };
        all.patterns.values().filter(matching).map(|(_, subscribers)| subscribers.len()).sum::<usize>()
            + all.channels.get(channel).map_or(0, Subscribers::len)
    }

    /// The channels somebody has subscribed to by name, in order.
    pub fn active(&self, pattern: Option<&Glob>) -> Vec<Bytes> {
        // Nobody waits while they are matched.
        let mut names: Vec<Bytes> = self.lock().channels.keys().cloned().collect();
        names.retain(|name| pattern.is_none_or(|pattern| fits(pattern, name).0 == Some(true)));
        names.sort();
        names
    }

    /// How many have subscribed to this channel by name.
    pub fn subscribers(&self, channel: &Bytes) -> usize {
        self.lock().channels.get(channel).map_or(0, Subscribers::len)
    }

    /// How many different channels and patterns there are.
    pub fn totals(&self) -> Counts {
        let all = self.lock();
        Counts { channels: all.channels.len(), patterns: all.patterns.len() }
    }
}

/// Whether a channel's name fits a pattern (`None` = that takes too long to tell), and how many steps that took.
fn fits(pattern: &Glob, channel: &[u8]) -> (Option<bool>, usize) {
    let steps_max = MATCH_STEPS_MAX + MATCH_STEPS_PER_BYTE * channel.len();
    let mut steps_left = steps_max;
    let fits = pattern.matches_within(channel, &mut steps_left);
    (fits, steps_max - steps_left)
}

/// Whether it is sent messages still.
fn is_there(client: &Arc<Client>) -> bool {
    !client.notices.has(Notice::Kill)
}

fn cut_off(client: &Client, metrics: &Metrics, why: &'static str) {
    if !client.notices.has(Notice::Kill) {
        add(&metrics.connections_cut, 1);
        tracing::warn!(client = client.id, "{why}");
        client.notices.raise(Notice::Kill);
    }
}

impl Subscriptions {
    fn remove(&mut self, kind: Kind, name: &Bytes, id: u64) -> Counts {
        let Some(own) = self.by_client.get_mut(&id) else { return Counts::default() };
        if own.names(kind).remove(name) {
            own.name_bytes -= name.len();
        }
        let counts = own.counts();
        if counts.sum() == 0 {
            self.by_client.remove(&id);
        }
        let is_last = |subscribers: &mut Subscribers| {
            subscribers.remove(&id);
            subscribers.is_empty()
        };
        match kind {
            Kind::Channel if self.channels.get_mut(name).is_some_and(is_last) => {
                self.channels.remove(name);
            }
            Kind::Pattern if self.patterns.get_mut(name).is_some_and(|(_, subscribers)| is_last(subscribers)) => {
                self.patterns.remove(name);
            }
            Kind::Channel | Kind::Pattern => {}
        }
        counts
    }
}

impl Shared {
    /// Tells this node's subscribers of something.
    pub fn tell(&self, channel: &Bytes, message: &Bytes) {
        self.channels.publish(channel, message, self.settings.push_bytes_max, &self.metrics);
    }
}

impl Listener for Shared {
    fn hear(&self, channel: &Bytes, message: &Bytes) {
        // It may have been published through another door.
        if !events::is_reserved(channel) {
            self.tell(channel, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::resp::clients::Clients;

    use super::*;

    fn text(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn client(clients: &Clients) -> Arc<Client> {
        let address = "127.0.0.1:1".parse().expect("an address");
        clients.enter(address, address, -1, (usize::MAX, usize::MAX)).expect("room")
    }

    #[tokio::test]
    async fn whoever_does_not_read_is_cut_off_and_others_are_not() {
        let (clients, channels, metrics) = (Clients::new(), Channels::default(), Metrics::default());
        let (slow, quick) = (client(&clients), client(&clients));
        channels.subscribe(Kind::Channel, &text("news"), &slow, 10).expect("taken");
        channels.subscribe(Kind::Pattern, &text("n*"), &quick, 10).expect("taken");
        for _ in 0..100 {
            assert_eq!(channels.receivers(&text("news")), 2);
            channels.publish(&text("news"), &text("hello"), 1_000, &metrics);
            assert_eq!(quick.outbox.take(usize::MAX).len(), 1);
        }
        assert!(slow.notices.has(Notice::Kill) && !quick.notices.has(Notice::Kill));
        assert!((1..10).contains(&slow.outbox.take(usize::MAX).len()));
        assert_eq!(metrics.connections_cut.load(std::sync::atomic::Ordering::Relaxed), 1, "it is cut off once");
    }

    #[tokio::test]
    async fn a_pattern_that_takes_too_long_costs_its_subscriber_the_connection() {
        let (clients, channels, metrics) = (Clients::new(), Channels::default(), Metrics::default());
        let (hostile, honest) = (client(&clients), client(&clients));
        let (pattern, channel) = (["*", &"a".repeat(2_000), "b*c"].concat(), "a".repeat(4_000));
        channels.subscribe(Kind::Pattern, &Bytes::from(pattern), &hostile, 10).expect("taken");
        channels.subscribe(Kind::Pattern, &text("*a*a?a[a-c]*"), &honest, 10).expect("taken");
        assert_eq!(channels.receivers(channel.as_bytes()), 1);
        channels.publish(&Bytes::from(channel), &text("hello"), 1 << 20, &metrics);
        assert!(hostile.notices.has(Notice::Kill) && !honest.notices.has(Notice::Kill));
        assert_eq!((hostile.outbox.take(usize::MAX).len(), honest.outbox.take(usize::MAX).len()), (0, 1));
    }

    #[tokio::test]
    async fn so_do_very_many_that_take_long_together() {
        let (clients, channels, metrics) = (Clients::new(), Channels::default(), Metrics::default());
        let (hostile, honest) = (client(&clients), client(&clients));
        let channel = Bytes::from("a".repeat(4_000));
        for number in 0..200 {
            let pattern = |text: &str| Bytes::from(format!("{text}{number}"));
            channels.subscribe(Kind::Pattern, &pattern("*aab"), &hostile, 1_000).expect("taken");
            channels.subscribe(Kind::Pattern, &pattern("news.*"), &honest, 1_000).expect("taken");
        }
        channels.publish(&channel, &text("hello"), 1 << 20, &metrics);
        assert!(hostile.notices.has(Notice::Kill) && !honest.notices.has(Notice::Kill));
        channels.publish(&Bytes::from("a".repeat(NAME_BYTES_MAX + 1)), &text("hello"), 1 << 20, &metrics);
        assert!(channels.active(Some(&Glob::new(b"*"))).is_empty());
    }

    #[tokio::test]
    async fn names_are_bounded_and_leaving_leaves_nothing() {
        let (clients, channels) = (Clients::new(), Channels::default());
        let client = client(&clients);
        let long = Bytes::from(vec![b'a'; NAME_BYTES_MAX + 1]);
        assert_eq!(channels.subscribe(Kind::Channel, &long, &client, 10), Err(NotTaken::TooLong));
        channels.subscribe(Kind::Channel, &long.slice(1..), &client, 10).expect("taken");
        channels.subscribe(Kind::Pattern, &text("b*"), &client, 10).expect("taken");
        channels.leave(client.id);
        assert_eq!((channels.totals(), channels.active(None).len()), (Counts::default(), 0));
        assert!(channels.lock().by_client.is_empty());
    }
}

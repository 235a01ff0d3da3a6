//! Transactions that depend on watched keys (`WATCH`): whether they may be proposed.
//!
//! A watch is touched when an entry is applied, so before its transaction is proposed, no entry may be under way that could touch its keys.
//! One that could is waited for; then the watch tells. To look and to propose is one step of the proposer, in the term of the watch. Entries
//! behind the transaction's own do not matter any more.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use talon_core::planted::{Bug, is_planted};
use talon_core::request::Reach;
use talon_core::value::Record;
use talon_core::{Call, Denied, LocalWatch, Reply, Request, Source, Watch};

use crate::node::Inner;
use crate::pending::Ticket;
use crate::reads::{Proof, confirm, still_leads, tick, wait_or_deny};

/// How long a watch waits for an entry that is being applied, until it asks again whether it may begin.
const STEP: Duration = Duration::from_millis(1);

/// A watch that has begun.
pub(crate) struct Begun {
    pub watch: LocalWatch,
    /// The term in which it counts.
    pub term: u64,
    /// The log index of the state that it began with. No node that has come there shows what had ended by then.
    pub index: u64,
}

/// As the leader: see [`talon_core::Database::watch`].
pub(crate) async fn watch(inner: &Inner, keys: &[Bytes], deadline_ms: u64) -> Result<Begun, Denied> {
    loop {
        let now = inner.time.read();
        let (term, relied_on_lease) = confirm(inner, Proof::Lease, deadline_ms, now.monotonic_ms).await?;
        let Some((_, now_ms)) = inner.time.stamp_at(now).filter(|(stamped, _)| *stamped == term) else {
            wait_or_deny(inner, deadline_ms, Denied::NoLeader).await?;
            continue;
        };
        let live = inner.stores.live();
        let mut watch = live.machine.watch(keys);
        // A step of the state that began before anybody watched does not tell what it touches.
        let view = loop {
            match live.machine.begin_watch(&watch) {
                Some(view) => break view,
                None if inner.time.monotonic_ms() >= deadline_ms => return Err(Denied::Busy),
                None => tokio::time::sleep(STEP).await,
            }
        };
        let wanted: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
        let records = view.get_many(&wanted).map_err(|fault| {
            inner.stores.fail(&fault);
            Denied::Fault(fault.0)
        })?;
        // A key that has ended by this clock and not yet by `T` counts as missing, and could still be read where `T` is enough.
        let due = |record: &Record| record.expired_at(now_ms) && !record.expired_at(view.clock_ms());
        if records.iter().flatten().any(due) {
            tick(inner, now_ms, deadline_ms).await?;
            continue;
        }
        if still_leads(inner, term, relied_on_lease) {
            watch.judge(&records, now_ms.max(view.clock_ms()), term);
            return Ok(Begun { watch, term, index: view.index() });
        }
    }
}

/// What the entries that are under way may touch, by their seeds.
#[derive(Default)]
pub(crate) struct UnderWay {
    entries: BTreeMap<u64, Footprint>,
    /// What is watched by those that are held: nothing that may touch it goes before them.
    awaited: HashSet<Bytes>,
}

/// What the writes of an entry may touch.
#[derive(Debug)]
enum Footprint {
    /// Only these.
    Keys(HashSet<Bytes>),
    /// Anything, or nobody has looked.
    Unknown,
}

/// What became of tickets.
pub(crate) struct Judged {
    /// They go into the entry. (If there are none, there is no entry.)
    pub ready: Vec<Ticket>,
    /// They wait for an entry that is under way.
    pub held: Vec<Ticket>,
}

impl UnderWay {
    /// Says which of these tickets may be proposed as the entry with this seed, and counts that as under way. Those whose watches do not hold
    /// are answered.
    pub fn judge(
        &mut self,
        seed: u64,
        tickets: Vec<Ticket>,
        term: u64,
        stamp_ms: u64,
        is_unwatched: &impl Fn() -> bool,
    ) -> Judged {
        let watches = tickets.iter().any(|ticket| !ticket.watches.is_empty());
        if !watches && self.awaited.is_empty() && is_unwatched() {
            self.entries.insert(seed, Footprint::Unknown);
            return Judged { ready: tickets, held: Vec::new() };
        }
        let mut own = Footprint::Keys(HashSet::new());
        let (mut ready, mut held) = (Vec::with_capacity(tickets.len()), Vec::new());
        for ticket in tickets {
            if !ticket.watches.iter().all(|watch| watch.holds(term, stamp_ms)) {
                ticket.answer([Ok(Reply::NullArray)]);
                continue;
            }
            let before = |key: &Bytes| own.may_touch(key) || self.entries.values().any(|entry| entry.may_touch(key));
            let mut waits = ticket.watches.iter().flat_map(Watch::keys).any(before);
            if !waits && !self.awaited.is_empty() {
                // Else one that is waited for would be followed by the next one, again and again.
                let mut print = Footprint::Keys(HashSet::new());
                ticket.calls.iter().for_each(|call| print.add(call));
                waits = self.awaited.iter().any(|key| print.may_touch(key));
            }
            if waits && !is_planted(Bug::ExecDoesNotWait) {
                self.awaited.extend(ticket.watches.iter().flat_map(Watch::keys).cloned());
                held.push(ticket);
                continue;
            }
            ticket.calls.iter().for_each(|call| own.add(call));
            ready.push(ticket);
        }
        if !ready.is_empty() {
            self.entries.insert(seed, own);
        }
        Judged { ready, held }
    }

    /// An entry has come to its end.
    pub fn remove(&mut self, seed: u64) {
        self.entries.remove(&seed);
        // Those that are held are judged again.
        self.awaited.clear();
    }
}

impl Footprint {
    fn add(&mut self, call: &Call) {
        match call {
            Call::One(request) => self.add_request(request),
            Call::Transaction(requests) => requests.iter().for_each(|request| self.add_request(request)),
        }
    }

    fn add_request(&mut self, request: &Request) {
        let Footprint::Keys(keys) = self else { return };
        match request.reach() {
            Reach::Nothing => {}
            Reach::Keys => keys.extend(request.keys().cloned()),
            Reach::Anything => *self = Footprint::Unknown,
        }
    }

    fn may_touch(&self, key: &Bytes) -> bool {
        match self {
            Footprint::Keys(keys) => keys.contains(key),
            Footprint::Unknown => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use talon_core::{Touches, Watches};
    use tokio::sync::{Semaphore, oneshot};

    use super::*;

    type Answer = oneshot::Receiver<Vec<talon_core::Outcome>>;

    fn ticket(line: &str, watches: Vec<Watch>) -> (Ticket, Answer) {
        let mut words = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes()));
        let name = words.next().unwrap();
        let calls = vec![Call::Transaction(vec![Request::parse(&name, words.collect()).unwrap()])];
        let (done, answer) = oneshot::channel();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let outcomes = Vec::new();
        (Ticket { calls, done, outcomes, deadline_ms: 0, hold_ms: 0, size_bytes: 1, watches, _permit: permit }, answer)
    }

    fn watch(watches: &Arc<Watches>, key: &'static str) -> Watch {
        let (mut watch, ()) = (watches.watch(&[Bytes::from_static(key.as_bytes())]), ());
        watch.begin(|| ()).unwrap();
        watch.judge(&[None], 0, 1);
        watch.into()
    }

    /// How many are ready, and how many are held.
    fn judge(under_way: &mut UnderWay, seed: u64, tickets: Vec<Ticket>, watches: &Watches) -> (usize, Vec<Ticket>) {
        let judged = under_way.judge(seed, tickets, 1, 0, &|| watches.is_empty());
        (judged.ready.len(), judged.held)
    }

    #[test]
    fn it_waits_for_what_may_touch_its_keys_and_for_nothing_else() {
        let watches = Arc::new(Watches::default());
        let mut under_way = UnderWay::default();
        let (early, _answer) = ticket("SET x 1", vec![]);
        assert_eq!(judge(&mut under_way, 1, vec![early], &watches).0, 1);
        let (exec, _answer) = ticket("SET b 1", vec![watch(&watches, "a")]);
        let (ready, held) = judge(&mut under_way, 2, vec![exec], &watches);
        assert_eq!((ready, held.len()), (0, 1), "nobody had looked at what the first touches");
        under_way.remove(1);

        let (other, _answer) = ticket("SET x 1", vec![]);
        let (same, _answer) = ticket("MSET c 1 a 2", vec![]);
        assert_eq!(judge(&mut under_way, 3, vec![other], &watches).0, 1);
        let (ready, held) = judge(&mut under_way, 4, held, &watches);
        assert_eq!((ready, held.len()), (1, 0), "another key is written");
        assert_eq!(judge(&mut under_way, 5, vec![same], &watches).0, 1);
        for (line, waits) in [("SET b 1", true), ("GET b", true)] {
            let (exec, _answer) = ticket(line, vec![watch(&watches, "a")]);
            assert_eq!(judge(&mut under_way, 6, vec![exec], &watches).1.len(), usize::from(waits));
        }
        under_way.remove(5);
        // Else nobody looks at what is touched.
        let _somebody = watch(&watches, "z");
        for (line, waits) in
            [("DELPREFIX a", true), ("ONCE s 1 DELPREFIX a", true), ("ONCE s 1 SET a 1", true), ("PUBLISH a b", false)]
        {
            let (write, _answer) = ticket(line, vec![]);
            assert_eq!(judge(&mut under_way, 10, vec![write], &watches).0, 1);
            let (exec, _answer) = ticket("SET b 1", vec![watch(&watches, "a")]);
            assert_eq!(judge(&mut under_way, 11, vec![exec], &watches).1.len(), usize::from(waits), "{line}");
            under_way.remove(10);
            under_way.remove(11);
        }
        let (flush, _answer) = ticket("FLUSHALL", vec![]);
        assert_eq!(judge(&mut under_way, 7, vec![flush], &watches).0, 1);
        let (exec, _answer) = ticket("SET b 1", vec![watch(&watches, "a")]);
        assert_eq!(judge(&mut under_way, 8, vec![exec], &watches).1.len(), 1, "a flush touches everything");
    }

    #[test]
    fn nothing_that_may_touch_its_keys_goes_before_one_that_is_held() {
        let watches = Arc::new(Watches::default());
        let mut under_way = UnderWay::default();
        let (exec, _answer) = ticket("DEL lock", vec![watch(&watches, "lock")]);
        let (spinning, _answers) = ticket("SETNX lock 1", vec![]);
        assert_eq!(judge(&mut under_way, 1, vec![spinning], &watches).0, 1);
        let (other, _other) = ticket("SET x 1", vec![]);
        let (spinning, _again) = ticket("SETNX lock 1", vec![]);
        let (ready, held) = judge(&mut under_way, 2, vec![exec, other, spinning], &watches);
        assert_eq!((ready, held.len()), (1, 2));
        let (spinning, _later) = ticket("SETNX lock 1", vec![]);
        assert_eq!(judge(&mut under_way, 3, vec![spinning], &watches).1.len(), 1, "nor in a later entry");
        under_way.remove(1);
        let (ready, held) = judge(&mut under_way, 4, held, &watches);
        assert_eq!((ready, held.len()), (2, 0), "first the one that was held, then what came behind it");
    }

    #[test]
    fn within_an_entry_too_and_two_that_watch_each_other_do_not_both_go() {
        let watches = Arc::new(Watches::default());
        let mut under_way = UnderWay::default();
        let (one, _first) = ticket("SET a 1", vec![watch(&watches, "b")]);
        let (other, _second) = ticket("SET b 1", vec![watch(&watches, "a")]);
        let (ready, held) = judge(&mut under_way, 1, vec![one, other], &watches);
        assert_eq!((ready, held.len()), (1, 1));
        // The first is applied.
        assert!(watches.begin());
        watches.end(Some(Touches { keys: vec![Bytes::from_static(b"a")], ranges: vec![] }), || ());
        under_way.remove(1);
        let (ready, held) = judge(&mut under_way, 2, held, &watches);
        assert_eq!((ready, held.len()), (0, 0));
        let mut second = _second;
        assert_eq!(second.try_recv().unwrap(), [Ok(Reply::NullArray)]);
    }
}

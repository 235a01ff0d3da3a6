//! What waits to be proposed. Tickets that are larger than an entry wait apart from all others: each of them takes the nodes a hundred
//! times as long, and a stream of them must not make everybody else wait for several.
//!
//! After a large one, small ones have half the time that it took for themselves; but no longer than they keep coming. (Clients that wait
//! for their answers send the next request after that. With a single turn, each had one answer per large value.) While the storage is
//! busy with what came before, large ones wait a little longer: they would only wait there, and everybody behind them.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::pending::Ticket;

/// How many calls one entry carries at most; a pipeline is not split, so one alone may carry more.
const ENTRY_CALLS_MAX: usize = 5000;
/// How many bytes one entry carries at most; a larger ticket travels alone.
const ENTRY_BYTES_MAX: usize = 512 << 10;
/// With so many calls waiting an entry is full: it need not wait for the one before it.
const FULL_CALLS: usize = ENTRY_CALLS_MAX / 2;
/// The same in bytes.
const FULL_BYTES: usize = ENTRY_BYTES_MAX / 2;
/// Small ones that have not come for this part of the time that the large one took have had enough. (While large ones keep the
/// processors busy, clients take a while to come back.)
const QUIET_SHARE: u32 = 8;
/// A large one counts as having taken so long at most: one that took longer did not wait for the processors.
const TOOK_MAX: Duration = Duration::from_secs(1);
/// From this size on, large ones wait for a busy storage. (Long pipelines of small values are not to be held up.)
const HUGE_BYTES: usize = 4 << 20;
/// For so long at most; then they go until it is no longer busy.
const BUSY_MAX: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Queue {
    small: Lane,
    large: Lane,
    /// Those that cannot be judged before an entry that is under way has come to its end.
    held: Vec<Ticket>,
    small_time: Option<SmallTime>,
    /// Since when the storage is busy, as far as anybody who had to wait for it knows.
    busy_since: Option<Instant>,
    /// How many small tickets are waited for. (Only the first, this one and those that fill an entry wake the one who proposes.)
    pub wanted: usize,
    /// Nobody takes tickets any more.
    pub closed: bool,
}

/// The time that small tickets have for themselves.
#[derive(Clone, Copy, Debug)]
struct SmallTime {
    /// Until then at most; then it is the turn of a large one.
    until: Instant,
    /// If none comes, until then.
    quiet: Instant,
    /// They have had enough if none has come for so long.
    quiet_after: Duration,
}

/// Tickets in the order in which they came.
#[derive(Default)]
struct Lane {
    tickets: VecDeque<Ticket>,
    /// How many calls they carry together.
    calls: usize,
    /// How many bytes.
    size_bytes: usize,
}

impl Lane {
    fn count(&mut self, ticket: &Ticket) {
        self.calls += ticket.calls.len();
        self.size_bytes += ticket.size_bytes;
    }

    /// Takes the first so many out.
    fn take(&mut self, count: usize) -> Vec<Ticket> {
        let tickets: Vec<Ticket> = self.tickets.drain(..count).collect();
        self.calls -= tickets.iter().map(|ticket| ticket.calls.len()).sum::<usize>();
        self.size_bytes -= tickets.iter().map(|ticket| ticket.size_bytes).sum::<usize>();
        tickets
    }

    fn take_if(&mut self, is_taken: impl Fn(&Ticket) -> bool) -> Vec<Ticket> {
        if !self.tickets.iter().any(&is_taken) {
            return Vec::new();
        }
        let (taken, kept): (Vec<Ticket>, Vec<Ticket>) = self.take(self.tickets.len()).into_iter().partition(is_taken);
        for ticket in kept {
            self.count(&ticket);
            self.tickets.push_back(ticket);
        }
        taken
    }

    /// They fill an entry.
    fn is_full(&self) -> bool {
        self.calls >= FULL_CALLS || self.size_bytes >= FULL_BYTES
    }
}

/// Whether it travels alone, and waits apart.
pub(crate) fn is_large(ticket: &Ticket) -> bool {
    ticket.size_bytes > ENTRY_BYTES_MAX
}

impl Queue {
    fn lane(&mut self, ticket: &Ticket) -> &mut Lane {
        if is_large(ticket) { &mut self.large } else { &mut self.small }
    }

    /// Behind all others. Whether that is worth a look.
    pub fn push_back(&mut self, ticket: Ticket) -> bool {
        let (wanted, was_large) = (self.wanted, is_large(&ticket));
        let lane = self.lane(&ticket);
        lane.count(&ticket);
        lane.tickets.push_back(ticket);
        let len = lane.tickets.len();
        len == 1 || !was_large && (len == wanted || lane.is_full())
    }

    /// Before all others: they were not proposed after all.
    pub fn put_back(&mut self, tickets: Vec<Ticket>) {
        for ticket in tickets.into_iter().rev() {
            let lane = self.lane(&ticket);
            lane.count(&ticket);
            lane.tickets.push_front(ticket);
        }
    }

    /// Keeps tickets until [`Queue::release`].
    pub fn hold(&mut self, tickets: Vec<Ticket>) {
        self.held.extend(tickets);
    }

    /// An entry has come to its end: those that waited for that come first.
    pub fn release(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.put_back(held);
    }

    /// How many small ones there are.
    pub fn small_len(&self) -> usize {
        self.small.tickets.len()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.small.tickets.len() + self.large.tickets.len() + self.held.len()
    }

    /// Takes all tickets of which that holds.
    pub fn take_if(&mut self, is_taken: impl Fn(&Ticket) -> bool) -> Vec<Ticket> {
        let mut taken = self.small.take_if(&is_taken);
        taken.extend(self.large.take_if(&is_taken));
        taken.extend(self.held.extract_if(.., |ticket| is_taken(ticket)));
        taken
    }

    /// Takes all tickets.
    pub fn take_all(&mut self) -> Vec<Ticket> {
        self.take_if(|_| true)
    }

    /// The next entry's tickets: one that is large, or the small ones that fit into an entry; unless `any`, only if they fill it.
    ///
    /// `is_busy`: whether the storage is.
    pub fn pack(&mut self, any: bool, now: Instant, is_busy: impl FnOnce() -> bool) -> Option<Vec<Ticket>> {
        let small_go = any || self.small.is_full();
        if !small_go && self.large.tickets.is_empty() {
            return None;
        }
        // Whoever has given up and gone on must not find what he gave up behind what came later.
        drop(self.take_if(|ticket| ticket.done.is_closed()));
        let is_large_turn = self.small_time.is_some_and(|time| now >= time.until);
        let is_quiet = self.small.tickets.is_empty() && self.small_time.is_none_or(|time| now >= time.quiet);
        if let Some(large) = self.large.tickets.front()
            && (is_large_turn || is_quiet)
        {
            if large.size_bytes >= HUGE_BYTES {
                self.busy_since = is_busy().then(|| self.busy_since.unwrap_or(now));
            }
            if large.size_bytes < HUGE_BYTES || self.busy_since.is_none_or(|since| now - since >= BUSY_MAX) {
                self.small_time = None;
                return Some(self.large.take(1));
            }
        }
        if self.small.tickets.is_empty() || !small_go {
            return None;
        }
        if let Some(time) = &mut self.small_time {
            time.quiet = time.until;
        }
        let (mut calls, mut size_bytes, mut tickets) = (0, 0, 0);
        for ticket in &self.small.tickets {
            calls += ticket.calls.len();
            size_bytes += ticket.size_bytes;
            if tickets > 0 && (calls > ENTRY_CALLS_MAX || size_bytes > ENTRY_BYTES_MAX) {
                break;
            }
            tickets += 1;
        }
        Some(self.small.take(tickets))
    }

    /// An entry that was handed in at `since` has come to its end.
    pub fn ended(&mut self, was_large: bool, since: Instant, now: Instant) {
        if was_large {
            let took = (now - since).min(TOOK_MAX);
            let (until, quiet_after) = (now + took / 2, took / QUIET_SHARE);
            self.small_time = (self.small_len() > 0).then_some(SmallTime { until, quiet: until, quiet_after });
        } else if let Some(time) = &mut self.small_time {
            time.quiet = (now + time.quiet_after).min(time.until);
        }
    }

    /// When a large one that waits may go, unless that is now.
    pub fn large_goes_at(&self) -> Option<Instant> {
        let time = self.small_time.filter(|_| !self.large.tickets.is_empty())?;
        Some(if self.small.tickets.is_empty() { time.quiet } else { time.until })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use talon_core::Outcome;
    use tokio::sync::{Semaphore, oneshot};

    use super::*;

    type Waiting = Vec<oneshot::Receiver<Vec<Outcome>>>;

    const LARGE: usize = ENTRY_BYTES_MAX + 1;
    const MS: Duration = Duration::from_millis(1);
    const NOTHING: [usize; 0] = [];

    fn push(queue: &mut Queue, waiting: &mut Waiting, sizes: &[usize]) -> Vec<bool> {
        let push = |size_bytes: &usize| {
            let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            let (done, outcomes) = oneshot::channel();
            waiting.push(outcomes);
            let (calls, outcomes, watches) = (Vec::new(), Vec::new(), Vec::new());
            let (deadline_ms, hold_ms, size_bytes) = (0, 0, *size_bytes);
            queue.push_back(Ticket {
                calls,
                done,
                outcomes,
                deadline_ms,
                hold_ms,
                size_bytes,
                watches,
                _permit: permit,
            })
        };
        sizes.iter().map(push).collect()
    }

    /// A queue, and those who wait for the answers.
    fn queue(sizes: &[usize]) -> (Queue, Waiting) {
        let (mut queue, mut waiting) = (Queue::default(), Vec::new());
        push(&mut queue, &mut waiting, sizes);
        (queue, waiting)
    }

    fn pack(queue: &mut Queue, now: Instant) -> Vec<usize> {
        queue.pack(true, now, || false).into_iter().flatten().map(|ticket| ticket.size_bytes).collect()
    }

    #[test]
    fn an_entry_is_filled_up_to_its_bound() {
        let (half, now) = (ENTRY_BYTES_MAX / 2, Instant::now());
        let (mut queue, _waiting) = queue(&[half, half, 1, 2]);
        assert!(queue.pack(false, now, || false).is_some_and(|tickets| tickets.len() == 2));
        assert!(queue.pack(false, now, || false).is_none(), "the rest does not fill one");
        assert_eq!(pack(&mut queue, now), [1, 2]);
        assert_eq!((queue.small.size_bytes, pack(&mut queue, now)), (0, vec![]));
    }

    #[test]
    fn small_ones_have_half_the_time_that_a_large_one_took() {
        let now = Instant::now();
        let (mut queue, mut waiting) = queue(&[LARGE, LARGE + 1, 1]);
        assert_eq!(pack(&mut queue, now), [1], "small ones first");
        assert_eq!(pack(&mut queue, now), [LARGE]);
        push(&mut queue, &mut waiting, &[2]);
        let end = now + 10 * MS;
        queue.ended(true, now, end);
        for later in 0..5 {
            let now = end + later * MS;
            assert_eq!(pack(&mut queue, now), [2], "one after the other");
            assert_eq!(pack(&mut queue, now), NOTHING, "they are under way");
            queue.ended(false, now, now);
            push(&mut queue, &mut waiting, &[2]);
            assert_eq!(queue.large_goes_at(), Some(end + 5 * MS));
        }
        assert_eq!(pack(&mut queue, end + 5 * MS), [LARGE + 1]);
        assert_eq!(pack(&mut queue, end + 5 * MS), [2]);
    }

    #[test]
    fn small_ones_that_do_not_come_are_not_waited_for() {
        let now = Instant::now();
        let (mut queue, mut waiting) = queue(&[LARGE, LARGE + 1, LARGE + 2]);
        assert_eq!(pack(&mut queue, now), [LARGE]);
        queue.ended(true, now, now + 100 * MS);
        assert_eq!(pack(&mut queue, now + 100 * MS), [LARGE + 1], "there were none");
        push(&mut queue, &mut waiting, &[1]);
        queue.ended(true, now, now + 200 * MS);
        assert_eq!(pack(&mut queue, now + 200 * MS), [1]);
        queue.ended(false, now, now + 201 * MS);
        assert_eq!(pack(&mut queue, now + 225 * MS), NOTHING, "it may come again");
        assert_eq!(queue.large_goes_at(), Some(now + 226 * MS), "an eighth of the 200");
        assert_eq!(pack(&mut queue, now + 226 * MS), [LARGE + 2]);
    }

    #[test]
    fn one_that_took_very_long_does_not_keep_the_next_one_waiting_for_long() {
        let now = Instant::now();
        let (mut queue, mut waiting) = queue(&[LARGE, LARGE + 1]);
        assert_eq!(pack(&mut queue, now), [LARGE]);
        push(&mut queue, &mut waiting, &[1]);
        let end = now + 30_000 * MS;
        queue.ended(true, now, end);
        assert_eq!(queue.large_goes_at(), Some(end + TOOK_MAX / 2));
    }

    #[test]
    fn large_ones_wait_for_a_busy_storage_but_not_for_ever() {
        let now = Instant::now();
        let (mut queue, mut waiting) = queue(&[LARGE, HUGE_BYTES, HUGE_BYTES + 1, HUGE_BYTES + 2]);
        let busy = |queue: &mut Queue, now| -> Vec<usize> {
            queue.pack(true, now, || true).into_iter().flatten().map(|ticket| ticket.size_bytes).collect()
        };
        assert_eq!(busy(&mut queue, now), [LARGE], "not so large");
        assert_eq!(busy(&mut queue, now), NOTHING);
        assert_eq!(busy(&mut queue, now + BUSY_MAX - MS), NOTHING);
        push(&mut queue, &mut waiting, &[1]);
        assert_eq!(busy(&mut queue, now + BUSY_MAX - MS), [1], "others go on");
        assert_eq!(busy(&mut queue, now + BUSY_MAX), [HUGE_BYTES]);
        assert_eq!(busy(&mut queue, now + BUSY_MAX), [HUGE_BYTES + 1], "nor is it waited for again");
        assert_eq!(pack(&mut queue, now + BUSY_MAX), [HUGE_BYTES + 2], "it is no longer busy");
        push(&mut queue, &mut waiting, &[HUGE_BYTES]);
        assert_eq!(busy(&mut queue, now + BUSY_MAX), NOTHING, "it is busy again");
    }

    #[test]
    fn what_was_given_up_is_not_carried_out_behind_what_came_later() {
        let now = Instant::now();
        let (mut queue, mut waiting) = queue(&[LARGE, LARGE + 1, 1, 2]);
        drop(waiting.drain(1..3));
        assert_eq!(pack(&mut queue, now), [2]);
        assert_eq!(pack(&mut queue, now), [LARGE]);
        assert_eq!((queue.len(), queue.large.size_bytes, queue.small.size_bytes), (0, 0, 0));
    }

    #[test]
    fn who_proposes_is_woken_when_there_is_something_to_do() {
        let (mut queue, mut waiting) = queue(&[]);
        queue.wanted = 3;
        assert_eq!(push(&mut queue, &mut waiting, &[1, 1, 1, 1]), [true, false, true, false]);
        assert_eq!(push(&mut queue, &mut waiting, &[LARGE, LARGE, FULL_BYTES]), [true, false, true]);
    }

    #[test]
    fn what_is_put_back_comes_first() {
        let now = Instant::now();
        let (mut queue, mut waiting) = queue(&[1, 2]);
        let tickets = queue.pack(true, now, || false).unwrap();
        push(&mut queue, &mut waiting, &[3]);
        queue.put_back(tickets);
        assert_eq!(pack(&mut queue, now), [1, 2, 3]);
    }
}

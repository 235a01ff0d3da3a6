//! Group commit: whoever has something to write queues it. One of those who wait leads: it carries out everything that is queued, in one
//! [`Machine::apply`] with one sync, and hands out the replies. When its own work is done it hands the lead on to the first in the
//! queue (and does not just let go of it: it would be back before the others have woken up, and commit alone).

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use talon_core::{Call, Fault, Reply, Watch};

use crate::clock::LeaderClock;
use crate::machine::{Content, Entry, Machine};

/// What is committed at once: after so many bytes, or jobs, a group is full. A job that is larger is a group of its own.
const GROUP_BYTES_MAX: usize = 8 << 20;
const GROUP_JOBS_MAX: usize = 4_096;
/// What may wait in the queue before asynchronous callers are turned away. (Those that block are as many as there are threads.)
const QUEUE_BYTES_MAX: usize = 256 << 20;
/// The one term there is.
pub(crate) const TERM: u64 = 1;

pub(crate) struct Committer {
    machine: Arc<Machine>,
    clock: LeaderClock,
    seeds: AtomicU64,
    queue: Mutex<Queue>,
    /// For the thread that works for asynchronous callers.
    called: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Somebody leads, or has been told to.
    led: bool,
    /// The lead belongs to the thread that works for asynchronous callers.
    thread_leads: bool,
    stopping: bool,
}

struct Job {
    calls: Vec<Call>,
    size_bytes: usize,
    /// What it depends on: one call, which is carried out only if these hold, in a group of its own.
    watches: Vec<Watch>,
    /// Whether its owner waits in [`Committer::commit`] and can lead.
    blocking: bool,
    /// To the calls that were carried out already, which are no longer among `calls`.
    replies: Vec<Reply>,
    done: Arc<Done>,
}

type Replies = Result<Vec<Reply>, Fault>;

/// What the owner of a job waits for.
#[derive(Default)]
struct Done {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    replies: Option<Replies>,
    /// The lead has been handed to this job's owner.
    leads: bool,
    waker: Option<Waker>,
}

/// The replies of an asynchronous job, when they are there.
pub(crate) struct Pending(Arc<Done>);

impl Future for Pending {
    type Output = Replies;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Replies> {
        let mut waiting = lock(&self.0.waiting);
        match waiting.replies.take() {
            Some(replies) => Poll::Ready(replies),
            None => {
                waiting.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Done {
    fn take(&self) -> Option<Replies> {
        lock(&self.waiting).replies.take()
    }

    fn is_filled(&self) -> bool {
        lock(&self.waiting).replies.is_some()
    }

    fn fill(&self, replies: Replies) {
        let mut waiting = lock(&self.waiting);
        waiting.replies = Some(replies);
        let waker = waiting.waker.take();
        drop(waiting);
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn hand_lead(&self) {
        lock(&self.waiting).leads = true;
        self.changed.notify_all();
    }

    /// `None`: the lead has come instead of the replies.
    fn wait(&self) -> Option<Replies> {
        let waiting = lock(&self.waiting);
        let waiting = self.changed.wait_while(waiting, |waiting| waiting.replies.is_none() && !waiting.leads);
        waiting.unwrap_or_else(PoisonError::into_inner).replies.take()
    }
}

/// What these locks guard is whole between any two statements; should the machine panic, it says so itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Committer {
    pub(crate) fn new(machine: Arc<Machine>, clock: LeaderClock, seed: u64) -> Committer {
        Committer { machine, clock, seeds: AtomicU64::new(seed), queue: Mutex::default(), called: Condvar::new() }
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// A seed for one entry, or one read.
    pub(crate) fn seed(&self) -> u64 {
        self.seeds.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
    }

    /// Commits the calls, in order and with nothing in between, and waits for the replies. None at all: only brings `T` to the clock.
    pub(crate) fn commit(&self, calls: Vec<Call>) -> Replies {
        let job = Job::new(calls, Vec::new(), true);
        let done = job.done.clone();
        let leads = {
            let mut queue = lock(&self.queue);
            queue.push(job);
            !std::mem::replace(&mut queue.led, true)
        };
        if !leads && let Some(replies) = done.wait() {
            return replies;
        }
        let lead = Lead(self);
        while !done.is_filled() {
            self.commit_group();
        }
        drop(lead);
        done.take().unwrap_or_else(|| Err(Fault("the replies of a commit are gone".into())))
    }

    /// Hands the calls over to [`Committer::serve`]. `None` if too much is waiting already. With watches, it is one call, which is answered with
    /// [`Reply::NullArray`] if they do not hold.
    pub(crate) fn hand_over(&self, calls: Vec<Call>, watches: Vec<Watch>) -> Option<Pending> {
        let job = Job::new(calls, watches, false);
        let pending = Pending(job.done.clone());
        let mut queue = lock(&self.queue);
        if queue.stopping || queue.bytes + job.size_bytes > QUEUE_BYTES_MAX {
            drop(queue);
            return None;
        }
        queue.push(job);
        if !queue.led {
            queue.led = true;
            queue.thread_leads = true;
            self.called.notify_all();
        }
        Some(pending)
    }

    /// Leads for asynchronous callers until [`Committer::stop`]. On a thread of its own.
    pub(crate) fn serve(&self) {
        loop {
            {
                let mut queue = lock(&self.queue);
                while !queue.thread_leads {
                    if queue.stopping {
                        return;
                    }
                    queue = self.called.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                queue.thread_leads = false;
            }
            let lead = Lead(self);
            while self.commit_group() {}
            drop(lead);
        }
    }

    /// Lets [`Committer::serve`] return when it has done what was handed over.
    pub(crate) fn stop(&self) {
        lock(&self.queue).stopping = true;
        self.called.notify_all();
    }

    /// Commits what is queued, up to the bounds of a group. `false` if nothing was. Only for the one who leads.
    fn commit_group(&self) -> bool {
        let jobs = lock(&self.queue).take_group();
        if jobs.is_empty() {
            return false;
        }
        let applied = self.machine.applied();
        let stamp_ms = self.now_ms();
        // Everything before is applied, so the watches know of it.
        if let [job] = &jobs[..]
            && !job.watches.iter().all(|watch| watch.holds(TERM, stamp_ms))
        {
            job.done.fill(Ok(vec![Reply::NullArray]));
            return true;
        }
        let entries: Vec<Entry<'_>> = jobs
            .iter()
            .zip(applied.index + 1..)
            .map(|(job, index)| {
                let content = Content::Calls { stamp_ms, seed: self.seed(), calls: &job.calls };
                Entry { index, position: Vec::new(), content, want_replies: true }
            })
            .collect();
        match self.machine.apply(&entries) {
            Ok(all_replies) => {
                for (mut job, mut replies) in jobs.into_iter().zip(all_replies) {
                    job.calls.drain(..replies.len());
                    if !job.replies.is_empty() {
                        job.replies.append(&mut replies);
                        std::mem::swap(&mut job.replies, &mut replies);
                    }
                    if job.calls.is_empty() {
                        job.done.fill(Ok(replies));
                    } else {
                        // An entry of its own had not enough room. Others take their turn before it goes on.
                        job.replies = replies;
                        lock(&self.queue).push(job);
                    }
                }
            }
            Err(fault) => {
                for job in &jobs {
                    job.done.fill(Err(fault.clone()));
                }
            }
        }
        true
    }
}

/// The lead. Handed on when dropped, also by a panic.
struct Lead<'a>(&'a Committer);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut queue = lock(&self.0.queue);
        match queue.jobs.front() {
            None => queue.led = false,
            Some(job) if job.blocking => job.done.hand_lead(),
            Some(_) => {
                queue.thread_leads = true;
                self.0.called.notify_all();
            }
        }
    }
}

impl Job {
    fn new(calls: Vec<Call>, watches: Vec<Watch>, blocking: bool) -> Job {
        let size_bytes = calls.iter().map(Call::size_bytes).sum();
        Job { calls, size_bytes, watches, blocking, replies: Vec::new(), done: Arc::default() }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Its owner must not wait for ever if applying panicked.
        if std::thread::panicking() {
            self.done.fill(Err(Fault("applying panicked".into())));
        }
    }
}

impl Queue {
    fn push(&mut self, job: Job) {
        self.bytes += job.size_bytes;
        self.jobs.push_back(job);
    }

    fn take_group(&mut self) -> Vec<Job> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(job) = self.jobs.front()
            && (group.is_empty() || (bytes + job.size_bytes <= GROUP_BYTES_MAX && group.len() < GROUP_JOBS_MAX))
        {
            let alone = !job.watches.is_empty();
            if alone && !group.is_empty() {
                break;
            }
            bytes += job.size_bytes;
            group.extend(self.jobs.pop_front());
            if alone {
                break;
            }
        }
        self.bytes -= bytes;
        group
    }
}

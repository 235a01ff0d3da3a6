//! Group commit: whoever has something to write queues it; one of those who wait carries out everything that is queued, in one
//! [`Machine::apply`] with one sync, and hands out the replies.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use talon_core::{Call, Fault, Reply};

use crate::clock::LeaderClock;
use crate::machine::{Content, Entry, Machine};

/// What is committed at once: after so many bytes, or jobs, a group is full. A job that is larger is a group of its own.
const GROUP_BYTES_MAX: usize = 8 << 20;
const GROUP_JOBS_MAX: usize = 4_096;
/// What may wait in the queue before asynchronous callers are turned away. (Those that block are as many as there are threads.)
const QUEUE_BYTES_MAX: usize = 256 << 20;

pub(crate) struct Committer {
    machine: Arc<Machine>,
    clock: LeaderClock,
    read_seed: AtomicU64,
    queue: Mutex<Queue>,
    /// For the thread that works for asynchronous callers.
    called: Condvar,
    /// Held by the one who commits.
    turn: Mutex<Turn>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// An asynchronous caller waits: the thread has to see to it.
    unattended: bool,
    stopping: bool,
}

struct Turn {
    seed: u64,
}

struct Job {
    calls: Vec<Call>,
    size_bytes: usize,
    done: Arc<Done>,
}

type Replies = Result<Vec<Reply>, Fault>;

/// Where the replies of one job are put.
#[derive(Default)]
struct Done(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    replies: Option<Replies>,
    waker: Option<Waker>,
}

/// The replies of an asynchronous job, when they are there.
pub(crate) struct Pending(Arc<Done>);

impl Future for Pending {
    type Output = Replies;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Replies> {
        let mut waiting = lock(&self.0.0);
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
        lock(&self.0).replies.take()
    }

    fn fill(&self, replies: Replies) {
        let mut waiting = lock(&self.0);
        waiting.replies = Some(replies);
        let waker = waiting.waker.take();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// What these locks guard is whole between any two statements; should the machine panic, it says so itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Committer {
    pub(crate) fn new(machine: Arc<Machine>, clock: LeaderClock, seed: u64) -> Committer {
        Committer {
            machine,
            clock,
            read_seed: AtomicU64::new(seed),
            queue: Mutex::default(),
            called: Condvar::new(),
            turn: Mutex::new(Turn { seed }),
        }
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// A seed for a read of its own.
    pub(crate) fn read_seed(&self) -> u64 {
        self.read_seed.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
    }

    fn push(&self, calls: Vec<Call>, unattended: bool) -> Option<Arc<Done>> {
        let done = Arc::new(Done::default());
        let size_bytes = calls.iter().map(Call::size_bytes).sum();
        let mut queue = lock(&self.queue);
        if unattended && (queue.stopping || queue.bytes + size_bytes > QUEUE_BYTES_MAX) {
            return None;
        }
        queue.bytes += size_bytes;
        queue.unattended |= unattended;
        queue.jobs.push_back(Job { calls, size_bytes, done: done.clone() });
        Some(done)
    }

    /// Commits the calls, in order and with nothing in between, and waits for the replies. None at all: only brings `T` to the clock.
    pub(crate) fn commit(&self, calls: Vec<Call>) -> Replies {
        let Some(done) = self.push(calls, false) else {
            return Err(Fault("the queue turned a blocking caller away".into()));
        };
        let mut turn = lock(&self.turn);
        loop {
            // While this thread waited for its turn, another may have done its work.
            if let Some(replies) = done.take() {
                return replies;
            }
            self.commit_group(&mut turn);
        }
    }

    /// Hands the calls over to [`Committer::serve`]. `None` if too much is waiting already.
    pub(crate) fn hand_over(&self, calls: Vec<Call>) -> Option<Pending> {
        let done = self.push(calls, true)?;
        self.called.notify_one();
        Some(Pending(done))
    }

    /// Works for asynchronous callers until [`Committer::stop`]. On a thread of its own.
    pub(crate) fn serve(&self) {
        loop {
            {
                let mut queue = lock(&self.queue);
                while !queue.unattended {
                    if queue.stopping {
                        return;
                    }
                    queue = self.called.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                queue.unattended = false;
            }
            let mut turn = lock(&self.turn);
            while self.commit_group(&mut turn) {}
        }
    }

    /// Lets [`Committer::serve`] return when it has done what was handed over.
    pub(crate) fn stop(&self) {
        lock(&self.queue).stopping = true;
        self.called.notify_all();
    }

    /// Commits what is queued, up to the bounds of a group. `false` if nothing was.
    fn commit_group(&self, turn: &mut Turn) -> bool {
        let jobs = self.take_group();
        if jobs.is_empty() {
            return false;
        }
        let applied = self.machine.applied();
        let stamp_ms = self.now_ms();
        let entries: Vec<Entry<'_>> = jobs
            .iter()
            .zip(applied.index + 1..)
            .map(|(job, index)| {
                turn.seed = turn.seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                let content = Content::Calls { stamp_ms, seed: turn.seed, calls: &job.calls };
                Entry { index, position: Vec::new(), content, want_replies: true }
            })
            .collect();
        match self.machine.apply(&entries) {
            Ok(all_replies) => {
                for (job, replies) in jobs.iter().zip(all_replies) {
                    job.done.fill(Ok(replies));
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

    fn take_group(&self) -> Vec<Job> {
        let mut queue = lock(&self.queue);
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(job) = queue.jobs.front()
            && (group.is_empty() || (bytes + job.size_bytes <= GROUP_BYTES_MAX && group.len() < GROUP_JOBS_MAX))
        {
            bytes += job.size_bytes;
            group.extend(queue.jobs.pop_front());
        }
        queue.bytes -= bytes;
        group
    }
}

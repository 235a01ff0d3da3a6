//! Drives a target. Every session sends some requests, waits for all replies, and sends the next: those that follow at once (closed loop), or
//! those that have fallen due meanwhile (open loop).
//!
//! In an open loop every session has its own even schedule, and a request's latency counts from the moment it was due, not from when it was
//! sent: a server that stalls is charged with all requests that fell due during the stall. The timer has steps of a
//! millisecond, so up to one millisecond of what is counted is this program's own.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use hdrhistogram::Histogram;

use super::keys::{Generator, value_bytes};
use super::{Counts, Kind, Limit, Load, Measured, Session, Stop, Target};
use crate::Outcome;

/// The longest latency that is told apart, and how many digits of one are kept.
const LATENCY_MAX: Duration = Duration::from_secs(600);
const DIGITS: u8 = 3;

/// What the sessions of one thread record.
struct Recorder {
    latencies: Vec<Option<Histogram<u64>>>,
    counts: Counts,
}

impl Recorder {
    fn new() -> Recorder {
        Recorder { latencies: Kind::ALL.map(|_| None).into(), counts: Counts::default() }
    }

    fn record(&mut self, kind: Kind, latency: Duration) -> Outcome<()> {
        let place = &mut self.latencies[kind as usize];
        if place.is_none() {
            *place = Some(Histogram::new_with_bounds(1, LATENCY_MAX.as_nanos() as u64, DIGITS)?);
        }
        if let Some(histogram) = place {
            histogram.saturating_record(latency.as_nanos() as u64);
        }
        Ok(())
    }
}

/// What the threads share.
struct Shared<'a, T> {
    target: &'a T,
    load: &'a Load,
    values: Arc<Vec<u8>>,
    /// How many requests were given to sessions.
    given: AtomicU64,
    connected: Barrier,
    has_failed: AtomicBool,
    start: OnceLock<Instant>,
}

/// Carries out a load.
///
/// # Errors
/// If a connection cannot be made or breaks. Requests that are answered with an error are counted.
pub fn drive<T: Target>(target: &T, load: &Load) -> Outcome<Measured> {
    let threads = load.threads.clamp(1, load.connections.max(1));
    let shared = Shared {
        target,
        load,
        values: value_bytes(load),
        given: AtomicU64::new(0),
        connected: Barrier::new(threads),
        has_failed: AtomicBool::new(false),
        start: OnceLock::new(),
    };
    let recorders: Vec<Outcome<Recorder>> = std::thread::scope(|scope| {
        let shared = &shared;
        let workers: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || thread_of(shared, thread, threads))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
    });
    let elapsed = shared.start.get().map(Instant::elapsed).unwrap_or_default();
    let (mut latencies, mut counts) = (Vec::<(Kind, Histogram<u64>)>::new(), Counts::default());
    for recorder in recorders {
        let recorder = recorder?;
        counts.add(recorder.counts);
        for (kind, histogram) in Kind::ALL.into_iter().zip(recorder.latencies) {
            let Some(histogram) = histogram else { continue };
            match latencies.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, sum)) => sum.add(histogram)?,
                None => latencies.push((kind, histogram)),
            }
        }
    }
    Ok(Measured { latencies, counts, elapsed })
}

fn thread_of<T: Target>(shared: &Shared<'_, T>, thread: usize, threads: usize) -> Outcome<Recorder> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connected = runtime.block_on(connect(shared, thread, threads));
    shared.has_failed.fetch_or(connected.is_err(), Ordering::Relaxed);
    // Everybody comes here, so that nobody waits for ever.
    shared.connected.wait();
    let sessions = connected?;
    if shared.has_failed.load(Ordering::Relaxed) {
        return Ok(Recorder::new());
    }
    let start = *shared.start.get_or_init(Instant::now);
    let load = shared.load;
    let count = sessions.len() * threads;
    let recorder = RefCell::new(Recorder::new());
    let mut work = Vec::new();
    for (place, session) in sessions.into_iter().enumerate() {
        let number = place * threads + thread;
        work.push(Work {
            session,
            generator: Generator::new(load, shared.values.clone(), number as u64)?,
            schedule: load.rate.map(|rate| Schedule::new(start, rate, number, count)),
            depth: shared.target.depth(load.pipeline).max(1),
            limit: load.limit,
            stop: &load.stop,
            start,
            given: &shared.given,
            recorder: &recorder,
        });
    }
    // One task has them all, so the runtime's share for one task would hold them up.
    let all = tokio::task::unconstrained(try_join_all(work.into_iter().map(Work::run)));
    runtime.block_on(all)?;
    Ok(recorder.into_inner())
}

async fn connect<T: Target>(shared: &Shared<'_, T>, thread: usize, threads: usize) -> Outcome<Vec<T::Session>> {
    let Load { connections, pipeline, .. } = *shared.load;
    let sessions = pipeline.div_ceil(shared.target.depth(pipeline).max(1)).max(1);
    let mut all = Vec::new();
    for connection in (thread..connections.max(1)).step_by(threads) {
        all.extend(shared.target.connect(connection, sessions).await?);
    }
    Ok(all)
}

/// When the requests of one session fall due.
struct Schedule {
    next: Instant,
    interval: Duration,
}

impl Schedule {
    /// Of the session with this number among so many, which together have to keep up a rate.
    fn new(start: Instant, rate: f64, number: usize, count: usize) -> Schedule {
        let interval = Duration::from_secs_f64(count as f64 / rate.max(f64::MIN_POSITIVE)).min(LATENCY_MAX);
        Schedule { next: start + interval.mul_f64(number as f64 / count.max(1) as f64), interval }
    }
}

/// One session and what it has to do.
struct Work<'a, S> {
    session: S,
    generator: Generator,
    schedule: Option<Schedule>,
    depth: usize,
    limit: Limit,
    stop: &'a Stop,
    start: Instant,
    given: &'a AtomicU64,
    recorder: &'a RefCell<Recorder>,
}

impl<S: Session> Work<'_, S> {
    async fn run(mut self) -> Outcome<()> {
        let mut due = Vec::with_capacity(self.depth);
        let mut drawn = Vec::with_capacity(self.depth);
        let mut counts = Counts::default();
        loop {
            due.clear();
            self.gather(&mut due).await;
            let first = self.given.fetch_add(due.len() as u64, Ordering::Relaxed);
            if let Limit::Requests(all) = self.limit {
                due.truncate(usize::try_from(all.saturating_sub(first)).unwrap_or(usize::MAX));
            }
            if due.is_empty() {
                break;
            }
            drawn.clear();
            drawn.extend((first..).take(due.len()).map(|place| self.generator.next(place)));
            let requests: Vec<_> = drawn.iter().map(|&parts| self.generator.request(parts)).collect();
            self.session.exchange(&requests, &mut counts).await?;
            let now = Instant::now();
            let mut recorder = self.recorder.borrow_mut();
            for (request, due) in requests.iter().zip(&due) {
                recorder.record(request.kind, now - *due)?;
            }
        }
        self.recorder.borrow_mut().counts.add(counts);
        Ok(())
    }

    /// The moments at which the next requests are or were due; none at the end.
    async fn gather(&mut self, due: &mut Vec<Instant>) {
        let end = match self.limit {
            Limit::Time(time) => Some(self.start + time),
            Limit::Requests(_) => None,
        };
        let stop = self.stop;
        let has_ended = |at: Instant| stop.is_wanted() || end.is_some_and(|end| at >= end);
        let Some(schedule) = &mut self.schedule else {
            let now = Instant::now();
            if !has_ended(now) {
                due.resize(self.depth, now);
            }
            return;
        };
        // What was due before the end is sent, however late it is.
        if has_ended(schedule.next) {
            return;
        }
        tokio::time::sleep_until(schedule.next.into()).await;
        let now = Instant::now();
        while due.len() < self.depth && schedule.next <= now && !has_ended(schedule.next) {
            due.push(schedule.next);
            schedule.next += schedule.interval;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Mix, Request};

    /// Answers at once, except for one request that takes long.
    struct Stalling {
        stall: Duration,
    }

    struct User {
        stall: Duration,
        place: u64,
    }

    impl Target for Stalling {
        type Session = User;

        fn depth(&self, pipeline: usize) -> usize {
            pipeline
        }

        async fn connect(&self, _: usize, _: usize) -> Outcome<Vec<User>> {
            Ok(vec![User { stall: self.stall, place: 0 }])
        }
    }

    impl Session for User {
        async fn exchange(&mut self, requests: &[Request<'_>], counts: &mut Counts) -> Outcome<()> {
            if self.place == 1 {
                tokio::time::sleep(self.stall).await;
            }
            self.place += 1;
            requests.iter().for_each(|request| counts.get(request.number % 2 == 0));
            Ok(())
        }
    }

    fn load(limit: Limit) -> Load {
        Load::new(Mix::only(Kind::Get), 10, limit).connections(1)
    }

    #[test]
    fn a_stall_is_charged_to_all_that_were_due_meanwhile() {
        let stall = Duration::from_millis(200);
        let open = load(Limit::Requests(400)).rate(1000.0);
        let measured = drive(&Stalling { stall }, &open).unwrap();
        let latencies = measured.of(Kind::Get).unwrap();
        assert_eq!(measured.requests(), 400);
        let late = latencies.count_between(stall.as_nanos() as u64 / 2, u64::MAX / 2);
        assert!(late >= 90, "of the 200 due meanwhile, half were late by half of the stall or more: {late}");
        let closed = drive(&Stalling { stall }, &load(Limit::Requests(400))).unwrap();
        let late = closed.of(Kind::Get).unwrap().count_between(stall.as_nanos() as u64 / 2, u64::MAX / 2);
        assert_eq!(late, 1, "a closed loop sees only the one");
    }

    #[test]
    fn every_key_is_asked_for_once_by_several_threads() {
        let mut load = Load::fill(1001, 16).unwrap();
        load.threads = 2;
        load.mix = Mix::only(Kind::Get);
        let measured = drive(&Stalling { stall: Duration::ZERO }, &load).unwrap();
        assert_eq!((measured.requests(), measured.counts.hits, measured.counts.misses), (1001, 501, 500));
    }

    #[test]
    fn a_connection_that_cannot_be_made_is_told() {
        struct Nowhere;
        impl Target for Nowhere {
            type Session = User;
            fn depth(&self, _: usize) -> usize {
                1
            }
            async fn connect(&self, connection: usize, _: usize) -> Outcome<Vec<User>> {
                if connection == 1 { Err("nobody".into()) } else { Ok(vec![User { stall: Duration::ZERO, place: 0 }]) }
            }
        }
        let load = Load { threads: 2, ..load(Limit::Requests(10)).connections(2) };
        assert_eq!(drive(&Nowhere, &load).err().unwrap().to_string(), "nobody");
    }
}

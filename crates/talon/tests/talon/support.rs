//! A clock that tests move, and databases in folders that go away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use talon::{Clock, Durability, Kv, Settings, Talon};

/// Some moment in 2023, Unix ms.
pub const START_MS: u64 = 1_700_000_000_000;

pub struct ManualClock {
    wall_ms: AtomicU64,
    monotonic_ms: AtomicU64,
}

impl ManualClock {
    pub fn new() -> Arc<ManualClock> {
        Arc::new(ManualClock { wall_ms: AtomicU64::new(START_MS), monotonic_ms: AtomicU64::new(0) })
    }

    /// Time passes.
    pub fn pass(&self, ms: u64) {
        self.wall_ms.fetch_add(ms, SeqCst);
        self.monotonic_ms.fetch_add(ms, SeqCst);
    }

    /// Somebody sets the clock.
    pub fn set_wall(&self, ms: u64) {
        self.wall_ms.store(ms, SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(SeqCst)
    }

    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ms.load(SeqCst) * 1_000_000
    }
}

/// A database in a folder of its own, with a clock of its own. What is written survives the process, which is all that tests without a
/// power cut can tell apart.
pub struct World {
    pub folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    open: Option<Talon>,
}

impl World {
    pub fn new() -> World {
        let mut world = World { folder: tempfile::tempdir().unwrap(), clock: ManualClock::new(), open: None };
        world.reopen();
        world
    }

    pub fn settings(&self) -> Settings {
        Settings { durability: Durability::Unsynced, clock: self.clock.clone(), ..Settings::default() }
    }

    pub fn close(&mut self) {
        self.open = None;
    }

    pub fn reopen(&mut self) {
        self.close();
        self.open = Some(Talon::open_with(self.folder.path(), self.settings()).unwrap());
    }

    pub fn db(&self) -> &Talon {
        self.open.as_ref().expect("open")
    }

    pub fn kv(&self) -> Kv {
        self.db().kv().unwrap()
    }
}

/// The words of the refusal.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, talon::Error>) -> String {
    match result {
        Err(talon::Error::Refused(refusal)) => refusal.line().to_owned(),
        other => panic!("expected a refusal: {other:?}"),
    }
}

/// The rest of a future that is ready soon: for tests without a runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    use std::task::{Context, Poll, Wake, Waker};

    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

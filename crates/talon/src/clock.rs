//! The leader's clock of the embedded database, which is always its own leader, and where the system's clocks are read.
//!
//! It starts at `max(T, wall clock)` and follows a monotonic clock that counts suspended time, so that a step of the wall clock
//! does not step it. Behind the wall clock it runs up to 5 % faster until it has caught up, ahead of it at half speed;
//! it never stops and never goes back.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Where time comes from. An argument, so that tests and simulations can hand out their own.
///
/// ```
/// use std::sync::Arc;
///
/// struct Still;
///
/// impl talon::Clock for Still {
///     fn wall_ms(&self) -> u64 {
///         1_700_000_000_000
///     }
///     fn monotonic_ns(&self) -> u64 {
///         0
///     }
/// }
///
/// # let folder = tempfile::tempdir()?;
/// let settings = talon::Settings { clock: Arc::new(Still), ..Default::default() };
/// let kv = talon::Talon::open_with(folder.path(), settings)?.kv()?;
/// kv.set(b"k", b"v", Some(10))?;
/// assert_eq!(kv.pttl(b"k")?, Some(10_000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The wall clock, Unix ms. It may jump.
    fn wall_ms(&self) -> u64;
    /// Nanoseconds since some fixed moment, suspended time included. It never goes back.
    fn monotonic_ns(&self) -> u64;
}

/// The system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        // Before 1970 it is as wrong as it can be; `T` does not go back anyway.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    fn monotonic_ns(&self) -> u64 {
        let time = clock_gettime(ClockId::Boottime);
        (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
    }
}

const NS_PER_MS: u128 = 1_000_000;
/// How much faster it runs, at most, to catch up: one part in so many (5 %).
const CATCH_UP_PART: u128 = 20;

pub(crate) struct LeaderClock {
    clock: std::sync::Arc<dyn Clock>,
    hands: Mutex<Hands>,
}

struct Hands {
    now_ns: u128,
    read_at_ns: u64,
}

impl LeaderClock {
    /// `stored_ms`: the `T` of the state it leads.
    pub(crate) fn start(clock: std::sync::Arc<dyn Clock>, stored_ms: u64) -> LeaderClock {
        let now_ns = u128::from(clock.wall_ms().max(stored_ms)) * NS_PER_MS;
        let hands = Mutex::new(Hands { now_ns, read_at_ns: clock.monotonic_ns() });
        LeaderClock { clock, hands }
    }

    /// Unix ms.
    pub(crate) fn now_ms(&self) -> u64 {
        let mut hands = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        hands.advance(self.clock.monotonic_ns(), self.clock.wall_ms());
        (hands.now_ns / NS_PER_MS) as u64
    }
}

impl Hands {
    fn advance(&mut self, monotonic_ns: u64, wall_ms: u64) {
        let passed_ns = u128::from(monotonic_ns.saturating_sub(self.read_at_ns));
        self.read_at_ns = self.read_at_ns.max(monotonic_ns);
        let straight_ns = self.now_ns + passed_ns;
        let wall_ns = u128::from(wall_ms) * NS_PER_MS;
        self.now_ns = if straight_ns <= wall_ns {
            straight_ns + (passed_ns / CATCH_UP_PART).min(wall_ns - straight_ns)
        } else {
            // A wall clock in whole milliseconds is always up to one behind; that is no reason to slow down.
            let ahead_ns = (straight_ns - wall_ns).saturating_sub(NS_PER_MS);
            straight_ns - (passed_ns / 2).min(ahead_ns)
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    #[derive(Default)]
    struct Manual {
        wall_ms: AtomicU64,
        monotonic_ms: AtomicU64,
    }

    impl Clock for Manual {
        fn wall_ms(&self) -> u64 {
            self.wall_ms.load(Relaxed)
        }

        fn monotonic_ns(&self) -> u64 {
            self.monotonic_ms.load(Relaxed) * 1_000_000
        }
    }

    fn started(wall_ms: u64, stored_ms: u64) -> (Arc<Manual>, LeaderClock) {
        let manual = Arc::new(Manual::default());
        manual.wall_ms.store(wall_ms, Relaxed);
        let clock = LeaderClock::start(manual.clone(), stored_ms);
        (manual, clock)
    }

    fn pass(manual: &Manual, ms: u64) {
        manual.wall_ms.fetch_add(ms, Relaxed);
        manual.monotonic_ms.fetch_add(ms, Relaxed);
    }

    #[test]
    fn it_goes_with_a_right_clock() {
        let (manual, clock) = started(1_000, 0);
        for now in 1..=100 {
            pass(&manual, 10);
            assert_eq!(clock.now_ms(), 1_000 + now * 10);
        }
    }

    #[test]
    fn a_jump_ahead_of_the_wall_clock_is_caught_up_slowly() {
        let (manual, clock) = started(1_000, 0);
        manual.wall_ms.fetch_add(3_600_000, Relaxed);
        pass(&manual, 1_000);
        assert_eq!(clock.now_ms(), 2_050);
        for _ in 0..100_000 {
            pass(&manual, 1_000);
            clock.now_ms();
        }
        assert_eq!(clock.now_ms(), manual.wall_ms(), "in the end it has caught up, and not passed it");
    }

    #[test]
    fn ahead_it_runs_at_half_speed_and_never_stops() {
        let (manual, clock) = started(1_000, 5_000);
        assert_eq!(clock.now_ms(), 5_000, "it never starts below what is stored");
        pass(&manual, 1_000);
        assert_eq!(clock.now_ms(), 5_500);
        for _ in 0..100 {
            pass(&manual, 100);
            clock.now_ms();
        }
        let ahead = clock.now_ms() - manual.wall_ms();
        assert!(ahead <= 1, "{ahead} ms ahead");
        manual.wall_ms.store(0, Relaxed);
        let before = clock.now_ms();
        manual.monotonic_ms.fetch_add(100, Relaxed);
        assert_eq!(clock.now_ms(), before + 50);
    }
}

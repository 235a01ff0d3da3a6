//! What a process takes from around it without asking anybody: random bytes and the time. In a process that runs a simulation both come
//! from the simulation, so that the same seed gives the same run.
//!
//! The standard library, tokio, tonic and openraft are as they are; only the three functions of the C library below them are replaced, for this
//! binary alone. Until [`begin`] is called they do what the operating system does.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use talon_core::random::SplitMix64;

/// True time at the start of every simulation: 2026-01-01T00:00:00Z, Unix ms.
pub const START_MS: u64 = 1_767_225_600_000;
/// What monotonic clocks show at the start, s: clocks do not begin at zero.
const UPTIME_S: u64 = 100_000;

static SIMULATED: AtomicBool = AtomicBool::new(false);
static ELAPSED_US: AtomicU64 = AtomicU64::new(0);
static RANDOM: Mutex<SplitMix64> = Mutex::new(SplitMix64(0));

/// From now on this process lives in simulated time, with random bytes from `seed`. One process, one simulation.
pub fn begin(seed: u64) {
    if let Ok(mut random) = RANDOM.lock() {
        *random = SplitMix64(seed);
    }
    SIMULATED.store(true, Ordering::SeqCst);
}

/// From now on the operating system's time and random bytes count again.
pub fn end() {
    SIMULATED.store(false, Ordering::SeqCst);
}

/// Simulated time has come so far, µs since the start.
pub fn advance_to(elapsed_us: u64) {
    ELAPSED_US.store(elapsed_us, Ordering::SeqCst);
}

/// Simulated time, µs since the start: to the microsecond within a host, else to the tick.
pub fn elapsed_us() -> u64 {
    let within = turmoil::sim_elapsed().map_or(0, |elapsed| elapsed.as_micros() as u64);
    within.max(ELAPSED_US.load(Ordering::SeqCst))
}

/// # Safety
/// As `getrandom(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut libc::c_void, length: libc::size_t, flags: libc::c_uint) -> libc::ssize_t {
    if !SIMULATED.load(Ordering::SeqCst) {
        // SAFETY: the caller's own promise, handed on.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) } as libc::ssize_t;
    }
    // SAFETY: the caller promises `length` writable bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    let Ok(mut random) = RANDOM.lock() else { return -1 };
    bytes.chunks_mut(8).for_each(|chunk| {
        let drawn = random.draw().to_le_bytes();
        chunk.copy_from_slice(&drawn[..chunk.len()]);
    });
    length as libc::ssize_t
}

/// # Safety
/// As `getentropy(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(buffer: *mut libc::c_void, length: libc::size_t) -> libc::c_int {
    // SAFETY: the caller's own promise, handed on.
    if unsafe { getrandom(buffer, length, 0) } == length as libc::ssize_t { 0 } else { -1 }
}

/// # Safety
/// As `clock_gettime(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    if !SIMULATED.load(Ordering::SeqCst) {
        // SAFETY: the caller's own promise, handed on.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as libc::c_int;
    }
    let elapsed_us = ELAPSED_US.load(Ordering::SeqCst);
    let base_s = if clock == libc::CLOCK_REALTIME { START_MS / 1000 } else { UPTIME_S };
    // SAFETY: the caller promises room for one timespec.
    let time = unsafe { &mut *time };
    time.tv_sec = (base_s + elapsed_us / 1_000_000) as libc::time_t;
    time.tv_nsec = (elapsed_us % 1_000_000 * 1000) as libc::c_long;
    0
}

//! This machine's own clock, for what people read: nothing is decided by it.

// tidy: allow SystemTime: only shown
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time since 1970.
pub(crate) fn unix_time() -> Duration {
    // tidy: allow SystemTime: only shown
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

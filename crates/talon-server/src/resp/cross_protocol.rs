//! HTTP on the port for Redis clients. A page in a browser can make it send requests to any port of its machine, with commands
//! in their bodies; as Redis does, the connection is closed at the first word that gives HTTP away, before anything behind it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// The log is told so often at most: whoever tries this tries it often.
const LOG_INTERVAL_MS: u64 = 60_000;

/// Whether this command's name is a word of HTTP that no Redis client sends.
pub(crate) fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// When the log was told last.
#[derive(Debug)]
pub(crate) struct Alarm {
    since: Instant,
    /// Milliseconds from `since`; 0 = never.
    told_ms: AtomicU64,
}

impl Alarm {
    pub fn new() -> Alarm {
        Alarm { since: Instant::now(), told_ms: AtomicU64::new(0) }
    }

    /// Tells the log of a client that spoke HTTP, if it was not told lately.
    pub fn raise(&self, address: SocketAddr) {
        if self.is_due(self.since.elapsed().as_millis() as u64) {
            tracing::warn!(
                %address,
                "possible security attack: somebody sends POST or Host: to the port for Redis clients. This is likely an attempt \
                 at cross-protocol scripting. Connection aborted."
            );
        }
    }

    fn is_due(&self, now_ms: u64) -> bool {
        let now_ms = now_ms.max(1);
        let told_ms = self.told_ms.load(Ordering::Relaxed);
        (told_ms == 0 || now_ms.saturating_sub(told_ms) >= LOG_INTERVAL_MS)
            && self.told_ms.compare_exchange(told_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_http_are_known_in_any_case() {
        assert!([&b"POST"[..], b"post", b"Host:", b"HOST:"].into_iter().all(is_http));
        assert!([&b"GET"[..], b"Host", b"hostx:", b""].into_iter().all(|name| !is_http(name)));
    }

    #[test]
    fn the_log_is_told_once_a_minute() {
        let alarm = Alarm::new();
        assert!(alarm.is_due(0) && !alarm.is_due(2) && !alarm.is_due(60_000));
        assert!(alarm.is_due(60_001) && !alarm.is_due(60_002));
    }
}

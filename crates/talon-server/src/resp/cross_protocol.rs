//! HTTP on the port for Redis clients. A page in a browser can make it send requests to any port of its machine, with commands
//! in their bodies; as Redis does, the connection is closed at the first word that gives HTTP away, before anything behind it.

use std::time::Duration;

/// The log is told so often at most, as with Redis.
pub(crate) const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Whether this command's name is a word of HTTP that no Redis client sends.
pub(crate) fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_http_are_known_in_any_case() {
        assert!([&b"POST"[..], b"post", b"Host:", b"HOST:"].into_iter().all(is_http));
        assert!([&b"GET"[..], b"Host", b"hostx:", b""].into_iter().all(|name| !is_http(name)));
    }
}

//! Ports that nobody listens on.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

/// Below the ports that the system hands to outgoing connections, so that a node that is down for a while finds its own
/// port still free.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// Where the next search of this process begins.
static NEXT: Mutex<Option<u16>> = Mutex::new(None);

/// So many ports on which nobody listens now, never the same twice within one process. Processes begin at random places,
/// so that they hardly ever meet.
///
/// # Panics
/// If there are not so many.
pub fn free_ports(count: usize) -> Vec<u16> {
    let mut next = NEXT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let width = RANGE.end - RANGE.start;
    let mut port =
        next.unwrap_or_else(|| RANGE.start + (RandomState::new().build_hasher().finish() % u64::from(width)) as u16);
    let mut found = Vec::with_capacity(count);
    for _ in 0..width {
        if found.len() == count {
            break;
        }
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            found.push(port);
        }
        port = if port + 1 < RANGE.end { port + 1 } else { RANGE.start };
    }
    *next = Some(port);
    assert_eq!(found.len(), count, "not enough free ports");
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_not_handed_out_twice() {
        let (one, two) = (free_ports(5), free_ports(5));
        assert!(one.iter().all(|port| !two.contains(port) && RANGE.contains(port)), "{one:?} {two:?}");
    }
}

//! SCAN cursors: clients read them as decimal numbers, the core's are the last key it returned.
//!
//! A node keeps the newest cursors it gave out, bounded in number and bytes; an older one (or another node's) is
//! `ERR invalid cursor`, and the client begins again.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use talon_core::{Refusal, Reply};

/// How many cursors are kept.
const CURSORS_MAX: usize = 16_384;
/// How many bytes of keys are kept.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Begins the core's cursor when it is not the start or the end.
const MARK: u8 = 1;

const INVALID: Refusal = Refusal::new("ERR invalid cursor");

/// The cursors of one node.
#[derive(Debug)]
pub(crate) struct Cursors {
    ring: Mutex<Ring>,
}

#[derive(Debug)]
struct Ring {
    /// The number of the oldest cursor that is kept.
    oldest: u64,
    keys: VecDeque<Bytes>,
    bytes: usize,
    cursors_max: usize,
    bytes_max: usize,
}

impl Cursors {
    /// A table that begins counting at a random number, so that a cursor from before a restart is found out.
    pub fn new() -> Cursors {
        // Below 2^48, so that numbers stay exact even in clients that read them as floats.
        let start = RandomState::new().build_hasher().finish() >> 16;
        Cursors::with(start.max(1), CURSORS_MAX, BYTES_MAX)
    }

    fn with(oldest: u64, cursors_max: usize, bytes_max: usize) -> Cursors {
        Cursors { ring: Mutex::new(Ring { oldest, keys: VecDeque::new(), bytes: 0, cursors_max, bytes_max }) }
    }

    /// The core's cursor for a client's.
    ///
    /// # Errors
    /// `ERR invalid cursor` if it is no number, or not one that is still kept.
    pub fn to_core(&self, cursor: &Bytes) -> Result<Bytes, Refusal> {
        let number = std::str::from_utf8(cursor).ok().and_then(|text| text.parse::<u64>().ok()).ok_or(INVALID)?;
        if number == 0 {
            return Ok(Bytes::from_static(b"0"));
        }
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let place = number.checked_sub(ring.oldest).and_then(|place| usize::try_from(place).ok()).ok_or(INVALID)?;
        ring.keys.get(place).cloned().ok_or(INVALID)
    }

    /// A SCAN reply with the client's cursor in the place of the core's.
    pub fn to_client(&self, mut reply: Reply) -> Reply {
        if let Reply::Array(items) = &mut reply
            && let Some(Reply::Bulk(cursor)) = items.first_mut()
            && cursor.first() == Some(&MARK)
        {
            *cursor = Bytes::from(self.keep(cursor).to_string());
        }
        reply
    }

    fn keep(&self, cursor: &[u8]) -> u64 {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let number = ring.oldest + ring.keys.len() as u64;
        // A copy: a slice would keep the whole block it came from.
        ring.keys.push_back(Bytes::copy_from_slice(cursor));
        ring.bytes += cursor.len();
        while ring.keys.len() > ring.cursors_max || ring.bytes > ring.bytes_max {
            let Some(gone) = ring.keys.pop_front() else { break };
            ring.bytes -= gone.len();
            ring.oldest += 1;
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(key: &'static [u8]) -> Reply {
        Reply::Array(vec![Reply::Bulk(Bytes::from([&[MARK], key].concat())), Reply::Array(vec![])])
    }

    fn number(reply: Reply) -> Bytes {
        match reply {
            Reply::Array(items) => match &items[0] {
                Reply::Bulk(cursor) => cursor.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cursor_leads_back_to_its_key() {
        let cursors = Cursors::new();
        let first = number(cursors.to_client(scanned(b"a")));
        let second = number(cursors.to_client(scanned(b"b")));
        assert!(first.iter().all(u8::is_ascii_digit));
        assert_eq!(cursors.to_core(&first), Ok(Bytes::from_static(b"\x01a")));
        assert_eq!(cursors.to_core(&second), Ok(Bytes::from_static(b"\x01b")));
        // Asked twice, it answers twice: a client may repeat itself.
        assert_eq!(cursors.to_core(&first), Ok(Bytes::from_static(b"\x01a")));
    }

    #[test]
    fn start_and_end_stay_zero() {
        let cursors = Cursors::new();
        assert_eq!(cursors.to_core(&Bytes::from_static(b"0")), Ok(Bytes::from_static(b"0")));
        let end = Reply::Array(vec![Reply::bulk("0"), Reply::Array(vec![])]);
        assert_eq!(cursors.to_client(end.clone()), end);
    }

    #[test]
    fn strange_cursors_are_invalid() {
        let cursors = Cursors::with(100, 4, 100);
        for text in ["x", "", "-1", "99", "100", "18446744073709551615", "18446744073709551616"] {
            assert_eq!(cursors.to_core(&Bytes::from(text)), Err(INVALID), "{text}");
        }
    }

    #[test]
    fn only_the_newest_are_kept() {
        let cursors = Cursors::with(100, 2, 1000);
        let numbers: Vec<Bytes> = (0..3).map(|_| number(cursors.to_client(scanned(b"k")))).collect();
        assert_eq!(cursors.to_core(&numbers[0]), Err(INVALID));
        assert!(cursors.to_core(&numbers[1]).is_ok());
        assert!(cursors.to_core(&numbers[2]).is_ok());
        let cursors = Cursors::with(100, 100, 5);
        let numbers: Vec<Bytes> = (0..3).map(|_| number(cursors.to_client(scanned(b"k")))).collect();
        assert_eq!(cursors.to_core(&numbers[0]), Err(INVALID));
        assert!(cursors.to_core(&numbers[2]).is_ok());
    }
}

//! A bound for replies that hold many keys or values.

use crate::error::Refusal;
use crate::limits::REPLY_BYTES_MAX;

/// What every element of a reply costs beside its bytes.
const ELEMENT_BYTES: usize = 32;

/// How much room a reply still has.
pub(crate) struct ReplyRoom {
    bytes: usize,
}

impl ReplyRoom {
    pub(crate) fn new() -> ReplyRoom {
        ReplyRoom { bytes: REPLY_BYTES_MAX }
    }

    /// Takes room for one more element.
    ///
    /// # Errors
    /// A refusal that names the limit.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes = self
            .bytes
            .checked_sub(bytes + ELEMENT_BYTES)
            .ok_or_else(|| Refusal::from_string(format!("ERR reply exceeds the limit of {REPLY_BYTES_MAX} bytes")))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_last_that_fits() {
        let mut room = ReplyRoom::new();
        assert!(room.take(REPLY_BYTES_MAX - 2 * ELEMENT_BYTES - 7).is_ok());
        assert!(room.take(7).is_ok());
        let refusal = room.take(0).expect_err("full");
        assert!(refusal.line().contains("268435456"), "{refusal}");
    }
}

//! The stored form of a value: an 8-byte header before the bytes, holding the absolute expiry in
//! Unix milliseconds, big-endian, 0 meaning never.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::Fault;

/// The header's length in bytes.
pub const HEADER_BYTES: usize = 8;

/// A value with its expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The user's bytes.
    pub value: Bytes,
    /// When the key ends, in Unix milliseconds; 0 = never.
    pub expire_at_ms: u64,
}

impl Record {
    /// Whether the key has ended at clock value `now_ms`: exactly when `expire_at <= now`.
    pub fn expired_at(&self, now_ms: u64) -> bool {
        self.expire_at_ms != 0 && self.expire_at_ms <= now_ms
    }

    /// Reads the stored form without copying.
    ///
    /// # Errors
    /// A [`Fault`] if the row is shorter than its header: the data is damaged.
    pub fn decode(mut stored: Bytes) -> Result<Record, Fault> {
        let header = stored
            .first_chunk::<HEADER_BYTES>()
            .ok_or_else(|| Fault(format!("a data row of {} bytes has no header", stored.len())))?;
        let expire_at_ms = u64::from_be_bytes(*header);
        stored.advance(HEADER_BYTES);
        Ok(Record { value: stored, expire_at_ms })
    }

    /// The stored form.
    pub fn encode(&self) -> Bytes {
        let mut stored = BytesMut::with_capacity(HEADER_BYTES + self.value.len());
        stored.put_u64(self.expire_at_ms);
        stored.put_slice(&self.value);
        stored.freeze()
    }
}

/// A row of the expiry index: the expiry, big-endian, then the key; so rows sort by time.
pub fn expiry_row(expire_at_ms: u64, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(HEADER_BYTES + key.len());
    row.extend_from_slice(&expire_at_ms.to_be_bytes());
    row.extend_from_slice(key);
    row
}

/// The expiry and the key of a row of the expiry index.
///
/// # Errors
/// A [`Fault`] if the row is too short: the data is damaged.
pub fn split_expiry_row(row: &Bytes) -> Result<(u64, Bytes), Fault> {
    let expiry = row
        .first_chunk::<HEADER_BYTES>()
        .ok_or_else(|| Fault(format!("an expiry row of {} bytes has no expiry", row.len())))?;
    Ok((u64::from_be_bytes(*expiry), row.slice(HEADER_BYTES..)))
}

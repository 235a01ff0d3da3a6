//! Which of a Redis cluster's 16,384 slots a key belongs to. Talon has one shard, but cluster clients route by slots.

/// How many slots there are.
pub const SLOTS: u16 = 16_384;

/// CRC-16/XMODEM of each byte value.
static TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// The slot of a key. When the key holds `{…}` with something inside, only that counts (a hash tag).
pub fn key_slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let inside = &key[open + 1..];
        let close = inside.iter().position(|byte| *byte == b'}')?;
        (close > 0).then_some(&inside[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| crc << 8 ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_as_redis_counts_them() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(key_slot(b"foo"), 12_182);
        assert_eq!(key_slot(b"bar"), 5_061);
        assert_eq!(key_slot(b""), 0);
    }

    #[test]
    fn hash_tags_bind_keys_together() {
        assert_eq!(key_slot(b"{user1}.a"), key_slot(b"{user1}.b"));
        assert_eq!(key_slot(b"a{foo}b{c}"), key_slot(b"foo"));
        // An empty tag is none.
        assert_eq!(key_slot(b"a{}{foo}"), crc16(b"a{}{foo}") % SLOTS);
        assert_eq!(key_slot(b"a{foo"), crc16(b"a{foo") % SLOTS);
    }
}

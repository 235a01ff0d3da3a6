//! The sizes that are part of the data format and therefore the same on every node.

/// The longest key, in bytes (64 KB).
pub const KEY_BYTES_MAX: usize = 65_536;

/// The largest value, in bytes (16 MB), without its header.
pub const VALUE_BYTES_MAX: usize = 16_777_216;

/// The default for the largest single request (an MSET, a MULTI group, a batch), in bytes (64 MB).
pub const REQUEST_BYTES_MAX: usize = 67_108_864;

/// The largest reply of a command that answers with many keys or values, in bytes (256 MB).
pub const REPLY_BYTES_MAX: usize = 268_435_456;

/// The most keys that one SCAN, or one page of a streamed scan, visits, whatever it was asked for.
pub const SCAN_KEYS_MAX: usize = 10_000;

/// Where one SCAN, or one page of a streamed scan, stops after the key that fills it, in bytes (4 MB).
pub const SCAN_BYTES_MAX: usize = 4_194_304;

/// After the call with which a log entry has written so many bytes, the calls behind it are left for another entry (64 MiB).
pub const ENTRY_WRITES_MAX: u64 = 67_108_864;

/// The most that a transaction (MULTI … EXEC, a batch) may write, unless it came with more, in bytes of keys and values (256 MiB).
pub const TRANSACTION_WRITES_MAX: u64 = 268_435_456;

//! The sizes that are part of the data format and therefore the same on every node.

/// The longest key, in bytes (64 KB).
pub const KEY_BYTES_MAX: usize = 65_536;

/// The largest value, in bytes (16 MB), without its header.
pub const VALUE_BYTES_MAX: usize = 16_777_216;

/// The default for the largest single request (an MSET, a MULTI group, a batch), in bytes (64 MB).
pub const REQUEST_BYTES_MAX: usize = 67_108_864;

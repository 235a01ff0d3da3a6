//! Values that are written over in places.

use bytes::{BufMut, BytesMut};

/// A copy of a value to write into, filled up with zero bytes to this length if it is shorter.
pub(super) fn grown(value: &[u8], length: usize) -> BytesMut {
    let length = length.max(value.len());
    let mut copy = BytesMut::with_capacity(length);
    copy.put_slice(value);
    copy.resize(length, 0);
    copy
}

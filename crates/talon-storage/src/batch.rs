//! What is to be written at once.

use crate::Space;

/// Puts and deletes that happen together, in this order. Keeps its memory when cleared, so one batch serves many writes.
///
/// ```
/// use talon_storage::{Batch, Space};
///
/// let mut batch = Batch::new();
/// batch.put(Space::Data, b"key", &[b"header", b"value"]);
/// batch.delete(Space::Expiry, b"key");
/// assert_eq!(batch.len(), 2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// All keys and values, one behind the other.
    bytes: Vec<u8>,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    space: Space,
    kind: StepKind,
    start: usize,
    /// Where the first part (the key, the range's start) ends.
    middle: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug)]
enum StepKind {
    Put,
    Delete,
    DeleteRange,
}

impl StepKind {
    const ALL: [StepKind; 3] = [StepKind::Put, StepKind::Delete, StepKind::DeleteRange];
}

/// One step of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Store a value under a key.
    Put {
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// Remove a key, whether it is there or not.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// Remove all keys of a range.
    DeleteRange {
        /// The first key to go.
        from: &'a [u8],
        /// The first key to stay.
        until: &'a [u8],
    },
}

impl Batch {
    /// An empty one.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Stores under `key` what the parts make when put together.
    pub fn put(&mut self, space: Space, key: &[u8], parts: &[&[u8]]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let middle = self.bytes.len();
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.steps.push(Step { space, kind: StepKind::Put, start, middle, end: self.bytes.len() });
    }

    /// Removes `key`.
    pub fn delete(&mut self, space: Space, key: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let end = self.bytes.len();
        self.steps.push(Step { space, kind: StepKind::Delete, start, middle: end, end });
    }

    /// Removes the keys from `from` on (inclusive) that are below `until` (exclusive). None if `until <= from`.
    pub fn delete_range(&mut self, space: Space, from: &[u8], until: &[u8]) {
        if until <= from {
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(from);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(until);
        self.steps.push(Step { space, kind: StepKind::DeleteRange, start, middle, end: self.bytes.len() });
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many bytes its keys and values have.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets everything but keeps the memory, up to `keep_bytes_max` of it.
    pub fn clear(&mut self, keep_bytes_max: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(keep_bytes_max);
        self.steps.clear();
        self.steps.shrink_to(keep_bytes_max / size_of::<Step>());
    }

    /// Appends its bytes: `u32` number of steps; for each `u8` space (upper half) and kind, `u32` length of its key, `u32` length of
    /// its second part; then all keys and second parts.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(4 + 9 * self.steps.len() + self.bytes.len());
        out.extend_from_slice(&(self.steps.len() as u32).to_le_bytes());
        for step in &self.steps {
            out.push((step.space as u8) << 4 | step.kind as u8);
            out.extend_from_slice(&((step.middle - step.start) as u32).to_le_bytes());
            out.extend_from_slice(&((step.end - step.middle) as u32).to_le_bytes());
        }
        out.extend_from_slice(&self.bytes);
    }

    /// Reads what [`Batch::encode`] wrote; `None` if it is something else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Batch> {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let count = u32::from_le_bytes(*count) as usize;
        let (steps, bytes) = rest.split_at_checked(count.checked_mul(9)?)?;
        let mut batch = Batch { bytes: bytes.to_vec(), steps: Vec::with_capacity(count) };
        let mut start = 0;
        for step in steps.chunks_exact(9) {
            let length = |from: usize| step[from..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize);
            let space = *Space::ALL.get(usize::from(step[0] >> 4))?;
            let kind = *StepKind::ALL.get(usize::from(step[0] & 0xF))?;
            let middle = start + length(1)?;
            let end = middle + length(5)?;
            batch.steps.push(Step { space, kind, start, middle, end });
            start = end;
        }
        (start == batch.bytes.len()).then_some(batch)
    }

    /// The steps, in order.
    pub fn operations(&self) -> impl Iterator<Item = (Space, Operation<'_>)> {
        self.steps.iter().map(|step| {
            let first = &self.bytes[step.start..step.middle];
            let second = &self.bytes[step.middle..step.end];
            let operation = match step.kind {
                StepKind::Put => Operation::Put { key: first, value: second },
                StepKind::Delete => Operation::Delete { key: first },
                StepKind::DeleteRange => Operation::DeleteRange { from: first, until: second },
            };
            (step.space, operation)
        })
    }
}

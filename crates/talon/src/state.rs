//! What the state machine remembers about itself, and its rows in the meta space.

use bytes::{Buf, BufMut, Bytes};
use talon_storage::{Batch, Space, View};

use crate::machine::OpenError;

/// The version of everything that is stored: rows of data, of the expiry index, and of this space.
pub const FORMAT_VERSION: u32 = 1;

const FORMAT_ROW: &[u8] = b"format";
const APPLIED_ROW: &[u8] = b"applied";
/// Begins the rows of what the core notes beside the data.
pub(crate) const NOTE_PREFIX: &[u8] = b"note/";

/// The row of a note.
pub(crate) fn note_row(key: &[u8]) -> Vec<u8> {
    [NOTE_PREFIX, key].concat()
}

/// Up to where the log is part of the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppliedState {
    /// The index of the last entry applied.
    pub index: u64,
    /// The log's own name for it, as it came with the entry. Empty: none was applied yet.
    pub position: Vec<u8>,
    /// The replicated clock `T`, Unix ms.
    pub clock_ms: u64,
    /// The last membership, as it came with an entry. Empty: none came yet.
    pub membership: Vec<u8>,
}

impl AppliedState {
    /// Whether no entry was applied yet (a log may begin at index 0).
    pub fn is_nothing(&self) -> bool {
        self.index == 0 && self.position.is_empty()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.position.len() + self.membership.len());
        out.put_u64_le(self.index);
        out.put_u64_le(self.clock_ms);
        for part in [&self.position, &self.membership] {
            out.put_u32_le(part.len() as u32);
            out.put_slice(part);
        }
        out
    }

    fn decode(mut bytes: Bytes) -> Option<AppliedState> {
        let mut take = |count: usize| (bytes.len() >= count).then(|| bytes.split_to(count));
        let mut head = take(16)?;
        let (index, clock_ms) = (head.get_u64_le(), head.get_u64_le());
        let mut part = || {
            let length = take(4)?.get_u32_le() as usize;
            take(length).map(Vec::from)
        };
        let (position, membership) = (part()?, part()?);
        bytes.is_empty().then_some(AppliedState { index, position, clock_ms, membership })
    }
}

/// Reads it; `None` from an engine nothing was ever applied to.
pub(crate) fn load(view: &dyn View) -> Result<Option<AppliedState>, OpenError> {
    let Some(format) = view.get(Space::Meta, FORMAT_ROW)? else {
        let strangers = Space::ALL.iter().find_map(|space| view.scan(*space, b"", None).next().map(|row| (space, row)));
        return match strangers {
            None => Ok(None),
            Some((_, Err(error))) => Err(error.into()),
            Some((space, Ok(_))) => {
                Err(OpenError::Damaged(format!("there are rows of {} but no format version", space.name())))
            }
        };
    };
    let found = format.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let found = found.ok_or_else(|| OpenError::Damaged("the format version is cut off".into()))?;
    if found > FORMAT_VERSION {
        return Err(OpenError::Newer { found, supported: FORMAT_VERSION });
    }
    let applied = view.get(Space::Meta, APPLIED_ROW)?.and_then(AppliedState::decode);
    applied.map(Some).ok_or_else(|| OpenError::Damaged("the applied state is missing or cut off".into()))
}

/// Adds it to the batch that brings the rows it describes.
pub(crate) fn store(batch: &mut Batch, applied: &AppliedState, with_format: bool) {
    if with_format {
        batch.put(Space::Meta, FORMAT_ROW, &[&FORMAT_VERSION.to_le_bytes()]);
    }
    batch.put(Space::Meta, APPLIED_ROW, &[&applied.encode()]);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use talon_storage::{Durability, Engine, MemoryEngine};

    use super::*;
    use crate::machine::Machine;

    fn written(rows: &[(Space, &[u8], &[u8])]) -> Arc<MemoryEngine> {
        let engine = Arc::new(MemoryEngine::new());
        let mut batch = Batch::new();
        for (space, key, value) in rows {
            batch.put(*space, key, &[value]);
        }
        engine.write(&batch, Durability::Synced).unwrap();
        engine
    }

    #[test]
    fn what_is_stored_is_found_again() {
        let state =
            AppliedState { index: 7, position: b"seven".to_vec(), clock_ms: 99, membership: b"one, two".to_vec() };
        let engine = MemoryEngine::new();
        let mut batch = Batch::new();
        store(&mut batch, &state, true);
        engine.write(&batch, Durability::Synced).unwrap();
        assert_eq!(load(&*engine.view().unwrap()).unwrap(), Some(state));
        assert_eq!(load(&*MemoryEngine::new().view().unwrap()).unwrap(), None);
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let engine = written(&[(Space::Meta, FORMAT_ROW, &2u32.to_le_bytes())]);
        let error = Machine::open(engine).err().unwrap().to_string();
        assert!(error.contains("format version 2") && error.contains("up to 1"), "{error}");
    }

    #[test]
    fn a_state_without_its_rows_is_damaged() {
        for rows in [
            &[(Space::Data, &b"k"[..], &b"\0\0\0\0\0\0\0\0v"[..])][..],
            &[(Space::Meta, FORMAT_ROW, &1u32.to_le_bytes())],
            &[(Space::Meta, FORMAT_ROW, b"\x01")],
            &[(Space::Meta, FORMAT_ROW, &1u32.to_le_bytes()), (Space::Meta, APPLIED_ROW, b"short")],
        ] {
            assert!(matches!(Machine::open(written(rows)), Err(OpenError::Damaged(_))), "{rows:?}");
        }
    }
}

//! The digest of everything that is replicated: two nodes at one log index have the same one, or one of them is wrong.

use talon_core::{Fault, Source, StateHash};
use talon_storage::Space;
use xxhash_rust::xxh3::Xxh3;

use crate::machine::fault;
use crate::view::ReadView;

/// Reads the whole view once; memory stays small whatever the size of the data.
///
/// The digest is XXH3 with 128 bits: it finds what went wrong, it does not stop somebody who means harm.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let db = talon::Talon::open(folder.path())?;
/// db.kv()?.set(b"k", b"v", None)?;
/// let hash = talon::state_hash(&*db.machine().view()?)?;
/// assert_eq!((hash.index, hash.rows, hash.digest.len()), (1, 1, 32));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A [`Fault`] if the storage failed.
pub fn state_hash(view: &ReadView) -> Result<StateHash, Fault> {
    let mut hash = Hash(Xxh3::new());
    hash.number(view.index());
    hash.number(view.clock_ms());
    hash.bytes(view.position());
    hash.bytes(view.membership());
    let mut rows = 0;
    for row in view.storage().scan(Space::Data, b"", None) {
        let (key, stored) = row.map_err(fault)?;
        hash.bytes(&key);
        hash.bytes(&stored);
        rows += 1;
    }
    hash.number(rows);
    let mut expiry_rows = 0;
    for row in view.storage().scan(Space::Expiry, b"", None) {
        let (row, _) = row.map_err(fault)?;
        hash.bytes(&row);
        expiry_rows += 1;
    }
    hash.number(expiry_rows);
    let mut notes = 0;
    for row in view.notes(b"", &[0xFF]) {
        let (key, note) = row?;
        hash.bytes(&key);
        hash.bytes(&note);
        notes += 1;
    }
    hash.number(notes);
    let digest = format!("{:032x}", hash.0.digest128());
    Ok(StateHash { index: view.index(), clock_ms: view.clock_ms(), rows, digest })
}

struct Hash(Xxh3);

impl Hash {
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    /// With the length first, so that no two different rows look the same behind one another.
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }
}

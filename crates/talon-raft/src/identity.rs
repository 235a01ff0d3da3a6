//! Who this node is, across restarts: its number, its cluster, and whether it still has to catch up before it may vote.
//! Kept beside the log and the state, never part of a checkpoint.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The format this build writes; it reads up to this one. The first one had no checksum.
const FORMAT_VERSION: u32 = 2;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The file's format.
    pub format_version: u32,
    /// The node's number.
    pub node_id: u64,
    /// The cluster it belongs to, 32 hex digits; empty until it is part of one.
    pub cluster_id: String,
    /// It came with an empty folder to a cluster that existed already. Until it holds what that cluster had committed, its vote
    /// could elect a leader without that: it may have been a voter that lost its disk.
    pub joining: bool,
    /// CRC32C over the fields above. A flipped bit in the cluster's name would leave the node waiting for a cluster that is not
    /// there, and one in `joining` would let it vote too soon.
    #[serde(default)]
    pub checksum: u32,
}

impl Identity {
    fn computed_checksum(&self) -> u32 {
        let Identity { format_version, node_id, cluster_id, joining, checksum: _ } = self;
        crc32c::crc32c(format!("{format_version} {node_id} {cluster_id} {joining}").as_bytes())
    }
}

/// The node's folder: locked while the process lives.
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
    /// The lock goes with the file handle.
    _lock: File,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Somebody else has it.
    #[error("the data folder {0} is in use by another process")]
    InUse(PathBuf),
    /// It belongs to another node.
    #[error("the data folder {folder} belongs to node {found}, not to node {expected}")]
    OtherNode {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        found: u64,
        /// Who asks.
        expected: u64,
    },
    /// It cannot be read or written.
    #[error("the data folder {folder}: {source}")]
    Io {
        /// The file or folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The identity file makes no sense.
    #[error("the identity file {path} is damaged or of a newer version: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Home {
    /// Creates the folder if need be and locks it.
    pub fn open(folder: &Path) -> Result<Home, HomeError> {
        let io = |source| HomeError::Io { folder: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(io)?;
        let lock = File::options().create(true).truncate(false).write(true).open(folder.join("LOCK")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Home { folder: folder.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(HomeError::InUse(folder.to_owned())),
            Err(fs::TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// Where the log lives.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Where the state lives.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn identity_path(&self) -> PathBuf {
        self.folder.join("identity.json")
    }

    /// The stored identity; `None` at the very first start.
    pub fn identity(&self, node_id: u64) -> Result<Option<Identity>, HomeError> {
        let path = self.identity_path();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(HomeError::Io { folder: path, source }),
        };
        let damaged = |reason: String| HomeError::Damaged { path: path.clone(), reason };
        let identity: Identity = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if identity.format_version > FORMAT_VERSION {
            return Err(damaged(format!("version {} is newer than {FORMAT_VERSION}", identity.format_version)));
        }
        // No single flipped bit makes a 1 of a 2.
        if identity.format_version == 0
            || (identity.format_version > 1 && identity.checksum != identity.computed_checksum())
        {
            return Err(damaged("its checksum does not match".to_owned()));
        }
        if identity.node_id != node_id {
            return Err(HomeError::OtherNode {
                folder: self.folder.clone(),
                found: identity.node_id,
                expected: node_id,
            });
        }
        Ok(Some(identity))
    }

    /// Stores the identity durably.
    pub fn save(&self, node_id: u64, cluster_id: &str, joining: bool) -> Result<Identity, HomeError> {
        let mut identity = Identity {
            format_version: FORMAT_VERSION,
            node_id,
            cluster_id: cluster_id.to_owned(),
            joining,
            checksum: 0,
        };
        identity.checksum = identity.computed_checksum();
        let text = serde_json::to_vec_pretty(&identity)
            .map_err(|error| HomeError::Damaged { path: self.identity_path(), reason: error.to_string() })?;
        write_durably(&self.identity_path(), &text)
            .map_err(|source| HomeError::Io { folder: self.folder.clone(), source })?;
        Ok(identity)
    }
}

/// Replaces a small file so that after a power cut either the old or the new content is there.
pub fn write_durably(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_user_and_one_node() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let home = Home::open(folder.path())?;
        assert!(matches!(Home::open(folder.path()), Err(HomeError::InUse(_))));
        assert_eq!(home.identity(1)?, None);
        let saved = home.save(1, "abc", true)?;
        assert_eq!(home.identity(1)?, Some(saved.clone()));
        let whole = fs::read(home.identity_path())?;
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(home.identity_path(), &flipped)?;
            // White space may turn into other white space.
            match home.identity(1) {
                Ok(read) => assert_eq!(read.as_ref(), Some(&saved), "bit {bit}"),
                Err(error) => assert!(error.to_string().contains("identity.json"), "bit {bit}: {error}"),
            }
        }
        fs::write(home.identity_path(), &whole)?;
        assert!(matches!(home.identity(2), Err(HomeError::OtherNode { found: 1, expected: 2, .. })));
        drop(home);
        assert!(Home::open(folder.path()).is_ok());
        Ok(())
    }
}

//! Which byte of which file, and what is done to it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::random::Random;

/// What a file is for, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// A segment of the Raft log that another one follows.
    OldSegment,
    /// The segment of the Raft log that is written on.
    LastSegment,
    /// Up to where the log was synced.
    Synced,
    /// A table of the live state.
    Table,
    /// The live state's MANIFEST.
    Manifest,
    /// The live state's CURRENT, which names the MANIFEST.
    EngineCurrent,
    /// The CURRENT that names the live state.
    StateCurrent,
    /// Who the node is.
    Identity,
    /// The engine's OPTIONS.
    Options,
    /// The engine's own log of writes.
    EngineLog,
    /// A checkpoint's files.
    Checkpoint,
    /// Anything else: LOCK, LOG, IDENTITY.
    Other,
}

impl FileKind {
    /// By its path in the data folder; `last_segment` is the name of the newest segment.
    fn of(path: &Path, last_segment: &str) -> FileKind {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let text = path.to_string_lossy();
        if text == "log/synced" {
            return FileKind::Synced;
        }
        if text.starts_with("log/") {
            return if name == last_segment { FileKind::LastSegment } else { FileKind::OldSegment };
        }
        match name {
            _ if text.starts_with("state/checkpoint-") => FileKind::Checkpoint,
            "identity.json" => FileKind::Identity,
            "CURRENT" if text == "state/CURRENT" => FileKind::StateCurrent,
            "CURRENT" => FileKind::EngineCurrent,
            _ if name.ends_with(".sst") => FileKind::Table,
            _ if name.starts_with("MANIFEST-") => FileKind::Manifest,
            _ if name.starts_with("OPTIONS-") => FileKind::Options,
            _ if name.ends_with(".log") => FileKind::EngineLog,
            _ => FileKind::Other,
        }
    }

    /// How many of a hundred places are in files of this kind.
    fn weight(self) -> u64 {
        match self {
            FileKind::LastSegment | FileKind::OldSegment => 14,
            FileKind::Table => 30,
            FileKind::Manifest => 12,
            FileKind::StateCurrent | FileKind::EngineCurrent | FileKind::Identity => 7,
            FileKind::Checkpoint => 4,
            FileKind::Options | FileKind::EngineLog | FileKind::Synced => 2,
            FileKind::Other => 1,
        }
    }

    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            FileKind::OldSegment => "log, a full segment",
            FileKind::LastSegment => "log, the last segment",
            FileKind::Synced => "log, synced",
            FileKind::Table => "state, an SST",
            FileKind::Manifest => "state, MANIFEST",
            FileKind::EngineCurrent => "state, RocksDB's CURRENT",
            FileKind::StateCurrent => "state, Talon's CURRENT",
            FileKind::Identity => "identity.json",
            FileKind::Options => "state, OPTIONS",
            FileKind::EngineLog => "state, RocksDB's WAL",
            FileKind::Checkpoint => "a checkpoint of its own",
            FileKind::Other => "LOCK, LOG, IDENTITY",
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// One bit is another one.
    Flip {
        /// Where.
        byte: u64,
        /// Which.
        bit: u8,
    },
    /// The file ends there.
    Cut {
        /// Where.
        byte: u64,
    },
    /// A sector holds something else.
    Sector {
        /// Where it begins.
        byte: u64,
        /// What it holds.
        filler: u8,
    },
}

/// One blow to one file.
#[derive(Clone, Debug)]
pub struct Harm {
    /// The file, relative to the data folder.
    pub file: PathBuf,
    /// What it is for.
    pub kind: FileKind,
    /// What is done to it.
    pub blow: Blow,
}

const SECTOR_BYTES: u64 = 512;

impl Harm {
    /// Does it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn strike(&self, folder: &Path) -> io::Result<()> {
        let file = File::options().read(true).write(true).open(folder.join(&self.file))?;
        match self.blow {
            Blow::Flip { byte, bit } => {
                let mut one = [0];
                file.read_exact_at(&mut one, byte)?;
                file.write_all_at(&[one[0] ^ (1 << bit)], byte)
            }
            Blow::Cut { byte } => file.set_len(byte),
            Blow::Sector { byte, filler } => {
                let length = file.metadata()?.len().min(byte + SECTOR_BYTES) - byte;
                file.write_all_at(&vec![filler; length as usize], byte)
            }
        }
    }

    /// The name of the file alone.
    pub fn file_name(&self) -> String {
        self.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match self.blow {
            Blow::Flip { byte, bit } => write!(out, "{file}: bit {bit} of byte {byte} flipped"),
            Blow::Cut { byte } => write!(out, "{file}: cut off at byte {byte}"),
            Blow::Sector { byte, filler } => write!(out, "{file}: the sector at byte {byte} overwritten with {filler}"),
        }
    }
}

/// The segment of the Raft log that is written on.
pub fn last_segment(files: &[PathBuf]) -> Option<&Path> {
    let segments = files.iter().filter(|path| path.starts_with("log") && path.extension().is_some());
    segments.max().map(PathBuf::as_path)
}

/// Chooses a place among the files of `folder`: first the kind, so that small files have their turn, then the file, then
/// the byte.
///
/// # Errors
/// The operating system's.
pub fn choose(folder: &Path, files: &[PathBuf], random: &mut Random) -> io::Result<Harm> {
    let last = last_segment(files).and_then(|path| path.file_name()?.to_str()).unwrap_or_default();
    let mut here: Vec<(FileKind, &PathBuf, u64)> = Vec::new();
    for path in files {
        let length = fs::metadata(folder.join(path))?.len();
        if length > 0 {
            here.push((FileKind::of(path, last), path, length));
        }
    }
    let mut kinds: Vec<FileKind> = here.iter().map(|(kind, ..)| *kind).collect();
    kinds.sort();
    kinds.dedup();
    let mut drawn = random.below(kinds.iter().map(|kind| kind.weight()).sum());
    let mut chosen = kinds[0];
    for kind in kinds {
        chosen = kind;
        match drawn.checked_sub(kind.weight()) {
            Some(rest) => drawn = rest,
            None => break,
        }
    }
    let here: Vec<_> = here.into_iter().filter(|(kind, ..)| *kind == chosen).collect();
    let (kind, file, length) = here[random.below(here.len() as u64) as usize];
    // A file begins and ends with what matters most.
    let byte = match random.below(6) {
        0 => random.below(length.min(64)),
        1 => length - 1 - random.below(length.min(64)),
        _ => random.below(length),
    };
    let blow = match random.below(10) {
        0..=5 => Blow::Flip { byte, bit: random.below(8) as u8 },
        6 | 7 => Blow::Cut { byte },
        _ => {
            Blow::Sector { byte: byte / SECTOR_BYTES * SECTOR_BYTES, filler: [0, 0xFF, 0xA5][random.below(3) as usize] }
        }
    };
    Ok(Harm { file: file.clone(), kind, blow })
}

//! Checkpoints: the state as a folder of files, made by hard links, sent piece by piece, installed by a rename.
//!
//! A checkpoint holds no node's identity and no vote. Its position, membership and clock are read from its own files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use talon_proto::v1::CheckpointPiece;

/// How much of a file travels in one message, bytes.
pub const PIECE_BYTES: usize = 1 << 20;

/// Which checkpoints are being sent; the log behind these positions is kept meanwhile.
#[derive(Debug, Default)]
pub struct Transfers(Mutex<Numbered>);

#[derive(Debug, Default)]
struct Numbered {
    last: u64,
    /// The log index of the checkpoint that is being sent, by the transfer's number.
    under_way: BTreeMap<u64, u64>,
}

impl Transfers {
    fn map(&self) -> MutexGuard<'_, Numbered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lowest log index of a checkpoint under way.
    pub fn lowest_index(&self) -> Option<u64> {
        self.map().under_way.values().min().copied()
    }
}

/// A transfer under way; over when dropped.
#[derive(Debug)]
pub struct Transfer {
    transfers: Arc<Transfers>,
    number: u64,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.transfers.map().under_way.remove(&self.number);
    }
}

/// A folder with a checkpoint. The folder stays while anybody holds a handle; a superseded one goes with its last handle.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: Mutex<PathBuf>,
    index: u64,
    superseded: AtomicBool,
    transfers: Arc<Transfers>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let folder = self.folder.get_mut().unwrap_or_else(PoisonError::into_inner);
        if self.superseded.load(Ordering::Relaxed)
            && let Err(error) = remove_folder(folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %folder.display(), %error, "an old checkpoint cannot be removed");
        }
    }
}

/// Removes a folder so that after a kill in between, what is left of it does not pass for whole: it loses its name first.
///
/// # Errors
/// If the system does not let it.
pub fn remove_folder(folder: &Path) -> io::Result<()> {
    fs::remove_dir_all(doom(folder)?)
}

/// Gives a folder a name that says that it is to be removed; durable when it returns.
fn doom(folder: &Path) -> io::Result<PathBuf> {
    let doomed = folder.with_extension("doomed");
    if doomed == folder {
        return Ok(doomed);
    }
    if doomed.exists() {
        fs::remove_dir_all(&doomed)?;
    }
    fs::rename(folder, &doomed)?;
    if let Some(parent) = folder.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(doomed)
}

impl Checkpoint {
    /// A handle to a complete checkpoint at log index `index`.
    pub fn new(folder: PathBuf, index: u64, transfers: Arc<Transfers>) -> Checkpoint {
        Checkpoint {
            inner: Arc::new(Inner { folder: Mutex::new(folder), index, superseded: AtomicBool::new(false), transfers }),
        }
    }

    /// Where its files are.
    pub fn folder(&self) -> PathBuf {
        self.inner.folder.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As [`Checkpoint::supersede`]; and after a restart, too, it will not be found. A transfer under way goes wrong.
    ///
    /// # Errors
    /// If the folder cannot be renamed.
    pub fn withdraw(&self) -> io::Result<()> {
        self.supersede();
        let mut folder = self.inner.folder.lock().unwrap_or_else(PoisonError::into_inner);
        *folder = doom(&folder)?;
        Ok(())
    }

    /// The log index it stands at.
    pub fn index(&self) -> u64 {
        self.inner.index
    }

    /// There is a newer one, or it was not wanted: the folder goes with the last handle.
    pub fn supersede(&self) {
        self.inner.superseded.store(true, Ordering::Relaxed);
    }

    /// It is being sent until the answer is dropped.
    pub fn transfer(&self) -> Transfer {
        let transfers = self.inner.transfers.clone();
        let number = {
            let mut map = transfers.map();
            map.last += 1;
            let number = map.last;
            map.under_way.insert(number, self.inner.index);
            number
        };
        Transfer { transfers, number }
    }

    /// The bytes of all its files.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn size_bytes(&self) -> io::Result<u64> {
        let folder = self.folder();
        files_of(&folder)?.iter().map(|file| Ok(fs::metadata(folder.join(file))?.len())).sum()
    }
}

/// The names of the files in a checkpoint, sorted. It has no folders inside.
fn files_of(folder: &Path) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name =
            entry.file_name().into_string().map_err(|name| io::Error::other(format!("a file named {name:?}")))?;
        if entry.file_type()?.is_file() {
            files.push(name);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a checkpoint piece by piece, its files in the order of their names. An empty file is one empty piece.
#[derive(Debug)]
pub struct Pieces {
    folder: PathBuf,
    files: std::vec::IntoIter<String>,
    files_total: usize,
    /// The file that is being read, and how far.
    open: Option<(String, File, u64)>,
}

impl Pieces {
    /// Of the checkpoint in this folder.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn open(folder: &Path) -> io::Result<Pieces> {
        let files = files_of(folder)?;
        Ok(Pieces { folder: folder.to_owned(), files_total: files.len(), files: files.into_iter(), open: None })
    }

    /// How many files there are in all.
    ///
    /// # Errors
    /// If they cannot be counted in 32 bits.
    pub fn files(&self) -> io::Result<u32> {
        u32::try_from(self.files_total).map_err(io::Error::other)
    }

    /// The next piece; `None` behind the last one.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn read(&mut self) -> io::Result<Option<CheckpointPiece>> {
        loop {
            let (file_name, mut file, offset_bytes) = match self.open.take() {
                Some(open) => open,
                None => {
                    let Some(name) = self.files.next() else { return Ok(None) };
                    let file = File::open(self.folder.join(&name))?;
                    (name, file, 0)
                }
            };
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            Read::by_ref(&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
            let length = piece.len();
            if length == PIECE_BYTES {
                self.open = Some((file_name.clone(), file, offset_bytes + length as u64));
            }
            if length > 0 || offset_bytes == 0 {
                let crc32c = crc32c::crc32c(&piece);
                return Ok(Some(CheckpointPiece { file: file_name, offset_bytes, data: piece.into(), crc32c }));
            }
        }
    }
}

/// A checkpoint that is being received. Whatever is wrong with it is an error, and the folder goes when this is dropped.
#[derive(Debug)]
pub struct Incoming {
    folder: PathBuf,
    file: Option<(String, File, u64)>,
    files: u32,
    received_bytes: u64,
    size_bytes: u64,
    complete: bool,
}

impl Incoming {
    /// Into a fresh folder, at most `size_bytes`.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn new(folder: PathBuf, size_bytes: u64) -> io::Result<Incoming> {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(Incoming { folder, file: None, files: 0, received_bytes: 0, size_bytes, complete: false })
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// If the bytes are damaged, out of order, more than announced, or cannot be written.
    pub fn piece(&mut self, name: &str, offset_bytes: u64, data: &[u8], crc32c: u32) -> io::Result<()> {
        if crc32c::crc32c(data) != crc32c {
            return Err(io::Error::other(format!("{name} was damaged on the way, at byte {offset_bytes}")));
        }
        self.received_bytes += data.len() as u64;
        if self.received_bytes > self.size_bytes {
            return Err(io::Error::other("more came than was announced"));
        }
        if offset_bytes == 0 {
            self.close_file()?;
            let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0']);
            if !plain {
                return Err(io::Error::other(format!("{name:?} is no plain file name")));
            }
            let file = File::create_new(self.folder.join(name))?;
            self.file = Some((name.to_owned(), file, 0));
            self.files += 1;
        }
        match &mut self.file {
            Some((open, file, length)) if open == name && *length == offset_bytes => {
                file.write_all(data)?;
                *length += data.len() as u64;
                Ok(())
            }
            _ => Err(io::Error::other(format!("a piece of {name} at byte {offset_bytes} came out of order"))),
        }
    }

    fn close_file(&mut self) -> io::Result<()> {
        if let Some((_, file, _)) = self.file.take() {
            file.sync_all()?;
        }
        Ok(())
    }

    /// All pieces are here: makes them durable and gives the folder away.
    ///
    /// # Errors
    /// If something is missing or cannot be synced.
    pub fn finish(mut self, files: u32) -> io::Result<PathBuf> {
        self.close_file()?;
        if files != self.files || self.received_bytes != self.size_bytes {
            return Err(io::Error::other(format!(
                "{} files and {} bytes came; {files} files and {} bytes were announced",
                self.files, self.received_bytes, self.size_bytes
            )));
        }
        File::open(&self.folder)?.sync_all()?;
        self.complete = true;
        Ok(self.folder.clone())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.complete
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            tracing::warn!(folder = %self.folder.display(), %error, "what came of a checkpoint cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> io::Result<(tempfile::TempDir, Vec<CheckpointPiece>)> {
        let source = tempfile::tempdir()?;
        fs::write(source.path().join("000012.sst"), vec![7; 2 * PIECE_BYTES + 5])?;
        fs::write(source.path().join("CURRENT"), b"MANIFEST-1\n")?;
        fs::write(source.path().join("EMPTY"), b"")?;
        let mut reader = Pieces::open(source.path())?;
        let mut pieces = Vec::new();
        while let Some(piece) = reader.read()? {
            pieces.push(piece);
        }
        assert_eq!((reader.files()?, pieces.len()), (3, 5));
        Ok((source, pieces))
    }

    #[test]
    fn what_is_sent_arrives() -> io::Result<()> {
        let (source, pieces) = example()?;
        let target = tempfile::tempdir()?;
        let size = Checkpoint::new(source.path().to_owned(), 1, Arc::default()).size_bytes()?;
        let mut incoming = Incoming::new(target.path().join("in"), size)?;
        for piece in &pieces {
            incoming.piece(&piece.file, piece.offset_bytes, &piece.data, piece.crc32c)?;
        }
        let folder = incoming.finish(3)?;
        for file in files_of(source.path())? {
            assert_eq!(fs::read(source.path().join(&file))?, fs::read(folder.join(&file))?, "{file}");
        }
        Ok(())
    }

    #[test]
    fn damage_gaps_short_ends_and_wandering_names_are_refused_and_leave_nothing() -> io::Result<()> {
        let (_source, pieces) = example()?;
        let target = tempfile::tempdir()?;
        let folder = target.path().join("in");
        let begin = || Incoming::new(folder.clone(), 2 * PIECE_BYTES as u64 + 16);
        let CheckpointPiece { file: name, data, crc32c: crc, .. } = &pieces[0];
        assert!(begin()?.piece(name, 0, data, crc ^ 1).is_err());
        assert!(begin()?.piece(name, 7, data, *crc).is_err());
        let mut gap = begin()?;
        gap.piece(name, 0, data, *crc)?;
        assert!(gap.piece(name, 2 * PIECE_BYTES as u64, b"", crc32c::crc32c(b"")).is_err());
        assert!(begin()?.piece("../LOCK", 0, data, *crc).is_err());
        let mut short = begin()?;
        short.piece(name, 0, data, *crc)?;
        assert!(short.finish(1).is_err());
        assert!(!folder.exists());
        Ok(())
    }

    #[test]
    fn a_superseded_folder_stays_until_its_last_reader_goes() -> io::Result<()> {
        let (source, _) = example()?;
        let transfers = Arc::new(Transfers::default());
        let checkpoint = Checkpoint::new(source.path().to_owned(), 9, transfers.clone());
        let reader = checkpoint.clone();
        let transfer = reader.transfer();
        assert_eq!(transfers.lowest_index(), Some(9));
        checkpoint.supersede();
        drop(checkpoint);
        assert!(source.path().exists());
        drop((transfer, reader));
        assert_eq!(transfers.lowest_index(), None);
        assert!(!source.path().exists());
        Ok(())
    }
}

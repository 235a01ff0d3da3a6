//! The real file system as a power cut shows it: what is not synced stays in the process's memory, so a process that is killed has
//! only what it had synced. A kill by itself would prove nothing, for the page cache survives it.
//!
//! A disk may also write by itself what nobody synced, whole or torn. So of what is written, some goes to the file at
//! once: nothing, the beginning, or some of its sectors, by the toss of a coin; and now and then the name changes do.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::disk::DiskFiles as Disk;
use super::{File, Files};

/// What a disk writes whole or not at all, bytes.
const SECTOR_BYTES: usize = 512;
/// A variable that plants an error: most syncs do nothing and say that they did. The tests that kill nodes have to notice.
const LYING: &str = "LOSSY_DISK_SYNC_LIES";
/// Of so many syncs of a file, a lying disk carries out the first.
const LIES: u64 = 50;
/// The longest that a sync takes, beyond what the real disk takes: most kills are to come while something is not synced.
const SYNC_US_MAX: u64 = 10_000;

/// A directory of the real file system that forgets what was not synced when the process is killed. A process that ends by itself,
/// or lets go of the directory, leaves everything there.
pub struct LossyFiles {
    disk: Disk,
    lies: bool,
    names: Mutex<Names>,
}

/// What is in the directory, beyond what the disk knows.
#[derive(Default)]
struct Names {
    /// Not carried out yet, oldest first.
    changes: Vec<NameChange>,
    /// The files in use, by the names they go by: who opens one twice sees the same.
    open: BTreeMap<String, Arc<LossyFile>>,
}

enum NameChange {
    Rename(String, String),
    Delete(String),
}

impl LossyFiles {
    /// Opens a directory, after making it if it is not there.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(directory: &Path) -> io::Result<LossyFiles> {
        LossyFiles::open_as(directory, std::env::var_os(LYING).is_some())
    }

    fn open_as(directory: &Path, lies: bool) -> io::Result<LossyFiles> {
        Ok(LossyFiles { disk: Disk::open(directory)?, lies, names: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(&self, names: &mut Names) -> io::Result<()> {
        for change in names.changes.drain(..) {
            match change {
                NameChange::Rename(from, to) => self.disk.rename(&from, &to)?,
                NameChange::Delete(name) => self.disk.delete(&name)?,
            }
        }
        Ok(())
    }

    fn change(&self, names: &mut Names, change: NameChange) -> io::Result<()> {
        names.changes.push(change);
        let by_itself = !self.lies && rand::random_ratio(1, 4);
        if by_itself { self.carry_out(names) } else { Ok(()) }
    }

    fn file(&self, names: &mut Names, name: &str, file: fs::File) -> io::Result<Arc<dyn File>> {
        let file = Arc::new(LossyFile::new(file, self.lies)?);
        names.open.insert(name.to_owned(), Arc::clone(&file));
        Ok(Arc::new(Handle(file)))
    }
}

impl Names {
    /// What the disk calls the file of this name; `None` if there is none.
    fn on_disk<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.changes.iter().rev().try_fold(name, |name, change| match change {
            NameChange::Rename(from, to) if to == name => Some(from.as_str()),
            NameChange::Rename(from, _) if from == name => None,
            NameChange::Delete(gone) if gone == name => None,
            _ => Some(name),
        })
    }
}

impl Drop for LossyFiles {
    fn drop(&mut self) {
        let mut names = std::mem::take(self.names.get_mut().unwrap_or_else(PoisonError::into_inner));
        if let Err(error) = self.carry_out(&mut names) {
            tracing::warn!(%error, "names cannot be changed");
        }
    }
}

impl Files for LossyFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = self.lock();
        let mut found = self.disk.list()?;
        for change in &names.changes {
            let (gone, new) = match change {
                NameChange::Rename(from, to) => (from, Some(to)),
                NameChange::Delete(name) => (name, None),
            };
            found.retain(|name| name != gone && Some(name) != new);
            found.extend(new.cloned());
        }
        Ok(found)
    }

    /// On the disk at once: an empty file is what a disk may keep of one that was never synced.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut names = self.lock();
        if let Some(file) = names.open.get(name) {
            file.truncate(0)?;
            return Ok(Arc::new(Handle(Arc::clone(file))));
        }
        // What is to become of the name's last bearer comes first.
        self.carry_out(&mut names)?;
        let file = self.disk.create_file(name)?;
        self.file(&mut names, name, file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut names = self.lock();
        if let Some(file) = names.open.get(name) {
            return Ok(Arc::new(Handle(Arc::clone(file))));
        }
        let file = self.disk.open_file(names.on_disk(name).ok_or(io::ErrorKind::NotFound)?)?;
        self.file(&mut names, name, file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.lock();
        names.open.remove(to);
        if let Some(file) = names.open.remove(from) {
            names.open.insert(to.to_owned(), file);
        }
        self.change(&mut names, NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let mut names = self.lock();
        names.open.remove(name);
        self.change(&mut names, NameChange::Delete(name.to_owned()))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.carry_out(&mut self.lock())?;
        self.disk.sync_names()
    }

    fn describe(&self, name: &str) -> String {
        self.disk.describe(name)
    }
}

/// Whoever opened a file counts as one who holds it, the names that know it do not: as with a real file.
struct Handle(Arc<LossyFile>);

impl File for Handle {
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn preallocate(&self, length: u64) -> io::Result<()> {
        self.0.preallocate(length)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

struct LossyFile {
    lies: bool,
    content: Mutex<Content>,
}

struct Content {
    file: fs::File,
    /// As a reader sees it.
    length: u64,
    /// Since the last sync, oldest first.
    changes: Vec<Change>,
    syncs: u64,
}

enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl LossyFile {
    fn new(file: fs::File, lies: bool) -> io::Result<LossyFile> {
        let length = file.length()?;
        Ok(LossyFile { lies, content: Mutex::new(Content { file, length, changes: Vec::new(), syncs: 0 }) })
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn write_through(&mut self) -> io::Result<()> {
        for change in &self.changes {
            match change {
                Change::Write(offset, bytes) => self.file.write_at(*offset, bytes)?,
                Change::Length(length) if *length > self.file.length()? => self.file.preallocate(*length)?,
                Change::Length(length) => self.file.truncate(*length)?,
            }
        }
        self.changes.clear();
        Ok(())
    }

    /// What a disk may do by itself with bytes that nobody synced.
    fn write_some(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match rand::random_range(0..4) {
            0 => self.file.write_at(offset, &bytes[..rand::random_range(0..=bytes.len())]),
            1 => {
                let mut start = 0;
                while start < bytes.len() {
                    let to_next_sector = SECTOR_BYTES - (offset as usize + start) % SECTOR_BYTES;
                    let end = (start + to_next_sector).min(bytes.len());
                    if rand::random() {
                        self.file.write_at(offset + start as u64, &bytes[start..end])?;
                    }
                    start = end;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Drop for LossyFile {
    fn drop(&mut self) {
        let content = self.content.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = content.write_through() {
            tracing::warn!(%error, "what was not synced cannot be written");
        }
    }
}

impl File for LossyFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.lock().length)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let content = self.lock();
        let end = offset + buffer.len() as u64;
        if end > content.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let on_disk = content.file.length()?.clamp(offset, end) - offset;
        buffer.fill(0);
        content.file.read_at(offset, &mut buffer[..on_disk as usize])?;
        for change in &content.changes {
            match change {
                Change::Write(at, bytes) => {
                    let (from, until) = ((*at).max(offset), (at + bytes.len() as u64).min(end));
                    if from < until {
                        let written = &bytes[(from - at) as usize..(until - at) as usize];
                        buffer[(from - offset) as usize..(until - offset) as usize].copy_from_slice(written);
                    }
                }
                Change::Length(length) => buffer[((*length).clamp(offset, end) - offset) as usize..].fill(0),
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.lock();
        if !self.lies {
            content.write_some(offset, bytes)?;
        }
        content.length = content.length.max(offset + bytes.len() as u64);
        content.changes.push(Change::Write(offset, bytes.to_vec()));
        Ok(())
    }

    fn preallocate(&self, length: u64) -> io::Result<()> {
        if length > self.length()? { self.truncate(length) } else { Ok(()) }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut content = self.lock();
        content.length = length;
        content.changes.push(Change::Length(length));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        std::thread::sleep(Duration::from_micros(rand::random_range(0..SYNC_US_MAX)));
        let mut content = self.lock();
        content.syncs += 1;
        if self.lies && content.syncs % LIES != 1 {
            return Ok(());
        }
        content.write_through()?;
        content.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn open(folder: &TempDir) -> io::Result<LossyFiles> {
        LossyFiles::open(folder.path())
    }

    /// The process is killed: nothing of it runs any more.
    fn kill(files: LossyFiles, open: Arc<dyn File>) {
        std::mem::forget((files, open));
    }

    #[test]
    fn a_kill_takes_what_was_not_synced() -> Outcome {
        let (mut whole, mut torn, mut lost) = (0, 0, 0);
        for _ in 0..100 {
            let folder = tempfile::tempdir()?;
            let files = open(&folder)?;
            let file = files.create("a")?;
            file.write_at(0, &[1; 1000])?;
            file.sync()?;
            file.write_at(500, &[2; 3000])?;
            let mut seen = vec![0; 3500];
            file.read_at(0, &mut seen)?;
            assert_eq!(seen, [vec![1; 500], vec![2; 3000]].concat(), "the process sees what it wrote");
            kill(files, file);
            let mut left = fs::read(folder.path().join("a"))?;
            assert_eq!(left[..500], [1; 500], "what was synced and not touched since is there");
            left.resize(3500, 0);
            match left[500..].iter().filter(|byte| **byte == 2).count() {
                0 => lost += 1,
                3000 => whole += 1,
                _ => torn += 1,
            }
        }
        assert!(lost > 20 && torn > 10 && lost + torn + whole == 100, "{lost} lost, {torn} torn, {whole} whole");
        Ok(())
    }

    #[test]
    fn a_process_that_ends_leaves_everything() -> Outcome {
        let folder = tempfile::tempdir()?;
        let files = open(&folder)?;
        let file = files.create("a.new")?;
        file.write_at(0, b"whole")?;
        file.preallocate(8)?;
        files.rename("a.new", "a")?;
        drop((files, file));
        assert_eq!(fs::read(folder.path().join("a"))?, b"whole\0\0\0");
        Ok(())
    }

    #[test]
    fn names_change_at_once_for_the_process_and_on_the_disk_at_the_sync() -> Outcome {
        let (mut old, mut new) = (0, 0);
        for _ in 0..50 {
            let folder = tempfile::tempdir()?;
            let files = open(&folder)?;
            for name in ["a", "b"] {
                files.create(name)?.write_at(0, name.as_bytes())?;
            }
            files.rename("a", "c")?;
            files.delete("b")?;
            assert_eq!(files.list()?, ["c"]);
            assert!(files.open("a").is_err() && files.open("b").is_err());
            let file = files.open("c")?;
            let mut byte = [0];
            file.read_at(0, &mut byte)?;
            assert_eq!(&byte, b"a");
            file.sync()?;
            let exists = |name: &str| folder.path().join(name).exists();
            assert!(exists("a") != exists("c"), "a rename is one step");
            assert!(exists("b") || exists("c"), "name changes keep their order");
            *(if exists("c") { &mut new } else { &mut old }) += 1;
            files.sync_names()?;
            assert!(exists("c") && !exists("a") && !exists("b"));
            kill(files, file);
            assert_eq!(fs::read(folder.path().join("c"))?, b"a");
        }
        assert!(old > 5 && new > 5, "{old} still had the old names, {new} the new ones");
        Ok(())
    }

    #[test]
    fn a_reader_sees_what_an_ordinary_file_would_show() -> Outcome {
        let folder = tempfile::tempdir()?;
        let files = open(&folder)?;
        let file = files.create("a")?;
        let mut model: Vec<u8> = Vec::new();
        for step in 0..3000_u32 {
            let place = rand::random_range(0..4000_usize);
            match rand::random_range(0..8) {
                0 => {
                    file.truncate(place as u64)?;
                    model.resize(place, 0);
                }
                1 => {
                    file.preallocate(place as u64)?;
                    model.resize(place.max(model.len()), 0);
                }
                2 => file.sync()?,
                _ => {
                    let bytes = vec![step as u8; rand::random_range(1..1500)];
                    file.write_at(place as u64, &bytes)?;
                    model.resize(model.len().max(place + bytes.len()), 0);
                    model[place..place + bytes.len()].copy_from_slice(&bytes);
                }
            }
            assert_eq!(file.length()?, model.len() as u64);
            let from = rand::random_range(0..=model.len());
            let mut seen = vec![9; rand::random_range(0..=model.len() - from)];
            file.read_at(from as u64, &mut seen)?;
            assert_eq!(seen, model[from..from + seen.len()], "step {step}");
            assert!(file.read_at(model.len() as u64, &mut [0]).is_err());
        }
        file.sync()?;
        kill(files, file);
        assert_eq!(fs::read(folder.path().join("a"))?, model);
        Ok(())
    }

    #[test]
    fn a_lying_disk_loses_what_it_said_was_synced() -> Outcome {
        let folder = tempfile::tempdir()?;
        let files = LossyFiles::open_as(folder.path(), true)?;
        let file = files.create("a")?;
        for byte in 0..LIES as u8 {
            file.write_at(u64::from(byte), &[byte])?;
            file.sync()?;
        }
        kill(files, file);
        assert_eq!(fs::read(folder.path().join("a"))?, [0]);
        Ok(())
    }
}

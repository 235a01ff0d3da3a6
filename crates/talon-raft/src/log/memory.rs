//! A disk in memory that can be cut off at any moment, and then has only what was synced, plus whatever part of the
//! rest one asks for. For tests and simulations.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use talon_core::random::SplitMix64;

use super::files::{File, Files};

/// What a power cut leaves of what was written and not synced.
#[derive(Clone, Copy, Debug)]
pub enum Survivors {
    /// Nothing.
    None,
    /// Everything: the process was killed, the machine went on.
    All,
    /// The first so many bytes, in the order they were written; the name changes all survive.
    Bytes(usize),
    /// Each 512-byte sector by the toss of a coin, and the first few of the name changes.
    Sectors(u64),
}

/// A directory in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryFiles {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    contents: Vec<Content>,
    names: BTreeMap<String, usize>,
    names_synced: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    /// How many more changes it takes before the power goes; `None` = it stays on.
    changes_left: Option<u64>,
    off: bool,
    full: bool,
    fail_sync: bool,
    fail_read: bool,
    syncs: u64,
}

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    /// One step, as on a real disk: never both names, never neither.
    Rename(String, String),
    Remove(String),
}

impl MemoryFiles {
    /// An empty directory.
    pub fn new() -> MemoryFiles {
        MemoryFiles::default()
    }

    /// The power goes in the middle of the change (write, sync, rename …) that comes after `changes` more: it and all that
    /// follow fail.
    pub fn cut_after(&self, changes: u64) {
        self.lock().changes_left = Some(changes);
    }

    /// The next sync of a file fails as on Linux: what it was to write stays in the page cache, and counts as written.
    pub fn fail_next_sync(&self) {
        self.lock().fail_sync = true;
    }

    /// From now on, there is no room for more bytes.
    pub fn fill(&self) {
        self.lock().full = true;
    }

    /// There is room again.
    pub fn make_room(&self) {
        self.lock().full = false;
    }

    /// The next read of a file fails.
    pub fn fail_next_read(&self) {
        self.lock().fail_read = true;
    }

    /// How much was written to files since their last syncs, bytes.
    pub fn unsynced_bytes(&self) -> usize {
        let disk = self.lock();
        let changes = disk.contents.iter().flat_map(|content| &content.changes);
        changes.map(|change| if let Change::Write(_, bytes) = change { bytes.len() } else { 0 }).sum()
    }

    /// How often a file was synced.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Turns the power off, if it is still on, and on again: the directory as the next process finds it.
    pub fn restart(&self, survivors: Survivors) -> MemoryFiles {
        let mut disk = self.lock();
        disk.off = true;
        let mut coin = Coin(SplitMix64(match survivors {
            Survivors::Sectors(seed) => seed,
            _ => 0,
        }));
        let mut names = disk.names_synced.clone();
        let kept = match survivors {
            Survivors::None => 0,
            Survivors::All | Survivors::Bytes(_) => disk.name_changes.len(),
            Survivors::Sectors(_) => coin.below(disk.name_changes.len() as u64 + 1) as usize,
        };
        disk.name_changes[..kept].iter().for_each(|change| change.apply(&mut names));
        let mut bytes_left = match survivors {
            Survivors::Bytes(bytes) => bytes,
            _ => usize::MAX,
        };
        let contents = disk.contents.iter().map(|content| {
            let mut bytes = content.synced.clone();
            for change in &content.changes {
                match (survivors, change) {
                    (Survivors::None, _) => {}
                    (Survivors::Sectors(_), Change::Length(_)) if coin.heads() => {}
                    (Survivors::Sectors(_), Change::Write(offset, written)) => {
                        write_some_sectors(&mut bytes, *offset, written, &mut coin);
                    }
                    (_, Change::Write(offset, written)) => {
                        let count = written.len().min(bytes_left);
                        bytes_left -= count;
                        write(&mut bytes, *offset, &written[..count]);
                    }
                    (_, Change::Length(_)) => change.apply(&mut bytes),
                }
            }
            Content { now: bytes.clone(), synced: bytes, changes: Vec::new() }
        });
        let contents = contents.collect();
        let disk = Disk { contents, names: names.clone(), names_synced: names, ..Disk::default() };
        MemoryFiles { disk: Arc::new(Mutex::new(disk)) }
    }

    /// The bytes of a file as a reader sees them now.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.lock();
        disk.names.get(name).map(|number| disk.contents[*number].now.clone())
    }

    /// Puts a file there, synced, as if it had always been.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut disk = self.lock();
        let number = disk.contents.len();
        disk.contents.push(Content { now: bytes.clone(), synced: bytes, changes: Vec::new() });
        disk.names.insert(name.to_owned(), number);
        disk.names_synced.insert(name.to_owned(), number);
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Whether a change still takes place whole; an error if the power is off. The change that the power goes in is let
    /// through half: it is done, its caller hears of a failure.
    fn change(&mut self) -> io::Result<bool> {
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        match &mut self.changes_left {
            Some(0) => {
                self.off = true;
                Ok(false)
            }
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None => Ok(true),
        }
    }

    fn done(&self, whole: bool) -> io::Result<()> {
        if whole { Ok(()) } else { Err(io::Error::other("the power went")) }
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        let whole = self.change()?;
        change.apply(&mut self.names);
        self.name_changes.push(change);
        self.done(whole)
    }

    fn number(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Create(name, number) => {
                names.insert(name.clone(), *number);
            }
            NameChange::Rename(from, to) => {
                if let Some(number) = names.remove(from) {
                    names.insert(to.clone(), number);
                }
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(offset, written) => write(bytes, *offset, written),
            Change::Length(length) => bytes.resize(*length, 0),
        }
    }
}

fn write(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    if bytes.len() < offset + written.len() {
        bytes.resize(offset + written.len(), 0);
    }
    bytes[offset..offset + written.len()].copy_from_slice(written);
}

fn write_some_sectors(bytes: &mut Vec<u8>, offset: usize, written: &[u8], coin: &mut Coin) {
    let mut start = 0;
    while start < written.len() {
        let to_next_sector = 512 - (offset + start) % 512;
        let end = (start + to_next_sector).min(written.len());
        if coin.heads() {
            write(bytes, offset + start, &written[start..end]);
        }
        start = end;
    }
}

/// What decides what survives.
struct Coin(SplitMix64);

impl Coin {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn heads(&mut self) -> bool {
        self.0.draw() & 1 == 1
    }
}

impl Files for MemoryFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut disk = self.lock();
        let number = disk.contents.len();
        disk.contents.push(Content::default());
        disk.change_name(NameChange::Create(name.to_owned(), number))?;
        Ok(Arc::new(MemoryFile { disk: self.disk.clone(), number }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let number = self.lock().number(name)?;
        Ok(Arc::new(MemoryFile { disk: self.disk.clone(), number }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.number(from)?;
        disk.change_name(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.number(name)?;
        disk.change_name(NameChange::Remove(name.to_owned()))
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut disk = self.lock();
        let whole = disk.change()?;
        if whole {
            disk.names_synced = disk.names.clone();
            disk.name_changes.clear();
        }
        disk.done(whole)
    }

    fn describe(&self, name: &str) -> String {
        format!("memory:{name}")
    }
}

struct MemoryFile {
    disk: Arc<Mutex<Disk>>,
    number: usize,
}

impl MemoryFile {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut disk = self.lock();
        let whole = disk.change()?;
        if disk.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = &mut disk.contents[self.number];
        change.apply(&mut content.now);
        content.changes.push(change);
        disk.done(whole)
    }
}

impl File for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.lock().contents[self.number].now.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut disk = self.lock();
        if std::mem::take(&mut disk.fail_read) {
            return Err(io::Error::other("the disk failed"));
        }
        let bytes = &disk.contents[self.number].now;
        let range = offset as usize..offset as usize + buffer.len();
        buffer.copy_from_slice(bytes.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset as usize, bytes.to_vec()))
    }

    fn preallocate(&self, length: u64) -> io::Result<()> {
        if length <= self.length()? { Ok(()) } else { self.change(Change::Length(length as usize)) }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(length as usize))
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.lock();
        let whole = disk.change()?;
        if std::mem::take(&mut disk.fail_sync) {
            disk.contents[self.number].changes.clear();
            return Err(io::Error::other("the disk failed"));
        }
        disk.syncs += u64::from(whole);
        if whole {
            let Content { synced, changes, .. } = &mut disk.contents[self.number];
            changes.drain(..).for_each(|change| change.apply(synced));
        }
        disk.done(whole)
    }
}

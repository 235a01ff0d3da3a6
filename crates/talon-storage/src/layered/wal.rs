//! The log of an engine that nothing else stands behind: every batch goes into a file before it counts as written.
//!
//! One file belongs to one generation: when that is drained, the file is a spare one, and is written again for a later generation. (Measured: a
//! file's pages that are there already take a tenth of the time to write.) Layout of a file (integers little-endian): `TALONWAL`, `u32` version,
//! `u64` number of the first batch, `u64` salt; then records: `u32` length of the payload, `u32` CRC32C of the salt and all that follows, `u64`
//! number of the batch, payload ([`Batch::encode`]). A length and a checksum of 0 are the end, and so is what no record of this file is: it
//! was written when the file belonged to another generation, and that had another salt. (In version 1 there was no salt.)
//!
//! A batch that was cut off by the end of the process or of the power is the end of the log: nobody was told that it is there.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::{Batch, StorageError};

const MAGIC: &[u8; 8] = b"TALONWAL";
const VERSION: u32 = 2;
/// How the names of files end: of those that hold batches, and of those that are to be written again.
const WAL: &str = ".wal";
const SPARE: &str = ".spare";
const HEADER_BYTES: usize = 28;
/// Without the salt: a whole header in version 1.
const HEADER_FRONT_BYTES: usize = 20;
const RECORD_HEADER_BYTES: usize = 16;
/// So many files are kept to be written again.
const SPARES_MAX: usize = 2;
/// But none that is longer than this: one batch may be.
const SPARE_BYTES_MAX: u64 = super::WAL_BYTES_MAX + 2 * GROW_BYTES;
/// So much is taken from the disk at once.
const GROW_BYTES: u64 = 16 << 20;
/// A buffer that grew beyond this is given back.
const BUFFER_KEPT_BYTES: usize = 4 << 20;

/// The open log.
pub(super) struct Wal {
    folder: PathBuf,
    file: File,
    /// What the checksums in the file begin with.
    seed: u32,
    /// The number of the file that is written to.
    sequence: u64,
    /// Of the next batch.
    number: u64,
    /// Up to where the file is written.
    end: u64,
    /// How long it is.
    room: u64,
    buffer: Vec<u8>,
}

impl Wal {
    /// Gives every batch that the log holds, oldest first, to `replay`; then begins a file behind them.
    pub fn open(
        folder: &Path,
        mut replay: impl FnMut(&Batch) -> Result<(), StorageError>,
    ) -> Result<Wal, StorageError> {
        let create = || {
            fs::create_dir_all(folder)?;
            folder.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
        };
        create().map_err(|error| failed(folder, "create", &error))?;
        let files = without_stub(folder, list(folder, WAL)?)?;
        let mut number = None;
        for (place, sequence) in files.iter().enumerate() {
            let path = path(folder, *sequence);
            number = read(&path, number, place + 1 == files.len(), &mut replay)?.or(number);
        }
        let sequence = files.last().map_or(1, |last| last + 1);
        let number = number.unwrap_or(1);
        let Begun { file, seed, room } = begin(folder, sequence, number)?;
        let end = HEADER_BYTES as u64;
        Ok(Wal { folder: folder.to_owned(), file, seed, sequence, number, end, room, buffer: Vec::new() })
    }

    /// Appends a batch; with `sync` it survives a power cut when this returns, and all before it.
    pub fn append(&mut self, batch: &Batch, sync: bool) -> Result<(), StorageError> {
        self.buffer.clear();
        self.buffer.resize(RECORD_HEADER_BYTES, 0);
        batch.encode(&mut self.buffer);
        let bytes = self.buffer.len() - RECORD_HEADER_BYTES;
        let too_long = |_| failed(&self.folder, "write to", &io::Error::other("a batch of more than 4 GB"));
        let bytes = u32::try_from(bytes).map_err(too_long)?;
        self.buffer[8..16].copy_from_slice(&self.number.to_le_bytes());
        let crc = crc32c::crc32c_append(self.seed, &self.buffer[8..]);
        self.buffer[..4].copy_from_slice(&bytes.to_le_bytes());
        self.buffer[4..8].copy_from_slice(&crc.to_le_bytes());
        let end = self.end + self.buffer.len() as u64;
        self.write(end, sync).map_err(|error| failed(&path(&self.folder, self.sequence), "write to", &error))?;
        self.end = end;
        self.number += 1;
        self.buffer.shrink_to(BUFFER_KEPT_BYTES);
        Ok(())
    }

    fn write(&mut self, end: u64, sync: bool) -> io::Result<()> {
        // A sync need not write a new length each time if the length is there before.
        if end > self.room {
            let room = end + GROW_BYTES;
            let more = |bytes: u64| i64::try_from(bytes).map_err(io::Error::other);
            match fallocate(&self.file, FallocateFlags::empty(), more(self.room)?, more(room - self.room)?) {
                Ok(()) => self.room = room,
                Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINTR) => self.room = end,
                Err(error) => return Err(error.into()),
            }
        }
        self.file.write_all(&self.buffer)?;
        if sync { self.file.sync_data() } else { Ok(()) }
    }

    /// The number of the current file.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How long the current file is.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// Begins a new file; returns the number of the one before.
    pub fn roll(&mut self) -> Result<u64, StorageError> {
        let before = self.sequence;
        // What was written without a sync must not be missing before what will be synced. And in a file that is not the newest, it is not
        // taken for granted that what is no record is the end.
        let finish = |file: &mut File| {
            if self.end + RECORD_HEADER_BYTES as u64 <= self.room {
                file.write_all(&[0; RECORD_HEADER_BYTES])?;
            }
            file.sync_data()
        };
        finish(&mut self.file).map_err(|error| failed(&path(&self.folder, before), "end", &error))?;
        let begun = begin(&self.folder, before + 1, self.number)?;
        (self.file, self.seed, self.room) = (begun.file, begun.seed, begun.room);
        self.sequence = before + 1;
        self.end = HEADER_BYTES as u64;
        Ok(before)
    }
}

/// Takes the files up to this one away: what is in them is durable elsewhere.
pub(super) fn remove_upto(folder: &Path, sequence: u64) -> Result<(), StorageError> {
    let mut spares = list(folder, SPARE)?.len();
    for found in list(folder, WAL)?.into_iter().filter(|found| *found <= sequence) {
        let path = path(folder, found);
        let bytes = fs::metadata(&path).map_err(|error| failed(&path, "measure", &error))?.len();
        let removed = if bytes <= SPARE_BYTES_MAX && spares < SPARES_MAX {
            spares += 1;
            fs::rename(&path, spare_path(folder, found))
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(|error| failed(&path, "remove", &error))?;
    }
    Ok(())
}

/// How many bytes all files take.
pub(super) fn disk_bytes(folder: &Path) -> Result<u64, StorageError> {
    let files = list(folder, WAL)?.into_iter().map(|sequence| path(folder, sequence));
    let spares = list(folder, SPARE)?.into_iter().map(|sequence| spare_path(folder, sequence));
    let mut bytes = 0;
    for path in files.chain(spares) {
        match fs::metadata(path) {
            Ok(metadata) => bytes += metadata.len(),
            // It has been drained, or written again, meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(folder, "measure", &error)),
        }
    }
    Ok(bytes)
}

/// The files without the last one, if that was only being begun: no batch is in it, and the one before is the newest. (One that is written
/// again gets its name when its header is synced.)
fn without_stub(folder: &Path, mut files: Vec<u64>) -> Result<Vec<u64>, StorageError> {
    if let Some(last) = files.last() {
        let path = path(folder, *last);
        let bytes = fs::metadata(&path).map_err(|error| failed(&path, "read", &error))?.len();
        if bytes <= HEADER_BYTES as u64 {
            fs::remove_file(&path).map_err(|error| failed(&path, "remove", &error))?;
            files.pop();
        }
    }
    Ok(files)
}

fn path(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("{sequence:012}{WAL}"))
}

fn spare_path(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("{sequence:012}{SPARE}"))
}

/// The numbers of the files whose names end so, ascending.
fn list(folder: &Path, ending: &str) -> Result<Vec<u64>, StorageError> {
    let mut found = Vec::new();
    let read = |error: io::Error| failed(folder, "read", &error);
    for entry in fs::read_dir(folder).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        let sequence: Option<u64> =
            name.to_str().and_then(|name| name.strip_suffix(ending)).and_then(|name| name.parse().ok());
        found.extend(sequence);
    }
    found.sort_unstable();
    Ok(found)
}

/// A file without a record.
struct Begun {
    file: File,
    /// What the checksums in it begin with.
    seed: u32,
    /// How long it is already.
    room: u64,
}

/// Begins a file, in the memory and on the disk of a spare one if there is one.
fn begin(folder: &Path, sequence: u64, number: u64) -> Result<Begun, StorageError> {
    let path = path(folder, sequence);
    let spare = list(folder, SPARE)?.first().map(|spare| spare_path(folder, *spare));
    let salt = RandomState::new().build_hasher().finish();
    let create = || {
        let sync_folder = || File::open(folder)?.sync_all();
        if spare.is_some() {
            // The disk must not know it any more by the name under which it held batches.
            sync_folder()?;
        }
        let written_to = spare.as_ref().unwrap_or(&path);
        let mut file = OpenOptions::new().write(true).create(true).truncate(spare.is_none()).open(written_to)?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&number.to_le_bytes());
        header.extend_from_slice(&salt.to_le_bytes());
        file.write_all(&header)?;
        file.sync_all()?;
        if let Some(spare) = &spare {
            fs::rename(spare, &path)?;
        }
        sync_folder()?;
        let room = file.metadata()?.len();
        Ok(Begun { file, seed: seed_of(salt), room })
    };
    create().map_err(|error| failed(&path, "create", &error))
}

/// What the checksums in a file with this salt begin with.
fn seed_of(salt: u64) -> u32 {
    crc32c::crc32c(&salt.to_le_bytes())
}

/// Replays one file; returns the number of the batch that comes next. Only the newest file may end in the midst of a record; what
/// is behind its last whole one is cut off, for another file is going to follow it.
fn read(
    path: &Path,
    expected: Option<u64>,
    is_newest: bool,
    replay: &mut impl FnMut(&Batch) -> Result<(), StorageError>,
) -> Result<Option<u64>, StorageError> {
    let io = |error: io::Error| failed(path, "read", &error);
    let damaged = |reason: &str| StorageError::Damaged { folder: path.to_owned(), reason: reason.to_owned() };
    let file = File::open(path).map_err(io)?;
    let mut left = file.metadata().map_err(io)?.len();
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER_FRONT_BYTES];
    if left < HEADER_FRONT_BYTES as u64 {
        return Err(damaged("it has no header"));
    }
    file.read_exact(&mut header).map_err(io)?;
    let (magic, version, first) = (&header[..8], le_u32(&header[8..]), le_u64(&header[12..]));
    if magic != MAGIC {
        return Err(damaged("it is no log of Talon's"));
    }
    if version > VERSION {
        return Err(damaged(&format!("it has format version {version}; this build reads up to {VERSION}")));
    }
    let (mut end, mut seed) = (HEADER_FRONT_BYTES as u64, 0);
    if version > 1 {
        let mut salt = [0; HEADER_BYTES - HEADER_FRONT_BYTES];
        if left < HEADER_BYTES as u64 {
            return Err(damaged("it has no header"));
        }
        file.read_exact(&mut salt).map_err(io)?;
        (end, seed) = (HEADER_BYTES as u64, seed_of(le_u64(&salt)));
    }
    left -= end;
    if expected.is_some_and(|expected| expected != first) {
        return Err(damaged(&format!("it begins with batch {first}, and the file before ends elsewhere")));
    }
    let mut next = first;
    let mut payload = Vec::new();
    while left >= RECORD_HEADER_BYTES as u64 {
        let mut head = [0; RECORD_HEADER_BYTES];
        file.read_exact(&mut head).map_err(io)?;
        left -= RECORD_HEADER_BYTES as u64;
        let (bytes, crc, number) = (u64::from(le_u32(&head)), le_u32(&head[4..]), le_u64(&head[8..]));
        if bytes == 0 && crc == 0 {
            break;
        }
        let mut whole = bytes <= left && number == next;
        if whole {
            payload.clear();
            payload.resize(bytes as usize, 0);
            file.read_exact(&mut payload).map_err(io)?;
            left -= bytes;
            whole = crc32c::crc32c_append(crc32c::crc32c_append(seed, &head[8..]), &payload) == crc;
        }
        if !whole {
            if is_newest {
                break;
            }
            return Err(damaged(&format!("batch {next} is damaged, and the log goes on behind it")));
        }
        let batch = Batch::decode(&payload).ok_or_else(|| damaged(&format!("batch {next} makes no sense")))?;
        replay(&batch)?;
        next += 1;
        end += RECORD_HEADER_BYTES as u64 + bytes;
    }
    if is_newest {
        // What a killed process wrote is perhaps not synced; it counts from now on, and another file is going to follow it.
        let file = OpenOptions::new().write(true).open(path).map_err(io)?;
        file.set_len(end).and_then(|()| file.sync_all()).map_err(io)?;
    }
    Ok(Some(next))
}

fn le_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn le_u64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn failed(path: &Path, doing: &'static str, error: &io::Error) -> StorageError {
    StorageError::Failed { folder: path.to_owned(), doing, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Space;

    fn batch(number: u8) -> Batch {
        let mut batch = Batch::new();
        batch.put(Space::Data, &[number], &[b"value ", &vec![number; usize::from(number) * 100]]);
        batch.delete(Space::Expiry, &[number]);
        batch.delete_range(Space::Meta, &[number], &[number, 1]);
        batch
    }

    fn replayed(folder: &Path) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let encoded = |batch: &Batch| {
            let mut bytes = Vec::new();
            batch.encode(&mut bytes);
            found.push(bytes);
            Ok(())
        };
        Wal::open(folder, encoded).unwrap();
        found
    }

    fn encoded(numbers: impl Iterator<Item = u8>) -> Vec<Vec<u8>> {
        numbers
            .map(|number| {
                let mut bytes = Vec::new();
                batch(number).encode(&mut bytes);
                bytes
            })
            .collect()
    }

    #[test]
    fn what_is_cut_off_anywhere_leaves_what_was_before() {
        let folder = tempfile::tempdir().unwrap();
        let mut ends = Vec::new();
        {
            let mut wal = Wal::open(folder.path(), |_| Ok(())).unwrap();
            for number in 1..6 {
                wal.append(&batch(number), number % 2 == 1).unwrap();
                ends.push(wal.bytes() as usize);
            }
        }
        let written = fs::read(path(folder.path(), 1)).unwrap();
        for cut in (0..ends[4]).step_by(7).chain(ends.clone()) {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            // The file was as long before: what was not written is zero.
            if cut >= HEADER_BYTES {
                let folder = tempfile::tempdir().unwrap();
                let mut bytes = written.clone();
                bytes[cut..].fill(0);
                fs::write(path(folder.path(), 1), &bytes).unwrap();
                assert_eq!(replayed(folder.path()), encoded(1..whole as u8 + 1), "cut at {cut}, zeros behind");
            }
            let folder = tempfile::tempdir().unwrap();
            fs::write(path(folder.path(), 1), &written[..cut]).unwrap();
            assert_eq!(replayed(folder.path()), encoded(1..whole as u8 + 1), "cut at {cut}");
        }
    }

    #[test]
    fn files_follow_each_other_and_damage_between_them_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut wal = Wal::open(folder.path(), |_| Ok(())).unwrap();
        wal.append(&batch(1), true).unwrap();
        assert_eq!(wal.roll().unwrap(), 1);
        wal.append(&batch(2), true).unwrap();
        drop(wal);
        assert_eq!(replayed(folder.path()), encoded(1..3));
        // Opening began a third, empty one.
        assert_eq!(replayed(folder.path()), encoded(1..3));
        let mut bytes = fs::read(path(folder.path(), 1)).unwrap();
        bytes[HEADER_BYTES + RECORD_HEADER_BYTES + 3] ^= 1;
        fs::write(path(folder.path(), 1), bytes).unwrap();
        assert!(matches!(Wal::open(folder.path(), |_| Ok(())), Err(StorageError::Damaged { .. })));
        remove_upto(folder.path(), 1).unwrap();
        assert_eq!(replayed(folder.path()), encoded(2..3));
    }

    #[test]
    fn files_are_written_again_and_what_they_held_is_not_replayed() {
        for kept in 0..6_u8 {
            let folder = tempfile::tempdir().unwrap();
            let mut wal = Wal::open(folder.path(), |_| Ok(())).unwrap();
            let append = |wal: &mut Wal, count: u8| (0..count).for_each(|_| wal.append(&batch(7), true).unwrap());
            append(&mut wal, 6);
            assert_eq!(wal.roll().unwrap(), 1);
            remove_upto(folder.path(), 1).unwrap();
            append(&mut wal, 2);
            // In the file that held six of the same length.
            assert_eq!(wal.roll().unwrap(), 2);
            assert_eq!(list(folder.path(), SPARE).unwrap(), [0_u64; 0]);
            append(&mut wal, kept);
            if kept % 2 == 1 {
                assert_eq!(wal.roll().unwrap(), 3);
                append(&mut wal, 1);
            }
            let kept = kept + kept % 2;
            assert_eq!(replayed(folder.path()).len(), 2 + usize::from(kept), "killed");
            assert_eq!(replayed(folder.path()).len(), 2 + usize::from(kept), "and again");
            drop(wal);
        }
        let folder = tempfile::tempdir().unwrap();
        let mut wal = Wal::open(folder.path(), |_| Ok(())).unwrap();
        for _ in 0..6 {
            wal.append(&batch(1), true).unwrap();
            let sequence = wal.roll().unwrap();
            remove_upto(folder.path(), sequence).unwrap();
            assert_eq!(list(folder.path(), WAL).unwrap(), [sequence + 1]);
            assert!(list(folder.path(), SPARE).unwrap().len() <= SPARES_MAX);
        }
        assert!(disk_bytes(folder.path()).unwrap() >= 2 * GROW_BYTES, "spares count");
    }

    #[test]
    fn a_record_of_another_file_is_none() {
        let files = [(); 2].map(|()| {
            let folder = tempfile::tempdir().unwrap();
            let mut wal = Wal::open(folder.path(), |_| Ok(())).unwrap();
            let ends = [1, 2, 3].map(|number| {
                wal.append(&batch(number), true).unwrap();
                wal.bytes() as usize
            });
            (fs::read(path(folder.path(), 1)).unwrap(), ends)
        });
        let [(mut one, ends), (other, _)] = files;
        one[ends[1]..].copy_from_slice(&other[ends[1]..]);
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path()).unwrap();
        fs::write(path(folder.path(), 1), one).unwrap();
        assert_eq!(replayed(folder.path()), encoded(1..3));
    }

    #[test]
    fn version_1_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = Vec::new();
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(&1_u32.to_le_bytes());
        file.extend_from_slice(&1_u64.to_le_bytes());
        for number in 1..4_u64 {
            let mut covered = number.to_le_bytes().to_vec();
            batch(number as u8).encode(&mut covered);
            file.extend_from_slice(&(covered.len() as u32 - 8).to_le_bytes());
            file.extend_from_slice(&crc32c::crc32c(&covered).to_le_bytes());
            file.extend_from_slice(&covered);
        }
        fs::write(path(folder.path(), 1), &file).unwrap();
        assert_eq!(replayed(folder.path()), encoded(1..4));
        assert_eq!(replayed(folder.path()), encoded(1..4), "and before a file of this version");
    }
}

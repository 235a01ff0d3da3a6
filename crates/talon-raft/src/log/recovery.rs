//! Opening a log: reads every segment, cuts a torn tail off, and refuses a log that is damaged.
//!
//! Torn or damaged? Only what was not synced may be torn, only the newest segment has such bytes, and they are its last.
//! So any bad byte in an older segment is damage; and in the newest one it is damage if a later group says that the place had been
//! synced, or the file `synced` beside the segments does. After a power cut that file may be old; a bad last group that it does not
//! speak of is taken for torn: nothing says otherwise, and nothing can.
//!
//! Behind the last group of the newest segment may be what the file held when it was an older segment; its salt was another one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::error::LogError;
use super::files::{File, Files};
use super::format::{
    self, FORMAT_VERSION, GROUP_HEADER_BYTES, GroupHeader, HEADER_BYTES, HeaderFault, Kind, RECORD_HEADER_BYTES,
    SYNCED_BYTES, SYNCED_NAME, SegmentHeader, Synced,
};
use super::index::{Index, Place};
use super::marks::Marks;
use crate::types::decode_entry_head;

/// A segment on the disk.
pub(super) struct Segment {
    pub sequence: u64,
    pub file: Arc<dyn File>,
    /// What the checksums of its records begin with.
    pub seed: u32,
    /// The highest index of the entries ever written to it.
    pub index_max: Option<u64>,
}

/// What was found on the disk.
pub(super) struct Recovered {
    pub marks: Marks,
    pub index: Index,
    /// All segments, oldest first; the last one is written on.
    pub segments: Vec<Segment>,
    /// The salt of the last segment.
    pub salt: u64,
    /// Where the last segment is written on.
    pub end: u64,
}

/// A segment whose header has been read.
struct Opened {
    name: String,
    file: Arc<dyn File>,
    header: SegmentHeader,
}

/// Reads the log in `files`; `None` if there is none yet. Afterwards all of it is synced.
pub(super) fn recover(files: &dyn Files, segment_bytes: u64) -> Result<Option<Recovered>, LogError> {
    let mut opened = Vec::new();
    for sequence in sequences(files)? {
        opened.push(open_segment(files, sequence)?);
    }
    // Deletions may reach the disk out of order. What is before a gap was to go, if what is behind it makes a whole log.
    let gap = opened.windows(2).rposition(|pair| pair[1].header.sequence != pair[0].header.sequence + 1);
    let leftovers: Vec<Opened> = opened.drain(..gap.map_or(0, |gap| gap + 1)).collect();
    let synced = read_synced(files)?;
    let newest = opened.last().map_or(0, |newest| newest.header.sequence);
    if let Some(synced) = synced.filter(|synced| synced.sequence > newest) {
        let name = files.describe(&format::segment_name(synced.sequence));
        return Err(LogError::Missing { what: format!("the file {name} is not there, and was written") });
    }
    let synced_end = synced.filter(|synced| synced.sequence == newest).map_or(0, |synced| synced.end);
    let Some(oldest) = opened.first() else { return Ok(None) };
    let mut replay = Replay::new(&oldest.header.marks);
    let mut segments = Vec::new();
    let mut end = 0;
    let lengths: Vec<Option<u64>> =
        opened.iter().skip(1).map(|next| Some(next.header.previous_end)).chain([None]).collect();
    for (segment, length) in opened.iter().zip(lengths) {
        if replay.marks != segment.header.marks {
            return Err(LogError::damaged(&segment.name, 0, "it does not go on where the segment before ends"));
        }
        replay.index_max = None;
        end = match length {
            Some(length) => segment.replay_sealed(length, &mut replay)?,
            None => segment.replay_last(segment_bytes, synced_end, &mut replay)?,
        };
        let (sequence, seed, file) = (segment.header.sequence, segment.header.seed(), segment.file.clone());
        segments.push(Segment { sequence, file, seed, index_max: replay.index_max });
    }
    replay.check_nothing_is_missing(&opened[0].name)?;
    for leftover in leftovers {
        let name = format::segment_name(leftover.header.sequence);
        files.delete(&name).map_err(|error| LogError::disk(leftover.name, "delete", error))?;
    }
    let salt = opened[opened.len() - 1].header.salt;
    Ok(Some(Recovered { marks: replay.marks, index: replay.index, segments, salt, end }))
}

/// The sequence numbers of the segments, ascending. Removes what was never finished, or was no longer needed.
fn sequences(files: &dyn Files) -> Result<Vec<u64>, LogError> {
    let names = files.list().map_err(|error| LogError::disk(files.describe(""), "list", error))?;
    let mut sequences = BTreeMap::new();
    for name in names {
        if let Some(sequence) = format::sequence_of(&name) {
            sequences.insert(sequence, ());
        } else if name.ends_with(".new") {
            files.delete(&name).map_err(|error| LogError::disk(files.describe(&name), "delete", error))?;
        }
    }
    Ok(sequences.into_keys().collect())
}

/// Up to where the log is known to have been synced, if anything says so.
fn read_synced(files: &dyn Files) -> Result<Option<Synced>, LogError> {
    let path = files.describe(SYNCED_NAME);
    let file = match files.open(SYNCED_NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LogError::disk(path, "open", error)),
    };
    let length = file.length().map_err(|error| LogError::disk(path.clone(), "read", error))?;
    let synced = Synced::decode(&read(&path, &*file, length.min(SYNCED_BYTES as u64))?);
    if synced.is_none() && length > 0 {
        tracing::warn!(file = path, "a damaged file is passed over: it says up to where the log was synced");
    }
    Ok(synced)
}

fn open_segment(files: &dyn Files, sequence: u64) -> Result<Opened, LogError> {
    let name = format::segment_name(sequence);
    let path = files.describe(&name);
    let opening = |error| LogError::disk(path.clone(), "open", error);
    let file = files.open(&name).map_err(opening)?;
    let length = file.length().map_err(opening)?;
    let bytes = read(&path, &*file, length.min(HEADER_BYTES as u64))?;
    let header = match SegmentHeader::decode(&bytes) {
        Ok(header) if header.sequence == sequence => header,
        Ok(header) => {
            return Err(LogError::damaged(&path, 0, format!("its header is that of segment {}", header.sequence)));
        }
        Err(HeaderFault::Damaged(what)) => return Err(LogError::damaged(&path, 0, what)),
        Err(HeaderFault::Newer(version)) => {
            return Err(LogError::Newer { file: path, version, version_max: FORMAT_VERSION });
        }
    };
    Ok(Opened { name: path, file, header })
}

fn read(path: &str, file: &dyn File, length: u64) -> Result<Vec<u8>, LogError> {
    let mut bytes = vec![0; length as usize];
    file.read_at(0, &mut bytes).map_err(|error| LogError::disk(path.to_owned(), "read", error))?;
    Ok(bytes)
}

/// How the groups of a segment end.
enum Ending {
    /// Right there, and nothing follows.
    Clean,
    /// A group that begins there is not whole: what is wrong, and where.
    Bad { at: u64, what: &'static str },
}

impl Opened {
    /// A segment that another one follows: every byte of it was synced.
    fn replay_sealed(&self, length: u64, replay: &mut Replay) -> Result<u64, LogError> {
        let on_disk = self.file.length().map_err(|error| LogError::disk(self.name.clone(), "read", error))?;
        if on_disk < length {
            return Err(LogError::damaged(&self.name, on_disk, format!("it ends there, but was {length} bytes long")));
        }
        let bytes = read(&self.name, &*self.file, length)?;
        let (end, ending, _) = self.replay_groups(&bytes, replay)?;
        match ending {
            Ending::Bad { at, what } => Err(LogError::damaged(&self.name, at, what)),
            Ending::Clean => Ok(end),
        }
    }

    /// The newest segment: its end may be torn, but not before `synced_end`. Afterwards it is whole, synced, and zeros follow its end.
    fn replay_last(&self, segment_bytes: u64, synced_end: u64, replay: &mut Replay) -> Result<u64, LogError> {
        let failed = |action| move |error| LogError::disk(self.name.clone(), action, error);
        let length = self.file.length().map_err(failed("read"))?;
        let bytes = read(&self.name, &*self.file, length)?;
        let (end, ending, synced) = self.replay_groups(&bytes, replay)?;
        let tail = &bytes[end as usize..];
        if end < synced_end {
            let (at, what) = match ending {
                Ending::Bad { at, what } => (at, what),
                Ending::Clean => (end, "it ends there"),
            };
            return Err(LogError::damaged(&self.name, at, what));
        }
        if let Ending::Bad { at, what } = ending
            && tail.iter().any(|byte| *byte != 0)
        {
            let later =
                GroupHeader::search(&bytes, self.header.salt, end as usize + 1).find(|(_, group)| group.synced > end);
            if later.is_some() {
                return Err(LogError::damaged(&self.name, at, what));
            }
            // Else it is most likely what the file held before it became this segment.
            if GroupHeader::decode(tail, self.header.salt, end).is_some() {
                tracing::warn!(
                    file = self.name,
                    offset = end,
                    bytes = tail.len(),
                    "cut a torn write off the log: {what}"
                );
            }
            self.file.truncate(end).map_err(failed("truncate"))?;
        }
        // What a killed process wrote and did not sync is still only in the page cache, and a failed sync may have marked
        // it clean. It counts from now on, so it is written again before the sync.
        if synced < end {
            self.file.write_at(synced, &bytes[synced as usize..end as usize]).map_err(failed("write"))?;
        }
        self.file.preallocate(segment_bytes).map_err(failed("preallocate"))?;
        self.file.sync().map_err(failed("sync"))?;
        Ok(end)
    }

    /// Replays every whole group. Returns where they end, how, and up to where the segment says it was synced.
    fn replay_groups(&self, bytes: &[u8], replay: &mut Replay) -> Result<(u64, Ending, u64), LogError> {
        let seed = self.header.seed();
        let mut at = HEADER_BYTES;
        let mut synced = HEADER_BYTES as u64;
        loop {
            if at == bytes.len() {
                return Ok((at as u64, Ending::Clean, synced));
            }
            let end = at as u64;
            let Some(group) = bytes.get(at..).and_then(|from| GroupHeader::decode(from, self.header.salt, end)) else {
                return Ok((end, Ending::Bad { at: end, what: "no group of records begins there" }, synced));
            };
            let body_end = (end + GROUP_HEADER_BYTES as u64).saturating_add(group.body_bytes);
            let body = at + GROUP_HEADER_BYTES..usize::try_from(body_end).unwrap_or(usize::MAX).min(bytes.len());
            let records = match split_records(seed, bytes, body.clone(), body_end) {
                Ok(records) => records,
                Err((at, what)) => return Ok((end, Ending::Bad { at, what }, synced)),
            };
            for (offset, kind, payload) in records {
                replay
                    .record(self.header.sequence, offset, kind, payload)
                    .map_err(|what| LogError::damaged(&self.name, offset as u64, what))?;
            }
            synced = synced.max(group.synced.min(end));
            at = body.end;
        }
    }
}

type Record<'a> = (usize, Kind, &'a [u8]);

/// The records of a group, all of them or none.
fn split_records(
    seed: u32,
    bytes: &[u8],
    body: Range<usize>,
    body_end: u64,
) -> Result<Vec<Record<'_>>, (u64, &'static str)> {
    let mut records = Vec::new();
    let mut at = body.start;
    while at < body.end {
        let (kind, payload) = format::decode_record(seed, &bytes[at..body.end]).map_err(|what| (at as u64, what))?;
        records.push((at, kind, payload));
        at += RECORD_HEADER_BYTES + payload.len();
    }
    if (body.end as u64) < body_end {
        return Err((body.end as u64, "the file ends inside a group of records"));
    }
    Ok(records)
}

/// The log as the records read so far make it.
struct Replay {
    marks: Marks,
    index: Index,
    /// The highest index of the entries in the segment that is being read.
    index_max: Option<u64>,
    /// The entries before this one that the oldest segment's header speaks of were in segments that are no longer there.
    /// That is right if all of them are truncated or purged in the end.
    absent_end: u64,
}

impl Replay {
    fn new(marks: &Marks) -> Replay {
        let mut index = Index::default();
        index.begin_at(marks.end());
        Replay { marks: marks.clone(), index, index_max: None, absent_end: marks.end() }
    }

    fn record(&mut self, sequence: u64, offset: usize, kind: Kind, payload: &[u8]) -> Result<(), String> {
        match kind {
            Kind::Entry => {
                let (log_id, _) = decode_entry_head(payload).map_err(|error| error.to_string())?;
                if !self.marks.accepts(log_id.index) {
                    return Err(format!("entry {} follows, but the log ends at {}", log_id.index, self.marks.end()));
                }
                self.marks.append(log_id);
                self.index.begin_at(log_id.index);
                self.index.push_at(place(sequence, offset)?, (RECORD_HEADER_BYTES + payload.len()) as u64);
                self.index_max = self.index_max.max(Some(log_id.index));
            }
            Kind::Vote => self.marks.vote = format::decode_vote(payload)?,
            Kind::Committed => self.marks.committed = format::decode_log_id(payload)?,
            Kind::Truncate => {
                self.marks.truncate(format::decode_log_id(payload)?);
                self.absent_end = self.absent_end.min(self.marks.end());
                self.index.truncate(self.marks.end());
            }
            Kind::Purge => {
                self.marks.purge(format::decode_log_id(payload)?.ok_or("a purge names no entry")?);
                self.index.purge(self.marks.first);
            }
        }
        Ok(())
    }

    fn check_nothing_is_missing(&self, oldest: &str) -> Result<(), LogError> {
        let first = self.marks.first;
        if !self.marks.is_empty() && first < self.absent_end {
            let what = format!("the entries {first} to {} are not in {oldest}, nor behind it", self.absent_end - 1);
            return Err(LogError::Missing { what });
        }
        Ok(())
    }
}

/// The place of a record.
pub(super) fn place(sequence: u64, offset: usize) -> Result<Place, String> {
    match (u32::try_from(sequence), u32::try_from(offset)) {
        (Ok(segment), Ok(offset)) => Ok(Place { segment, offset }),
        _ => Err(format!("segment {sequence}, offset {offset} is out of range")),
    }
}

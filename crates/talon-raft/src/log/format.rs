//! The bytes of a segment file, version 2. All integers are little-endian.
//!
//! ```text
//! segment  header, then groups, then up to the preallocated length zeros, or what the file held when it was an older segment
//! header   magic(8) length(u32) crc(u32) | version(u32) sequence(u64) salt(u64) previous_end(u64)
//!          first(u64) purged(log id) last(log id) committed(log id) vote(u8 flag, u64 term, u64 node, u8 committed)
//! group    magic(u32) crc(u32) synced(u64) body_bytes(u64), then records of body_bytes in all
//! record   crc(u32) payload_bytes(u32) kind(u8), then the payload
//! log id   u8 flag, u64 term, u64 index
//! ```
//!
//! `length` counts what follows the bar, and `crc` covers it. A segment's header carries the log's marks as they were when
//! it began, so that older segments can be deleted. `previous_end` is how long the segment before was; it was synced before
//! this one came to be. A group's `synced` says up to which byte the segment was known to be on the disk when the group was
//! written: that is how recovery tells a write that was cut off from bytes that went bad. Its checksum covers
//! the segment's salt and the group's offset as well, so that no value that a client stored passes for a group. The checksum of a
//! record begins with the salt, so that no record of an older segment passes for one of this. (In version 1 it did not, and no file was
//! written again.)

use bytes::{Buf, BufMut};

use super::marks::Marks;
use crate::types::{LogId, Vote, log_id};

/// The version this build writes; it reads up to this one.
pub const FORMAT_VERSION: u32 = 2;

/// How long a segment's header is.
pub(super) const HEADER_BYTES: usize = HEADER_FRONT_BYTES + HEADER_BODY_BYTES;
/// How long the front of a header is, in every version.
pub(super) const HEADER_FRONT_BYTES: usize = 16;
/// No version's header is longer.
const HEADER_BYTES_MAX: usize = 65_536;
const HEADER_BODY_BYTES: usize = 4 + 8 + 8 + 8 + 8 + 3 * LOG_ID_BYTES + 18;
const LOG_ID_BYTES: usize = 17;
/// How long a group's header is.
pub(super) const GROUP_HEADER_BYTES: usize = 24;
/// How long a record's header is.
pub(super) const RECORD_HEADER_BYTES: usize = 9;

const SEGMENT_MAGIC: [u8; 8] = *b"TALONLOG";
const GROUP_MAGIC: [u8; 4] = *b"\xA7TGr";

/// What a record is about; its number is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Entry = 1,
    Vote = 2,
    Committed = 3,
    Truncate = 4,
    Purge = 5,
}

impl Kind {
    fn from_number(number: u8) -> Option<Kind> {
        [Kind::Entry, Kind::Vote, Kind::Committed, Kind::Truncate, Kind::Purge]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// What a segment begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub version: u32,
    pub sequence: u64,
    pub salt: u64,
    /// How long the segment before is; 0 = this is the first of all.
    pub previous_end: u64,
    pub marks: Marks,
}

/// Why bytes are not a segment header.
#[derive(Debug)]
pub(super) enum HeaderFault {
    Damaged(&'static str),
    Newer(u32),
}

impl SegmentHeader {
    /// What the checksums of the segment's records begin with.
    pub fn seed(&self) -> u32 {
        if self.version < 2 { 0 } else { crc32c::crc32c(&self.salt.to_le_bytes()) }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(HEADER_BODY_BYTES);
        body.put_u32_le(self.version);
        body.put_u64_le(self.sequence);
        body.put_u64_le(self.salt);
        body.put_u64_le(self.previous_end);
        body.put_u64_le(self.marks.first);
        body.extend_from_slice(&encode_log_id(self.marks.purged));
        body.extend_from_slice(&encode_log_id(self.marks.last));
        body.extend_from_slice(&encode_log_id(self.marks.committed));
        body.extend_from_slice(&encode_vote(self.marks.vote));
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&SEGMENT_MAGIC);
        header.put_u32_le(body.len() as u32);
        header.put_u32_le(crc32c::crc32c(&body));
        header.extend_from_slice(&body);
        header
    }

    /// Reads the header at the beginning of a segment.
    pub fn decode(mut bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        if bytes.len() < HEADER_FRONT_BYTES || !bytes.starts_with(&SEGMENT_MAGIC) {
            return Err(HeaderFault::Damaged("it does not begin as a log segment does"));
        }
        bytes.advance(SEGMENT_MAGIC.len());
        let (length, crc) = (bytes.get_u32_le() as usize, bytes.get_u32_le());
        if length > HEADER_BYTES_MAX || length > bytes.len() || length < 4 || crc32c::crc32c(&bytes[..length]) != crc {
            return Err(HeaderFault::Damaged("the checksum of its header does not match"));
        }
        let mut body = &bytes[..length];
        let version = body.get_u32_le();
        if version > FORMAT_VERSION {
            return Err(HeaderFault::Newer(version));
        }
        if length != HEADER_BODY_BYTES {
            return Err(HeaderFault::Damaged("its header has the wrong length"));
        }
        let (sequence, salt, previous_end) = (body.get_u64_le(), body.get_u64_le(), body.get_u64_le());
        let first = body.get_u64_le();
        let (purged, last, committed) = (take_log_id(&mut body), take_log_id(&mut body), take_log_id(&mut body));
        let vote = take_vote(&mut body);
        let marks = Marks { vote, committed, purged, first, last };
        Ok(SegmentHeader { version, sequence, salt, previous_end, marks })
    }
}

/// What a group begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupHeader {
    /// Up to where the segment was known to be synced when the group was written.
    pub synced: u64,
    /// How many bytes its records take.
    pub body_bytes: u64,
}

impl GroupHeader {
    fn crc(self, salt: u64, offset: u64) -> u32 {
        let mut covered = [0; 32];
        let mut out = &mut covered[..];
        out.put_u64_le(salt);
        out.put_u64_le(offset);
        out.put_u64_le(self.synced);
        out.put_u64_le(self.body_bytes);
        crc32c::crc32c(&covered)
    }

    pub fn encode(self, salt: u64, offset: u64) -> [u8; GROUP_HEADER_BYTES] {
        let mut header = [0; GROUP_HEADER_BYTES];
        let mut out = &mut header[..];
        out.put_slice(&GROUP_MAGIC);
        out.put_u32_le(self.crc(salt, offset));
        out.put_u64_le(self.synced);
        out.put_u64_le(self.body_bytes);
        header
    }

    /// The group that begins at `offset`, where `bytes` begin; `None` if none does.
    pub fn decode(mut bytes: &[u8], salt: u64, offset: u64) -> Option<GroupHeader> {
        if bytes.len() < GROUP_HEADER_BYTES || !bytes.starts_with(&GROUP_MAGIC) {
            return None;
        }
        bytes.advance(GROUP_MAGIC.len());
        let crc = bytes.get_u32_le();
        let header = GroupHeader { synced: bytes.get_u64_le(), body_bytes: bytes.get_u64_le() };
        (header.crc(salt, offset) == crc).then_some(header)
    }

    /// The groups that begin at or behind `from` in a segment, whole or not.
    pub fn search(segment: &[u8], salt: u64, from: usize) -> impl Iterator<Item = (usize, GroupHeader)> {
        let mut at = from;
        std::iter::from_fn(move || {
            loop {
                at += segment.get(at..)?.iter().position(|byte| *byte == GROUP_MAGIC[0])?;
                let found = GroupHeader::decode(&segment[at..], salt, at as u64).map(|header| (at, header));
                at += 1;
                if found.is_some() {
                    return found;
                }
            }
        })
    }
}

/// The header of a record whose payload is `parts`, one behind the other, in a segment with this seed.
pub(super) fn record_header(seed: u32, kind: Kind, parts: [&[u8]; 2]) -> [u8; RECORD_HEADER_BYTES] {
    let mut header = [0; RECORD_HEADER_BYTES];
    header[4..8].copy_from_slice(&((parts[0].len() + parts[1].len()) as u32).to_le_bytes());
    header[8] = kind as u8;
    let crc =
        parts.iter().fold(crc32c::crc32c_append(seed, &header[4..]), |crc, part| crc32c::crc32c_append(crc, part));
    header[..4].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The record that `bytes` begin with, in a segment with this seed: its kind and payload; or what is wrong with it.
pub(super) fn decode_record(seed: u32, bytes: &[u8]) -> Result<(Kind, &[u8]), &'static str> {
    let Some(mut header) = bytes.get(..RECORD_HEADER_BYTES) else { return Err("a record ends inside its header") };
    let (crc, length, kind) = (header.get_u32_le(), header.get_u32_le() as usize, header.get_u8());
    let Some(covered) = bytes.get(4..RECORD_HEADER_BYTES + length) else {
        return Err("a record ends inside its payload");
    };
    if crc32c::crc32c_append(seed, covered) != crc {
        return Err("the checksum of a record does not match");
    }
    let kind = Kind::from_number(kind).ok_or("a record is of an unknown kind")?;
    Ok((kind, &bytes[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length]))
}

pub(super) fn encode_log_id(id: Option<LogId>) -> [u8; LOG_ID_BYTES] {
    let mut bytes = [0; LOG_ID_BYTES];
    if let Some(id) = id {
        let mut out = &mut bytes[..];
        out.put_u8(1);
        out.put_u64_le(id.leader_id.term);
        out.put_u64_le(id.index);
    }
    bytes
}

pub(super) fn encode_vote(vote: Option<Vote>) -> [u8; 18] {
    let mut bytes = [0; 18];
    if let Some(vote) = vote {
        let mut out = &mut bytes[..];
        out.put_u8(1);
        out.put_u64_le(vote.leader_id.term);
        out.put_u64_le(vote.leader_id.voted_for);
        out.put_u8(u8::from(vote.committed));
    }
    bytes
}

pub(super) fn decode_log_id(mut bytes: &[u8]) -> Result<Option<LogId>, &'static str> {
    if bytes.len() == LOG_ID_BYTES { Ok(take_log_id(&mut bytes)) } else { Err("a log id has the wrong length") }
}

pub(super) fn decode_vote(mut bytes: &[u8]) -> Result<Option<Vote>, &'static str> {
    if bytes.len() == 18 { Ok(take_vote(&mut bytes)) } else { Err("a vote has the wrong length") }
}

fn take_log_id(bytes: &mut &[u8]) -> Option<LogId> {
    let (flag, term, index) = (bytes.get_u8(), bytes.get_u64_le(), bytes.get_u64_le());
    (flag != 0).then(|| log_id(term, index))
}

fn take_vote(bytes: &mut &[u8]) -> Option<Vote> {
    let (flag, term, node, committed) = (bytes.get_u8(), bytes.get_u64_le(), bytes.get_u64_le(), bytes.get_u8());
    let vote = if committed != 0 { Vote::new_committed(term, node) } else { Vote::new(term, node) };
    (flag != 0).then_some(vote)
}

/// The name of a segment.
pub(super) fn segment_name(sequence: u64) -> String {
    format!("{sequence:012}.log")
}

/// What a segment is called until it is whole, and when it is no longer needed.
pub(super) fn unfinished_name(sequence: u64) -> String {
    format!("{sequence:012}.new")
}

/// Beside the segments: up to where the log was synced. Written after each sync and never synced itself, so after a power cut it
/// may be old, and never says more than what is on the disk. It tells what no segment can: that its last group was whole.
pub(super) const SYNCED_NAME: &str = "synced";
/// How long that file is.
pub(super) const SYNCED_BYTES: usize = 28;
const SYNCED_MAGIC: [u8; 8] = *b"TALONSYN";

/// What the file [`SYNCED_NAME`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Synced {
    /// The newest segment's sequence number.
    pub sequence: u64,
    /// Up to which byte it was synced.
    pub end: u64,
}

impl Synced {
    pub fn encode(self) -> [u8; SYNCED_BYTES] {
        let mut bytes = [0; SYNCED_BYTES];
        bytes[..8].copy_from_slice(&SYNCED_MAGIC);
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.end.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` if it is not whole.
    pub fn decode(mut bytes: &[u8]) -> Option<Synced> {
        let crc = crc32c::crc32c(bytes.get(..24)?);
        if bytes.len() != SYNCED_BYTES || bytes[..8] != SYNCED_MAGIC {
            return None;
        }
        bytes.advance(8);
        let synced = Synced { sequence: bytes.get_u64_le(), end: bytes.get_u64_le() };
        (bytes.get_u32_le() == crc).then_some(synced)
    }
}

/// The sequence number in a segment's name.
pub(super) fn sequence_of(name: &str) -> Option<u64> {
    name.strip_suffix(".log")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_and_any_flipped_bit_is_seen() {
        let marks = Marks {
            vote: Some(Vote::new_committed(5, 3)),
            committed: Some(log_id(4, 9)),
            purged: Some(log_id(2, 5)),
            first: 6,
            last: Some(log_id(5, 11)),
        };
        let header = SegmentHeader { version: FORMAT_VERSION, sequence: 7, salt: 99, previous_end: 1234, marks };
        let bytes = header.encode();
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(SegmentHeader::decode(&bytes).unwrap(), header);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(SegmentHeader::decode(&flipped), Err(HeaderFault::Damaged(_))), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(SegmentHeader::decode(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn a_group_is_only_found_where_it_was_written() {
        let group = GroupHeader { synced: 40, body_bytes: 17 };
        let mut segment = vec![0xA7; 300];
        segment[100..124].copy_from_slice(&group.encode(5, 100));
        segment[200..224].copy_from_slice(&group.encode(5, 100));
        assert_eq!(GroupHeader::search(&segment, 5, 0).collect::<Vec<_>>(), [(100, group)]);
        assert_eq!(GroupHeader::search(&segment, 5, 101).count(), 0);
        assert_eq!(GroupHeader::search(&segment, 6, 0).count(), 0);
    }

    #[test]
    fn a_synced_mark_survives_and_any_flipped_bit_is_seen() {
        let synced = Synced { sequence: 3, end: 4711 };
        let bytes = synced.encode();
        assert_eq!(Synced::decode(&bytes), Some(synced));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Synced::decode(&flipped), None, "bit {bit}");
        }
        assert!((0..bytes.len()).all(|length| Synced::decode(&bytes[..length]).is_none()));
    }

    #[test]
    fn a_record_survives_and_any_flipped_bit_is_seen() {
        let mut bytes = record_header(5, Kind::Vote, [b"ab", b"cde"]).to_vec();
        bytes.extend_from_slice(b"abcde");
        assert_eq!(decode_record(5, &bytes).unwrap(), (Kind::Vote, &b"abcde"[..]));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_record(5, &flipped).is_err(), "bit {bit}");
        }
        assert!(decode_record(0, &[0; 64]).is_err(), "zeros are no record");
    }
}

//! What Talon hands openraft in the places openraft leaves open, and the bytes of a log entry.
//!
//! Leaders: one a term (`leader_id_std`), as in the Raft paper. openraft's other flavour lets a node with a higher id
//! depose a leader within its term; that saves a round when candidates collide, which pre-vote and random timeouts make
//! rare, and would cost the plainest invariant that the simulations check ("one leader a term") and eight bytes an entry.
//!
//! The layout of an entry, version 1 (all integers little-endian): `u8` version, `u8` kind, `u64` term, `u64` index, then
//! the payload: nothing (blank), the bytes of a [`talon_core::Proposal`] (normal), or a JSON document (membership).

use std::fmt;

use bytes::{Buf, BufMut, Bytes};
use openraft::vote::leader_id_std;
use serde::{Deserialize, Serialize};

/// The version of an entry's layout that this build writes; it reads up to this one.
pub const ENTRY_FORMAT_VERSION: u8 = 1;

/// How many bytes of an entry come before its payload.
pub const ENTRY_HEAD_BYTES: usize = 18;

/// Talon's choice of openraft's types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = ProposalEntry;
    type R = Applied;
    type NodeId = u64;
    type Node = NodeAddress;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = openraft::TokioRuntime;
    type Responder<T>
        = openraft::impls::OneshotResponder<TypeConfig, T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// A node's number in the cluster; never given to another node.
pub type NodeId = u64;
/// Which leader appended an entry: its term.
pub type LeaderId = leader_id_std::CommittedLeaderId<u64>;
/// An entry's place in the log.
pub type LogId = openraft::LogId<LeaderId>;
/// Whom a node voted for, or follows.
pub type Vote = openraft::Vote<leader_id_std::LeaderId<u64, u64>>;
/// What an entry carries.
pub type Payload = openraft::EntryPayload<ProposalEntry, u64, NodeAddress>;
/// A log entry.
pub type Entry = openraft::Entry<LeaderId, Payload>;
/// Who votes and who learns.
pub type Membership = openraft::Membership<u64, NodeAddress>;
/// A membership and the log id that brought it.
pub type StoredMembership = openraft::StoredMembership<LeaderId, u64, NodeAddress>;
/// What a checkpoint says of itself.
pub type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, NodeAddress>;
/// A checkpoint, as openraft hands it around: `D` is what the state machine makes of it.
pub type Snapshot<D> = openraft::Snapshot<LeaderId, u64, NodeAddress, D>;
/// A failure of the log or the state, as openraft reports it.
pub type StorageError = openraft::StorageError<TypeConfig>;

/// The log id of `index` in `term`.
pub fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: LeaderId::new(term), index }
}

/// Where the other nodes and the clients find a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// The advertised host name or address.
    pub host: String,
    /// Where it speaks to its peers.
    pub raft_port: u16,
    /// Where it speaks RESP.
    pub resp_port: u16,
    /// Where it speaks gRPC.
    pub grpc_port: u16,
}

impl From<&talon_core::Member> for NodeAddress {
    fn from(member: &talon_core::Member) -> NodeAddress {
        NodeAddress {
            host: member.host.clone(),
            raft_port: member.raft_port,
            resp_port: member.resp_port,
            grpc_port: member.grpc_port,
        }
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} (raft {}, resp {}, grpc {})", self.host, self.raft_port, self.resp_port, self.grpc_port)
    }
}

/// What applying an entry answers openraft; the replies to the clients travel another way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The entry's index.
    pub index: u64,
}

/// A proposal as an entry carries it: its bytes, encoded once, and read when it is applied. (What the node that proposed it needs to
/// answer, it keeps itself; see `pending.rs`.) Cheap to clone. Prints no keys or values.
#[derive(Clone)]
pub struct ProposalEntry {
    bytes: Bytes,
}

impl ProposalEntry {
    /// From an encoded [`talon_core::Proposal`].
    pub fn from_bytes(bytes: Bytes) -> ProposalEntry {
        ProposalEntry { bytes }
    }

    /// The encoded proposal.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl PartialEq for ProposalEntry {
    fn eq(&self, other: &ProposalEntry) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for ProposalEntry {}

impl fmt::Display for ProposalEntry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "proposal of {} bytes", self.bytes.len())
    }
}

impl fmt::Debug for ProposalEntry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ProposalEntry({} bytes)", self.bytes.len())
    }
}

impl Serialize for ProposalEntry {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes)
    }
}

impl<'de> Deserialize<'de> for ProposalEntry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ProposalEntry, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(|bytes| ProposalEntry::from_bytes(bytes.into()))
    }
}

/// Bytes that are not an entry, or not one that this build can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// What kind of payload an entry has; its number is on disk and on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PayloadKind {
    /// Nothing: a new leader's first entry.
    Blank = 0,
    /// A proposal.
    Normal = 1,
    /// A membership.
    Membership = 2,
}

impl TryFrom<u8> for PayloadKind {
    type Error = DecodeError;

    fn try_from(number: u8) -> Result<PayloadKind, DecodeError> {
        match number {
            0 => Ok(PayloadKind::Blank),
            1 => Ok(PayloadKind::Normal),
            2 => Ok(PayloadKind::Membership),
            other => Err(DecodeError(format!("an entry has a payload of unknown kind {other}"))),
        }
    }
}

/// A payload's kind and bytes. Does not copy a proposal.
pub fn encode_payload(payload: &Payload) -> (PayloadKind, Bytes) {
    match payload {
        Payload::Blank => (PayloadKind::Blank, Bytes::new()),
        Payload::Normal(proposal) => (PayloadKind::Normal, proposal.bytes().clone()),
        Payload::Membership(membership) => {
            let document = serde_json::to_vec(membership).expect("a membership is maps of numbers and strings");
            (PayloadKind::Membership, document.into())
        }
    }
}

/// Reads what [`encode_payload`] gave; does not copy a proposal, nor look into it.
///
/// # Errors
/// If the bytes are not a payload of this kind.
pub fn decode_payload(kind: PayloadKind, bytes: Bytes) -> Result<Payload, DecodeError> {
    match kind {
        PayloadKind::Blank if bytes.is_empty() => Ok(Payload::Blank),
        PayloadKind::Blank => Err(DecodeError(format!("a blank entry carries {} bytes", bytes.len()))),
        PayloadKind::Normal => Ok(Payload::Normal(ProposalEntry::from_bytes(bytes))),
        PayloadKind::Membership => serde_json::from_slice(&bytes)
            .map(Payload::Membership)
            .map_err(|error| DecodeError(format!("a membership entry cannot be read: {error}"))),
    }
}

/// The first [`ENTRY_HEAD_BYTES`] of an entry, and the payload that follows them.
pub fn encode_entry(entry: &Entry) -> ([u8; ENTRY_HEAD_BYTES], Bytes) {
    let (kind, payload) = encode_payload(&entry.payload);
    let mut head = [0; ENTRY_HEAD_BYTES];
    let mut out = &mut head[..];
    out.put_u8(ENTRY_FORMAT_VERSION);
    out.put_u8(kind as u8);
    out.put_u64_le(entry.log_id.leader_id.term);
    out.put_u64_le(entry.log_id.index);
    (head, payload)
}

/// Reads the head of an entry: its place and the kind of its payload. `bytes` may hold more.
///
/// # Errors
/// If it is too short, of a newer version or of an unknown kind.
pub fn decode_entry_head(mut bytes: &[u8]) -> Result<(LogId, PayloadKind), DecodeError> {
    if bytes.len() < ENTRY_HEAD_BYTES {
        return Err(DecodeError(format!("an entry of {} bytes has no head", bytes.len())));
    }
    let version = bytes.get_u8();
    if version > ENTRY_FORMAT_VERSION {
        return Err(DecodeError(format!(
            "an entry has format version {version}; this build reads up to {ENTRY_FORMAT_VERSION}"
        )));
    }
    let kind = PayloadKind::try_from(bytes.get_u8())?;
    let term = bytes.get_u64_le();
    Ok((log_id(term, bytes.get_u64_le()), kind))
}

/// Reads an entry: [`encode_entry`]'s head and payload, one behind the other. The payload is a slice of `bytes`.
///
/// # Errors
/// If the bytes are not an entry that this build can read.
pub fn decode_entry(bytes: &Bytes) -> Result<Entry, DecodeError> {
    let (log_id, kind) = decode_entry_head(bytes)?;
    Ok(Entry { log_id, payload: decode_payload(kind, bytes.slice(ENTRY_HEAD_BYTES..))? })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn round_trip(entry: Entry) {
        let (head, payload) = encode_entry(&entry);
        let bytes = Bytes::from([&head[..], &payload].concat());
        assert_eq!(decode_entry_head(&bytes).unwrap().0, entry.log_id);
        assert_eq!(decode_entry(&bytes).unwrap(), entry);
    }

    #[test]
    fn entries_of_every_kind_survive() {
        let address = NodeAddress { host: "a.example".into(), raft_port: 8380, resp_port: 6380, grpc_port: 7380 };
        let nodes = BTreeMap::from([(1, address.clone()), (2, address.clone()), (9, address)]);
        let joint = vec![BTreeSet::from([1, 2]), BTreeSet::from([2])];
        round_trip(Entry { log_id: log_id(3, 4), payload: Payload::Blank });
        round_trip(Entry {
            log_id: log_id(u64::MAX, 5),
            payload: Payload::Membership(Membership::new(joint, nodes).unwrap()),
        });
        let proposal = talon_core::Proposal { stamp_ms: 17, seed: 4, calls: Vec::new() };
        round_trip(Entry {
            log_id: log_id(1, u64::MAX),
            payload: Payload::Normal(ProposalEntry::from_bytes(proposal.encode())),
        });
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        let (mut head, _) = encode_entry(&Entry { log_id: log_id(1, 1), payload: Payload::Blank });
        assert!(decode_entry(&Bytes::copy_from_slice(&head[..17])).is_err());
        assert!(decode_entry(&Bytes::from([&head[..], b"x"].concat())).is_err(), "a blank entry with a payload");
        head[1] = 7;
        assert!(decode_entry(&Bytes::copy_from_slice(&head)).unwrap_err().0.contains("unknown kind 7"));
        head[0] = ENTRY_FORMAT_VERSION + 1;
        assert!(decode_entry(&Bytes::copy_from_slice(&head)).unwrap_err().0.contains("reads up to 1"));
    }
}

//! Between openraft's types and the messages on the wire.

use openraft::vote::RaftLeaderId;
use talon_proto::v1;

use crate::types::{DecodeError, Entry, LogId, PayloadKind, Vote, decode_payload, encode_payload, log_id};

pub(super) fn vote_to_wire(vote: &Vote) -> v1::Vote {
    v1::Vote { term: vote.leader_id.term, node_id: vote.leader_id.voted_for, committed: vote.committed }
}

pub(super) fn vote_from_wire(vote: Option<v1::Vote>) -> Result<Vote, DecodeError> {
    let vote = vote.ok_or_else(|| DecodeError("a message without a vote".into()))?;
    Ok(Vote { leader_id: RaftLeaderId::new(vote.term, vote.node_id), committed: vote.committed })
}

pub(super) fn log_id_to_wire(log_id: &LogId) -> v1::LogId {
    v1::LogId { term: log_id.leader_id.term, index: log_id.index }
}

pub(super) fn log_id_from_wire(position: v1::LogId) -> LogId {
    log_id(position.term, position.index)
}

pub(super) fn entry_to_wire(entry: &Entry) -> v1::Entry {
    let (kind, payload) = encode_payload(&entry.payload);
    v1::Entry { log_id: Some(log_id_to_wire(&entry.log_id)), kind: kind as u32, payload }
}

pub(super) fn entry_from_wire(entry: v1::Entry) -> Result<Entry, DecodeError> {
    let position = entry.log_id.ok_or_else(|| DecodeError("an entry without a log id".into()))?;
    let kind = u8::try_from(entry.kind).map_err(|_| DecodeError(format!("payload kind {}", entry.kind)))?;
    let payload = decode_payload(PayloadKind::try_from(kind)?, entry.payload)?;
    Ok(Entry { log_id: log_id_from_wire(position), payload })
}

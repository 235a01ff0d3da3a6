//! What the tests of the log share.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::OneshotReceiverOf;
use talon_raft::environment::Workers;
use talon_raft::log::{DiskFiles, LogError, LogSettings, LogStore, MemoryFiles};
use talon_raft::types::{Entry, LogId, Payload, ProposalEntry, TypeConfig, Vote, log_id};

/// Small segments, so that a test has many.
pub const SMALL: LogSettings =
    LogSettings { segment_bytes: 4096, memory_bytes_max: 2000, read_bytes_max: 1500, unsynced_bytes_max: 1 << 20 };

/// An entry whose payload says who it is, and is not compressible to a pattern that a neighbour has.
pub fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let mut state = term.wrapping_mul(1_000_003) ^ index;
    let payload: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(bytes)
    .collect();
    Entry { log_id: log_id(term, index), payload: Payload::Normal(ProposalEntry::from_bytes(Bytes::from(payload))) }
}

pub fn entries(term: u64, indexes: std::ops::RangeInclusive<u64>, bytes: usize) -> Vec<Entry> {
    indexes.map(|index| entry(term, index, bytes)).collect()
}

pub fn open(files: &MemoryFiles, settings: LogSettings) -> Result<LogStore, LogError> {
    LogStore::open(Arc::new(files.clone()), settings, Workers::Threads)
}

pub fn open_on_disk(folder: &Path, settings: LogSettings) -> Result<LogStore, LogError> {
    let files = DiskFiles::open(folder).expect("the folder can be used");
    LogStore::open(Arc::new(files), settings, Workers::Threads)
}

/// Hears when what was appended is durable.
pub type Flushed = OneshotReceiverOf<TypeConfig, Result<(), io::Error>>;

pub async fn append_later(store: &LogStore, entries: Vec<Entry>) -> Result<Flushed, io::Error> {
    let (sender, receiver) = TypeConfig::oneshot();
    store.clone().append(entries, IOFlushed::signal(sender)).await?;
    Ok(receiver)
}

pub async fn append(store: &LogStore, entries: Vec<Entry>) -> Result<(), io::Error> {
    append_later(store, entries).await?.await.expect("the log always answers")
}

/// Everything a log shows to the outside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    pub last: Option<LogId>,
    pub entries: Vec<Entry>,
}

pub async fn contents(store: &LogStore) -> Contents {
    let mut store = store.clone();
    let state = store.get_log_state().await.unwrap();
    let mut reader = store.get_log_reader().await;
    Contents {
        vote: reader.read_vote().await.unwrap(),
        committed: store.read_committed().await.unwrap(),
        purged: state.last_purged_log_id,
        last: state.last_log_id,
        entries: reader.try_get_log_entries(..).await.unwrap(),
    }
}

pub fn segment(sequence: u64) -> String {
    format!("{sequence:012}.log")
}

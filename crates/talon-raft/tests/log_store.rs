//! The log through restarts, on the real disk and in memory: nothing is lost, memory stays bounded, purged files go, and
//! a log that is damaged is refused.

mod log_support;

use std::path::Path;

use futures::StreamExt;
use log_support::{SMALL, append, append_later, contents, entries, entry, open, open_on_disk, segment};
use openraft::storage::{RaftLogReader, RaftLogStorage};
use talon_raft::log::{LogError, LogSettings, MemoryFiles, Survivors};
use talon_raft::types::{Entry, Membership, NodeAddress, Payload, Vote, log_id};

fn files_in(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn everything_is_there_after_a_restart_closed_or_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = Default::default();
    for round in 1..=4u64 {
        let mut store = open_on_disk(directory.path(), SMALL).unwrap();
        assert_eq!(contents(&store).await, expected, "round {round}");
        let first = round * 100;
        append(&store, entries(round, if round == 1 { 1 } else { first }..=first + 99, 150)).await.unwrap();
        store.save_vote(&Vote::new_committed(round, 2)).await.unwrap();
        store.save_committed(Some(log_id(round, first + 90))).await.unwrap();
        expected = contents(&store).await;
        assert_eq!(expected.vote, Some(Vote::new_committed(round, 2)));
        assert_eq!(expected.committed, Some(log_id(round, first + 90)));
        if round % 2 == 0 {
            store.close().unwrap();
            assert!(append_later(&store, entries(9, 1..=1, 1)).await.is_err(), "a closed log takes nothing");
        }
    }
    assert!(files_in(directory.path()).len() > 10, "the segments are small");
}

#[tokio::test]
async fn truncated_entries_stay_away_and_new_ones_take_their_place() {
    let files = MemoryFiles::new();
    let mut store = open(&files, SMALL).unwrap();
    let old = append_later(&store, entries(1, 1..=40, 300)).await.unwrap();
    // The truncation comes while what it truncates may still be waiting for the disk.
    store.truncate_after(Some(log_id(1, 25))).await.unwrap();
    old.await.unwrap().unwrap();
    append(&store, entries(2, 26..=30, 300)).await.unwrap();
    let expected = [entries(1, 1..=25, 300), entries(2, 26..=30, 300)].concat();
    assert_eq!(contents(&store).await.entries, expected);
    drop(store);
    let store = open(&files.restart(Survivors::None), SMALL).unwrap();
    assert_eq!(contents(&store).await.entries, expected);
    assert_eq!(contents(&store).await.last, Some(log_id(2, 30)));
}

#[tokio::test]
async fn purging_deletes_files_and_survives() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open_on_disk(directory.path(), SMALL).unwrap();
    append(&store, entries(1, 1..=100, 300)).await.unwrap();
    let segments = || files_in(directory.path()).iter().filter(|name| name.ends_with(".log")).count();
    let before = segments();
    let bytes = store.entry_bytes();
    assert_eq!(bytes, 100 * (300 + 27));
    assert_eq!(store.entry_bytes_from(91), 10 * (300 + 27));
    store.save_vote(&Vote::new(7, 1)).await.unwrap();
    store.purge(log_id(1, 80)).await.unwrap();
    assert_eq!(store.first_and_last(), Some((81, 100)));
    assert_eq!(store.entry_bytes(), bytes / 5);
    let expected = contents(&store).await;
    assert_eq!(expected.entries, entries(1, 81..=100, 300));
    store.close().unwrap();
    let after = segments();
    assert!(after * 3 < before, "{before} files before, {after} after");
    let store = open_on_disk(directory.path(), SMALL).unwrap();
    assert_eq!(contents(&store).await, expected);
    assert_eq!(expected.vote, Some(Vote::new(7, 1)), "the vote was carried out of the deleted files");
    // Nothing of a long log stays: as after a checkpoint has been installed.
    store.clone().purge(log_id(3, 500)).await.unwrap();
    append(&store, entries(3, 501..=501, 10)).await.unwrap();
    store.close().unwrap();
    let store = open_on_disk(directory.path(), SMALL).unwrap();
    assert_eq!(store.first_and_last(), Some((501, 501)));
    assert_eq!(contents(&store).await.purged, Some(log_id(3, 500)));
}

#[tokio::test]
async fn memory_is_bounded_and_the_rest_is_read_from_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let settings = LogSettings { memory_bytes_max: 20_000, read_bytes_max: 5_000, ..SMALL };
    let mut store = open_on_disk(directory.path(), settings).unwrap();
    let written = entries(1, 1..=200, 1000);
    append(&store, written.clone()).await.unwrap();
    assert!(store.metrics().memory_bytes <= 20_000, "{:?}", store.metrics());
    let mut reader = store.get_log_reader().await;
    assert_eq!(reader.try_get_log_entries(..).await.unwrap(), written);
    assert_eq!(reader.try_get_log_entries(150..=190).await.unwrap(), written[149..190]);
    // A bounded read never returns nothing, and goes on where it stopped.
    let (mut next, mut reads) = (1, 0);
    while next <= 200 {
        let some = reader.limited_get_log_entries(next, 201).await.unwrap();
        assert_eq!(some[..], written[next as usize - 1..next as usize - 1 + some.len()]);
        assert!(some.len() == 4, "four of them are the most that stay within 5,000 bytes");
        next += some.len() as u64;
        reads += 1;
    }
    assert_eq!(reads, 50);
    let streamed: Vec<Entry> = reader.entries_stream(7..=195).await.map(|item| item.unwrap()).collect().await;
    assert_eq!(streamed, written[6..195]);
    // A follower's next entry that has been purged is not answered with a later one.
    store.purge(log_id(1, 50)).await.unwrap();
    assert_eq!(reader.limited_get_log_entries(50, 60).await.unwrap(), []);
    assert_eq!(reader.limited_get_log_entries(51, 60).await.unwrap().len(), 4);
}

#[tokio::test]
async fn appends_wait_for_the_disk_when_too_much_is_under_way() {
    let files = MemoryFiles::new();
    let store = open(&files, LogSettings { unsynced_bytes_max: 2_000, ..SMALL }).unwrap();
    let mut waiting = Vec::new();
    for index in 1..=200 {
        waiting.push(append_later(&store, entries(1, index..=index, 900)).await.unwrap());
        assert!(store.metrics().unsynced_bytes <= 2_000);
    }
    // Larger than what may wait: it waits until nothing else does.
    append(&store, entries(1, 201..=201, 9_000)).await.unwrap();
    for flushed in waiting {
        flushed.await.unwrap().unwrap();
    }
    assert_eq!(store.first_and_last(), Some((1, 201)));
}

#[tokio::test]
async fn one_sync_covers_what_waits() {
    let files = MemoryFiles::new();
    let store = open(&files, LogSettings { segment_bytes: 1 << 20, ..SMALL }).unwrap();
    let before = files.syncs();
    // On this one thread the appends are all handed in before any of them is waited for.
    let mut waiting = Vec::new();
    for index in 1..=500 {
        waiting.push(append_later(&store, entries(1, index..=index, 100)).await.unwrap());
    }
    for flushed in waiting {
        flushed.await.unwrap().unwrap();
    }
    let metrics = store.metrics();
    assert_eq!(metrics.syncs, files.syncs() - before);
    assert!(metrics.syncs < 400, "{metrics:?}");
}

#[tokio::test]
async fn an_entry_of_64_mb_and_a_membership() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_on_disk(directory.path(), LogSettings::default()).unwrap();
    let nodes =
        std::collections::BTreeMap::from([(4, NodeAddress { host: "node-4".into(), ..NodeAddress::default() })]);
    let membership = Payload::Membership(Membership::new(vec![[4].into()], nodes).unwrap());
    let written = vec![
        entry(1, 1, 10),
        entry(1, 2, 64 << 20),
        Entry { log_id: log_id(1, 3), payload: membership },
        entry(1, 4, 10),
    ];
    append(&store, written.clone()).await.unwrap();
    assert_eq!(contents(&store).await.entries, written);
    let mut reader = store.clone().get_log_reader().await;
    assert_eq!(reader.limited_get_log_entries(2, 5).await.unwrap(), written[1..2], "it travels alone");
    drop(reader);
    drop(store);
    let store = open_on_disk(directory.path(), LogSettings::default()).unwrap();
    assert_eq!(contents(&store).await.entries, written);
}

#[tokio::test]
async fn an_append_that_leaves_a_hole_is_refused() {
    let store = open(&MemoryFiles::new(), SMALL).unwrap();
    append(&store, entries(1, 1..=3, 10)).await.unwrap();
    assert!(append(&store, entries(1, 5..=6, 10)).await.is_err());
    assert!(append(&store, entries(1, 3..=4, 10)).await.is_err());
    append(&store, entries(1, 4..=4, 10)).await.unwrap();
    assert_eq!(store.first_and_last(), Some((1, 4)));
}

/// A log of several segments, closed.
async fn closed_log() -> MemoryFiles {
    let files = MemoryFiles::new();
    let store = open(&files, SMALL).unwrap();
    for index in 1..=20 {
        append(&store, entries(1, index..=index, 500)).await.unwrap();
    }
    store.close().unwrap();
    files
}

fn open_error(files: &MemoryFiles) -> LogError {
    open(files, SMALL).err().expect("the log is refused")
}

#[tokio::test]
async fn a_flipped_bit_is_damage_wherever_it_is_and_named() {
    let files = closed_log().await;
    let last = (1..).take_while(|sequence| files.bytes(&segment(*sequence)).is_some()).last().unwrap();
    assert!(last >= 3);
    for sequence in [1, 2, last] {
        let name = segment(sequence);
        let bytes = files.bytes(&name).unwrap();
        // The newest segment ends in zeros, and before them in the group that closing left: 24 bytes.
        let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let covered = if sequence == last {
            bytes[..written].windows(4).rposition(|at| at == b"\xA7TGr").unwrap()
        } else {
            bytes.len()
        };
        for at in (0..covered).step_by(7) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let damaged = files.restart(Survivors::None);
            damaged.put(&name, flipped);
            match open_error(&damaged) {
                LogError::Damaged { file, offset, .. } => {
                    assert_eq!(file, format!("memory:{name}"));
                    assert!(offset as usize <= at, "byte {at} is bad, {offset} was named");
                }
                other => panic!("byte {at} of segment {sequence}: {other}"),
            }
        }
    }
}

#[tokio::test]
async fn a_segment_that_is_missing_is_noticed() {
    for missing in [1, 2] {
        let files = closed_log().await;
        talon_raft::log::Files::delete(&files, &segment(missing)).unwrap();
        let error = open_error(&files);
        assert!(matches!(error, LogError::Missing { .. }), "{error}");
        assert!(error.to_string().contains("the entries 1 to"), "{error}");
    }
}

#[tokio::test]
async fn a_purged_segment_that_came_back_is_deleted() {
    let files = closed_log().await;
    let first = files.bytes(&segment(1)).unwrap();
    let mut store = open(&files, SMALL).unwrap();
    store.purge(log_id(1, 15)).await.unwrap();
    let expected = contents(&store).await;
    store.close().unwrap();
    assert!(files.bytes(&segment(1)).is_none() && files.bytes(&segment(2)).is_none());
    // Of two deletions, a power cut undid the first.
    files.put(&segment(1), first);
    let store = open(&files, SMALL).unwrap();
    assert_eq!(contents(&store).await, expected);
    assert!(files.bytes(&segment(1)).is_none());
}

#[tokio::test]
async fn segments_are_written_again_and_what_they_held_is_not_found() {
    let mut written_again = 0;
    // A purge is durable with what is appended after it.
    for last in (45..400).step_by(3).filter(|last| last % 40 > 0) {
        let files = MemoryFiles::new();
        let mut store = open(&files, SMALL).unwrap();
        for index in 1..=last {
            append(&store, entries(1, index..=index, 300)).await.unwrap();
            if index % 40 == 0 {
                store.purge(log_id(1, index - 3)).await.unwrap();
            }
        }
        let names = talon_raft::log::Files::list(&files).unwrap();
        assert!(names.iter().filter(|name| name.ends_with(".new")).count() <= 4, "{names:?}");
        // What is appended now is torn: of what the file held before, records of the same length come to lie behind its beginning.
        files.cut_after(last % 7);
        let torn = append(&store, entries(1, last + 1..=last + 5, 300)).await;
        let newest = names.iter().rfind(|name| name.ends_with(".log")).unwrap();
        let bytes = files.bytes(newest).unwrap();
        let purged = entries(1, 1..=last / 40 * 40 - 3, 300);
        let is_there = |old: &[u8]| bytes.windows(old.len()).any(|window| window == old);
        let holds = |entry: &Entry| matches!(&entry.payload, Payload::Normal(old) if is_there(old.bytes()));
        written_again += u32::from(purged.iter().rev().take(90).any(holds));
        for seed in 0..8 {
            let survivors = [Survivors::All, Survivors::None, Survivors::Sectors(seed)][last as usize % 3];
            let store = open(&files.restart(survivors), SMALL).unwrap();
            let found = contents(&store).await.entries;
            let end = last / 40 * 40 - 3 + found.len() as u64;
            assert!(end >= last && (torn.is_err() || end == last + 5), "{end} of {last}, {survivors:?}");
            assert_eq!(found, entries(1, last / 40 * 40 - 2..=end, 300), "{survivors:?}");
        }
    }
    assert!(written_again > 25, "{written_again}");
}

#[tokio::test]
async fn a_newer_format_is_refused_by_its_number() {
    let files = closed_log().await;
    let mut bytes = files.bytes(&segment(1)).unwrap();
    let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    bytes[16..20].copy_from_slice(&9u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[16..16 + length]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    files.put(&segment(1), bytes);
    let error = open_error(&files);
    assert!(matches!(error, LogError::Newer { version: 9, version_max: 2, .. }), "{error}");
    assert!(error.to_string().contains("000000000001.log"));
}

#[tokio::test]
async fn a_value_that_looks_like_a_group_is_only_a_value() {
    // Whatever bytes of the log a client stores in it: they are not where their checksum says they are.
    let files = MemoryFiles::new();
    let store = open(&files, LogSettings { segment_bytes: 64 << 10, ..SMALL }).unwrap();
    for index in 1..=20 {
        append(&store, entries(1, index..=index, 100)).await.unwrap();
    }
    let copied = files.bytes(&segment(1)).unwrap()[..5000].to_vec();
    let mut tricky = entry(1, 21, 0);
    tricky.payload = Payload::Normal(talon_raft::types::ProposalEntry::from_bytes(copied.into()));
    files.cut_after(1);
    assert!(append(&store, vec![tricky]).await.is_err());
    for survived in (0..5000).step_by(13) {
        let store = open(&files.restart(Survivors::Bytes(survived)), SMALL).unwrap();
        assert!(store.first_and_last().unwrap().1 >= 20);
    }
}

/// A log of a process that was killed: the machine goes on, and what the process wrote is there.
async fn killed_log() -> MemoryFiles {
    let files = MemoryFiles::new();
    let store = open(&files, LogSettings { segment_bytes: 64 << 10, ..SMALL }).unwrap();
    for index in 1..=5 {
        append(&store, entries(1, index..=index, 100)).await.unwrap();
    }
    files.restart(Survivors::All)
}

#[tokio::test]
async fn a_synced_last_group_that_goes_bad_is_damage_not_a_torn_write() {
    let files = killed_log().await;
    let bytes = files.bytes(&segment(1)).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let last_group = bytes[..written].windows(4).rposition(|at| at == b"\xA7TGr").unwrap();
    let mut harmed = vec![("cut short".to_owned(), bytes[..last_group].to_vec())];
    for at in (last_group..written).step_by(3) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        harmed.push((format!("byte {at} flipped"), flipped));
        let mut zeroed = bytes.clone();
        zeroed[at..].fill(0);
        harmed.push((format!("zeros from byte {at} on"), zeroed));
    }
    for (what, bytes) in harmed {
        let damaged = files.restart(Survivors::All);
        damaged.put(&segment(1), bytes);
        let error = open_error(&damaged);
        assert!(matches!(&error, LogError::Damaged { file, .. } if file.ends_with(&segment(1))), "{what}: {error}");
    }
    let gone = files.restart(Survivors::All);
    talon_raft::log::Files::delete(&gone, &segment(1)).unwrap();
    let error = open_error(&gone);
    assert!(error.to_string().contains(&segment(1)), "{error}");
}

#[tokio::test]
async fn without_word_of_what_was_synced_a_whole_log_opens() {
    let files = killed_log().await;
    let whole = contents(&open(&files.restart(Survivors::None), SMALL).unwrap()).await;
    for harm in [None, Some(Vec::new()), Some(vec![0xFF; 28]), Some(vec![7; 9])] {
        let after = files.restart(Survivors::None);
        match harm {
            Some(bytes) => after.put("synced", bytes),
            None => talon_raft::log::Files::delete(&after, "synced").unwrap(),
        }
        assert_eq!(contents(&open(&after, SMALL).unwrap()).await, whole);
    }
}

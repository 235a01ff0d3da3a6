//! Power cuts: what was reported as durable is there afterwards, and of the rest a prefix.

mod log_support;

use log_support::{Contents, SMALL, append, append_later, contents, entries, entry, open};
use openraft::storage::RaftLogStorage;
use proptest::prelude::*;
use talon_raft::log::{LogSettings, LogStore, MemoryFiles, Survivors};
use talon_raft::types::{Entry, LogId, Vote, log_id};

/// Segments with room for all that these tests write.
const ROOMY: LogSettings = LogSettings { segment_bytes: 64 << 10, ..SMALL };

/// How long a group of these entries is on disk.
fn group_bytes(entries: &[Entry], payload_bytes: usize) -> usize {
    24 + entries.len() * (9 + 18 + payload_bytes)
}

/// A log with entries 1 to 3 that are synced, and 4 to 6 whose sync the power cut came before.
async fn cut_before_the_sync() -> (MemoryFiles, Vec<Entry>, Vec<Entry>) {
    let files = MemoryFiles::new();
    let store = open(&files, ROOMY).unwrap();
    let (synced, unsynced) = (entries(1, 1..=3, 40), entries(1, 4..=6, 40));
    append(&store, synced.clone()).await.unwrap();
    files.cut_after(1);
    let error = append(&store, unsynced.clone()).await.unwrap_err();
    assert!(error.to_string().contains("000000000001.log"), "{error}");
    (files, synced, unsynced)
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_off_and_written_anew() {
    let (files, synced, unsynced) = cut_before_the_sync().await;
    let whole = group_bytes(&unsynced, 40);
    for survived in 0..=whole {
        let after = files.restart(Survivors::Bytes(survived));
        let store = open(&after, SMALL).unwrap();
        let mut expected = synced.clone();
        if survived == whole {
            expected.extend(unsynced.clone());
        }
        assert_eq!(contents(&store).await.entries, expected, "{survived} bytes survived");
        // What is written next must not be mixed up with what was cut off, whatever its length.
        let next = entry(2, expected.len() as u64 + 1, survived);
        append(&store, vec![next.clone()]).await.unwrap();
        expected.push(next);
        drop(store);
        let store = open(&after.restart(Survivors::None), SMALL).unwrap();
        assert_eq!(contents(&store).await.entries, expected, "{survived} bytes survived, then one more entry");
    }
}

#[tokio::test]
async fn a_tail_that_was_never_synced_may_be_lost() {
    let (files, synced, _) = cut_before_the_sync().await;
    let store = open(&files.restart(Survivors::None), SMALL).unwrap();
    assert_eq!(contents(&store).await.entries, synced);
}

#[tokio::test]
async fn what_a_killed_process_left_is_made_durable_before_it_counts() {
    let (files, synced, unsynced) = cut_before_the_sync().await;
    let killed = files.restart(Survivors::All);
    // `restart` takes what survived for synced; lay it down as a page cache would have it.
    let cached = MemoryFiles::new();
    let name = log_support::segment(1);
    cached.put(&name, files.restart(Survivors::None).bytes(&name).unwrap());
    let file = talon_raft::log::Files::open(&cached, &name).unwrap();
    file.write_at(0, &killed.bytes(&name).unwrap()).unwrap();
    let expected = [synced, unsynced].concat();
    let store = open(&cached, SMALL).unwrap();
    assert_eq!(contents(&store).await.entries, expected);
    let store = open(&cached.restart(Survivors::None), SMALL).unwrap();
    assert_eq!(contents(&store).await.entries, expected);
}

#[tokio::test]
async fn what_a_failed_sync_left_in_the_page_cache_is_written_again() {
    let files = MemoryFiles::new();
    let store = open(&files, ROOMY).unwrap();
    append(&store, entries(1, 1..=3, 40)).await.unwrap();
    files.fail_next_sync();
    append(&store, entries(1, 4..=6, 40)).await.unwrap_err();
    drop(store);
    let store = open(&files, ROOMY).unwrap();
    let found = contents(&store).await.entries;
    assert_eq!(found, entries(1, 1..=6, 40), "the page cache has them");
    let store = open(&files.restart(Survivors::None), ROOMY).unwrap();
    assert_eq!(contents(&store).await.entries, found);
}

#[tokio::test]
async fn what_was_behind_a_torn_write_never_comes_back() {
    let files = MemoryFiles::new();
    let store = open(&files, SMALL).unwrap();
    append(&store, entries(1, 1..=1, 40)).await.unwrap();
    // Two groups under one sync, of which only the second one reached the disk.
    let (first, second) = (entry(1, 2, 900), entry(1, 3, 900));
    files.cut_after(2);
    append(&store, vec![first.clone(), second]).await.unwrap_err();
    let name = log_support::segment(1);
    let before = files.restart(Survivors::None).bytes(&name).unwrap();
    let mut torn = files.restart(Survivors::All).bytes(&name).unwrap();
    let at = torn.iter().zip(&before).position(|(torn, before)| torn != before).unwrap();
    torn[at + 100] ^= 1;
    let files = MemoryFiles::new();
    files.put(&name, torn);
    let store = open(&files, SMALL).unwrap();
    assert_eq!(contents(&store).await.entries, entries(1, 1..=1, 40));
    // Exactly as long as what it takes the place of, so that the old second group would follow it.
    append(&store, vec![entry(2, 2, 900)]).await.unwrap();
    let store = open(&files.restart(Survivors::None), SMALL).unwrap();
    assert_eq!(contents(&store).await.entries, [entries(1, 1..=1, 40), vec![entry(2, 2, 900)]].concat());
}

#[tokio::test]
async fn nothing_works_after_a_failure() {
    let files = MemoryFiles::new();
    let store = open(&files, SMALL).unwrap();
    append(&store, entries(1, 1..=1, 10)).await.unwrap();
    files.fill();
    let error = append(&store, entries(1, 2..=2, 10)).await.unwrap_err();
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(append_later(&store, entries(1, 3..=3, 10)).await.is_err());
    assert!(store.clone().save_vote(&Vote::new(1, 1)).await.is_err());
    assert!(store.clone().get_log_state().await.is_err());
    assert!(store.failure().is_some() && store.close().is_err());
}

#[tokio::test]
async fn commit_marks_cost_no_sync_and_come_along() {
    let files = MemoryFiles::new();
    let mut store = open(&files, SMALL).unwrap();
    append(&store, entries(1, 1..=2, 10)).await.unwrap();
    let syncs = files.syncs();
    store.save_committed(Some(log_id(1, 2))).await.unwrap();
    // Longer than the writer waits for company.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(files.syncs(), syncs);
    let killed = open(&files.restart(Survivors::All), SMALL).unwrap();
    assert_eq!(contents(&killed).await.committed, Some(log_id(1, 2)));
    let files = files.restart(Survivors::None);
    let mut store = open(&files, SMALL).unwrap();
    assert_eq!(contents(&store).await.committed, None);
    store.save_committed(Some(log_id(1, 1))).await.unwrap();
    append(&store, entries(1, 3..=3, 10)).await.unwrap();
    let store = open(&files.restart(Survivors::None), SMALL).unwrap();
    assert_eq!(contents(&store).await.committed, Some(log_id(1, 1)));
}

/// One step of the random test. Positions are relative, so that each makes sense wherever the log stands.
#[derive(Clone, Debug)]
enum Step {
    Append { sizes: Vec<usize>, wait: bool },
    Vote,
    Committed(u64),
    Truncate(u64),
    Purge(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![8 => 0..200usize, 3 => 200..1500usize, 1 => 4000..9000usize];
    let step = prop_oneof![
        8 => (prop::collection::vec(size, 1..6), any::<bool>()).prop_map(|(sizes, wait)| Step::Append { sizes, wait }),
        1 => Just(Step::Vote),
        2 => (0..6u64).prop_map(Step::Committed),
        1 => (0..12u64).prop_map(Step::Truncate),
        1 => (1..20u64).prop_map(Step::Purge),
    ];
    prop::collection::vec(step, 1..30)
}

fn survivors() -> impl Strategy<Value = Survivors> {
    prop_oneof![
        1 => Just(Survivors::None),
        1 => Just(Survivors::All),
        2 => (0..5000usize).prop_map(Survivors::Bytes),
        4 => any::<u64>().prop_map(Survivors::Sectors),
    ]
}

impl Contents {
    fn end(&self) -> u64 {
        self.last.map_or(1, |last| last.index + 1)
    }

    fn append(&mut self, entry: Entry) {
        self.last = Some(entry.log_id);
        self.entries.push(entry);
    }

    fn truncate(&mut self, after: Option<LogId>) {
        let keep = after.map_or(0, |after| after.index + 1);
        self.entries.retain(|entry| entry.log_id.index < keep);
        self.last = self.entries.last().map(|entry| entry.log_id).or(self.purged);
    }

    fn purge(&mut self, upto: LogId) {
        self.entries.retain(|entry| entry.log_id.index > upto.index);
        self.purged = Some(upto);
        self.last = self.last.filter(|last| last.index > upto.index).or(Some(upto));
    }
}

/// Every state the log went through since it was opened, and how many of them it has promised never to fall behind.
struct History {
    states: Vec<Contents>,
    durable: usize,
    term: u64,
}

impl History {
    fn now(&self) -> Contents {
        self.states.last().unwrap().clone()
    }

    fn add(&mut self, change: impl FnOnce(&mut Contents)) {
        let mut next = self.now();
        change(&mut next);
        self.states.push(next);
    }

    fn all_durable(&mut self) {
        self.durable = self.states.len() - 1;
    }

    /// Does the step; an error if the power went.
    async fn step(
        &mut self,
        store: &mut LogStore,
        step: &Step,
        waiting: &mut Vec<(usize, log_support::Flushed)>,
    ) -> Result<(), std::io::Error> {
        let now = self.now();
        match step {
            Step::Append { sizes, wait } => {
                let new: Vec<Entry> =
                    sizes.iter().zip(now.end()..).map(|(size, index)| entry(self.term, index, *size)).collect();
                new.iter().for_each(|entry| self.add(|state| state.append(entry.clone())));
                let flushed = append_later(store, new).await?;
                if *wait {
                    flushed.await.unwrap()?;
                    self.all_durable();
                } else {
                    waiting.push((self.states.len() - 1, flushed));
                }
            }
            Step::Vote => {
                self.term += 1;
                let vote = Vote::new(self.term, self.term % 3);
                self.add(|state| state.vote = Some(vote));
                store.save_vote(&vote).await?;
                self.all_durable();
            }
            Step::Committed(back) => {
                let committed = now.entries.iter().rev().nth(*back as usize).map(|entry| entry.log_id);
                self.add(|state| state.committed = committed);
                store.save_committed(committed).await?;
            }
            Step::Truncate(back) => {
                let after = now.entries.iter().rev().nth(*back as usize).map(|entry| entry.log_id).or(now.purged);
                self.term += 1;
                self.add(|state| state.truncate(after));
                store.truncate_after(after).await?;
                self.all_durable();
            }
            Step::Purge(count) => {
                // Sometimes beyond the last entry, as after a checkpoint has been installed.
                let index = now.purged.map_or(0, |purged| purged.index) + count;
                let known = now.entries.iter().find(|entry| entry.log_id.index == index);
                let upto = known.map_or(log_id(self.term, index), |entry| entry.log_id);
                self.add(|state| state.purge(upto));
                store.purge(upto).await?;
            }
        }
        Ok(())
    }
}

async fn survives(rounds: Vec<(Vec<Step>, u64, Survivors)>) {
    let mut files = MemoryFiles::new();
    let mut history = History { states: vec![Contents::default()], durable: 0, term: 1 };
    for (steps, changes, survivors) in rounds {
        // The power may go while the log is being opened, too.
        files.cut_after(changes);
        let mut waiting = Vec::new();
        if let Ok(mut store) = open(&files, SMALL) {
            for step in &steps {
                if history.step(&mut store, step, &mut waiting).await.is_err() {
                    break;
                }
                let now = history.now();
                if store.failure().is_none()
                    && let Ok(state) = store.get_log_state().await
                {
                    assert_eq!((state.last_purged_log_id, state.last_log_id), (now.purged, now.last));
                }
            }
            for (state, flushed) in waiting {
                if flushed.await.expect("the log always answers").is_ok() {
                    history.durable = history.durable.max(state);
                }
            }
        }
        files = files.restart(survivors);
        let store = open(&files, SMALL).expect("a power cut is no damage");
        let found = contents(&store).await;
        drop(store);
        files = files.restart(Survivors::None);
        assert!(
            history.states[history.durable..].contains(&found),
            "found {found:?}\nafter {:?}\ndurable {:?}",
            history.states.last().unwrap(),
            history.states[history.durable]
        );
        history = History { states: vec![found], durable: 0, term: history.term + 1 };
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_and_whenever_the_power_goes(
        rounds in prop::collection::vec((steps(), 0..60u64, survivors()), 1..5)
    ) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(survives(rounds));
    }
}

//! What the crate promises beyond what single steps show: locks, damage, atomic flushes, lost power.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use talon_storage::{
    Batch, Crash, Durability, Engine, LayerSettings, LayeredEngine, MemoryEngine, RocksEngine, RocksSettings, Space,
    StorageError, View,
};

fn open(folder: &Path) -> RocksEngine {
    RocksEngine::open(folder, &RocksSettings::default()).unwrap()
}

fn number(view: &dyn View, space: Space) -> u64 {
    let value = view.get(space, b"number").unwrap();
    value.map_or(0, |value| u64::from_be_bytes(value[..].try_into().unwrap()))
}

/// The same number in all spaces.
fn write_number(engine: &dyn Engine, number: u64, durability: Durability) {
    let mut batch = Batch::new();
    for space in Space::ALL {
        batch.put(space, b"number", &[&number.to_be_bytes()]);
    }
    engine.write(&batch, durability).unwrap();
}

#[test]
fn a_folder_is_open_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let error = RocksEngine::open(folder.path(), &RocksSettings::default()).err().unwrap();
    assert!(matches!(error, StorageError::AlreadyOpen { same_process: true, .. }), "{error}");
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    // A view keeps it open.
    let view = first.view().unwrap();
    drop(first);
    assert!(RocksEngine::open(folder.path(), &RocksSettings::default()).is_err());
    drop(view);
    open(folder.path());
}

#[test]
fn damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    write_number(&engine, 1, Durability::Unlogged);
    engine.flush().unwrap();
    drop(engine);
    let table = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    for file in table.filter(|path| path.extension().is_some_and(|ending| ending == "sst")) {
        let mut bytes = std::fs::read(&file).unwrap();
        bytes.iter_mut().take(30).for_each(|byte| *byte ^= 0x55);
        std::fs::write(&file, bytes).unwrap();
    }
    let engine = open(folder.path());
    let error = engine.view().unwrap().get(Space::Data, b"number").err().unwrap();
    assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
    let error = engine.view().unwrap().scan(Space::Data, b"", None).find_map(Result::err).unwrap();
    assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
}

#[test]
fn nothing_is_not_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(talon_storage::open_checkpoint(folder.path()), Err(StorageError::Missing { .. })));
    std::fs::write(folder.path().join("state"), b"TALONMEM and then nonsense").unwrap();
    assert!(matches!(talon_storage::open_checkpoint(folder.path()), Err(StorageError::Damaged { .. })));
}

#[test]
fn reading_a_checkpoint_changes_nothing_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(&folder.path().join("data"));
    write_number(&engine, 7, Durability::Unlogged);
    let checkpoint = folder.path().join("checkpoint");
    engine.checkpoint(&checkpoint).unwrap();
    let files = |folder: &Path| {
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        files.sort();
        files
    };
    let before = files(&checkpoint);
    let reader = RocksEngine::open_read_only(&checkpoint).unwrap();
    assert_eq!(number(&*reader.view().unwrap(), Space::Data), 7);
    let mut batch = Batch::new();
    batch.put(Space::Data, b"k", &[b"v"]);
    assert!(reader.write(&batch, Durability::Unlogged).is_err());
    drop(reader);
    assert_eq!(files(&checkpoint), before);
}

/// Checkpoints are made while a writer runs, without a log: all spaces must stand at one point.
fn checkpoints_are_consistent(engine: Arc<dyn Engine>) {
    let folder = tempfile::tempdir().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (engine, stop) = (engine.clone(), stop.clone());
        move || {
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                written += 1;
                write_number(&*engine, written, Durability::Unlogged);
            }
        }
    });
    for round in 0..10 {
        let before = number(&*engine.view().unwrap(), Space::Data);
        let target = folder.path().join(round.to_string());
        engine.checkpoint(&target).unwrap();
        let view = talon_storage::open_checkpoint(&target).unwrap().view().unwrap();
        let data = number(&*view, Space::Data);
        assert!(data >= before, "the checkpoint holds {data}, and {before} was written before it");
        assert_eq!([number(&*view, Space::Expiry), number(&*view, Space::Meta)], [data, data]);
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

#[test]
fn checkpoints_of_rocksdb_are_consistent_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    checkpoints_are_consistent(Arc::new(open(folder.path())));
}

#[test]
fn checkpoints_of_the_double_are_consistent_while_it_is_written() {
    checkpoints_are_consistent(Arc::new(MemoryEngine::new()));
}

fn layered(folder: &Path, memory_bytes_max: usize) -> LayeredEngine {
    let settings = LayerSettings { memory_bytes_max, ..LayerSettings::default() };
    LayeredEngine::open(folder, &RocksSettings::default(), settings).unwrap()
}

#[test]
fn checkpoints_of_a_layer_are_consistent_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    checkpoints_are_consistent(Arc::new(layered(folder.path(), 64 << 10)));
}

/// What a view of the next test has to show: every row carries the number of the batch, or all but one are deleted.
fn check_rows(view: &dyn View) -> u64 {
    let newest = number(view, Space::Data);
    let rows: Vec<_> = view.scan(Space::Data, b"row", Some(b"rox")).map(Result::unwrap).collect();
    let expected = if newest == 0 {
        0
    } else if newest.is_multiple_of(7) {
        1
    } else {
        ROWS
    };
    assert_eq!(rows.len(), expected, "at {newest}");
    for (key, value) in rows {
        assert_eq!(value[..8], newest.to_be_bytes());
        assert_eq!(view.get(Space::Data, &key).unwrap(), Some(value));
    }
    newest
}

const ROWS: usize = 40;

/// One thread writes, in generations of a few batches; others take views, read them at once, and some again later.
#[test]
fn every_view_of_a_layer_stands_between_two_batches() {
    const BATCHES: u64 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let engine = layered(folder.path(), 1 << 20);
    let written = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                let mut kept: Vec<(u64, Arc<dyn View>)> = Vec::new();
                let mut last = 0;
                while !written.load(Ordering::Relaxed) {
                    let view = engine.view().unwrap();
                    let newest = check_rows(&*view);
                    assert!(newest >= last, "{newest} after {last}");
                    last = newest;
                    if kept.len() < 8 {
                        kept.push((newest, view));
                    } else {
                        for (number, view) in kept.drain(..) {
                            assert_eq!(check_rows(&*view), number);
                        }
                    }
                }
                assert!(last > 0);
            });
        }
        let mut batch = Batch::new();
        for newest in 1..=BATCHES {
            batch.clear(1 << 20);
            batch.put(Space::Data, b"number", &[&newest.to_be_bytes()]);
            if newest.is_multiple_of(7) {
                batch.delete_range(Space::Data, b"row", b"rox");
            }
            let rows = if newest.is_multiple_of(7) { 1 } else { ROWS };
            for row in 0..rows {
                let filling = vec![b'.'; row * (newest % 5) as usize];
                batch.put(Space::Data, format!("row {row}").as_bytes(), &[&newest.to_be_bytes(), &filling]);
            }
            engine.write(&batch, Durability::Unlogged).unwrap();
        }
        written.store(true, Ordering::Relaxed);
    });
    assert_eq!(check_rows(&*engine.view().unwrap()), BATCHES);
    drop(engine);
    assert_eq!(check_rows(&*layered(folder.path(), 1 << 20).view().unwrap()), BATCHES);
}

#[test]
fn a_layer_keeps_to_its_memory() {
    const BYTES_MAX: usize = 16 << 20;
    let folder = tempfile::tempdir().unwrap();
    let engine = layered(folder.path(), BYTES_MAX);
    let mut random = 1_u64;
    let mut highest = 0;
    for _ in 0..4_000 {
        let mut batch = Batch::new();
        for _ in 0..100 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            batch.put(Space::Data, &random.to_be_bytes(), &[&[7; 100]]);
        }
        engine.write(&batch, Durability::Unlogged).unwrap();
        highest = highest.max(engine.memory_bytes());
    }
    // A batch is taken in as a whole, and memory is taken from the system in pieces.
    assert!(highest <= BYTES_MAX + (2 << 20), "{highest} bytes");
    assert!(highest > BYTES_MAX / 2, "{highest} bytes: what is there to be used is not used");
    assert_eq!(engine.view().unwrap().scan(Space::Data, b"", None).count(), 400_000);
}

#[test]
fn a_power_cut_loses_a_tail_and_only_that() {
    let mut survivors = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let engine = MemoryEngine::new();
        for number in 1..=5 {
            write_number(&engine, number, Durability::Unlogged);
        }
        engine.flush().unwrap();
        for number in 6..=10 {
            write_number(&engine, number, Durability::Unlogged);
        }
        let after = engine.crash(Crash { seed, atomic_flush: true }).view().unwrap();
        let data = number(&*after, Space::Data);
        assert!((5..=10).contains(&data), "flushed data is gone: {data}");
        assert_eq!([number(&*after, Space::Expiry), number(&*after, Space::Meta)], [data, data]);
        survivors.insert(data);
        assert!(matches!(engine.write(&Batch::new(), Durability::Synced), Err(StorageError::PowerCut)));
    }
    assert_eq!(survivors.len(), 6, "each tail is lost in some seed: {survivors:?}");
}

#[test]
fn without_atomic_flushes_the_spaces_part() {
    let parted = (0..100).filter(|seed| {
        let engine = MemoryEngine::new();
        for number in 1..=10 {
            write_number(&engine, number, Durability::Unlogged);
        }
        let after = engine.crash(Crash { seed: *seed, atomic_flush: false }).view().unwrap();
        number(&*after, Space::Data) != number(&*after, Space::Meta)
    });
    assert!(parted.count() > 50, "the planted bug must show");
}

#[test]
fn what_is_synced_survives_every_power_cut() {
    for seed in 0..50 {
        let engine = MemoryEngine::new();
        write_number(&engine, 1, Durability::Logged);
        write_number(&engine, 2, Durability::Synced);
        write_number(&engine, 3, Durability::Logged);
        let after = engine.crash(Crash { seed, atomic_flush: false }).view().unwrap();
        assert!(number(&*after, Space::Data) >= 2);
        assert_eq!(number(&*after, Space::Data), number(&*after, Space::Meta), "a log brings all spaces back together");
    }
}

#[test]
fn disk_bytes_follow_the_range() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let mut batch = Batch::new();
    for place in 0u32..1_000 {
        // What lz4 cannot shrink.
        let value: Vec<u8> =
            (0..1_000u32).map(|byte| (byte.wrapping_mul(2_654_435_761).wrapping_add(place * 97) >> 13) as u8).collect();
        let value: Vec<u8> = value.iter().enumerate().map(|(at, byte)| byte ^ (at as u32 * place) as u8).collect();
        batch.put(Space::Data, &place.to_be_bytes(), &[&value]);
    }
    engine.write(&batch, Durability::Unlogged).unwrap();
    engine.flush().unwrap();
    let all = engine.disk_bytes(Space::Data, b"", None).unwrap();
    let half = engine.disk_bytes(Space::Data, b"", Some(&500u32.to_be_bytes())).unwrap();
    assert!(all > 200_000, "{all}");
    assert!(half > all / 4 && half < all * 3 / 4, "{half} of {all}");
    assert_eq!(engine.disk_bytes(Space::Data, b"b", Some(b"a")).unwrap(), 0);
    assert!(engine.disk_bytes_total().unwrap() >= all);
}

/// Opens what the folder holds at this moment, as if the process had ended now. RocksDB may be changing its files; then once more.
fn open_copy(from: &Path, to: &Path) -> LayeredEngine {
    for round in 0.. {
        let to = to.join(round.to_string());
        copy(from, &to);
        match LayeredEngine::open(&to, &RocksSettings::default(), LayerSettings::default()) {
            Ok(engine) => return engine,
            Err(error) => assert!(round < 20, "{error}"),
        }
    }
    unreachable!("the rounds have an end")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_name() != "LOCK" {
            match std::fs::copy(entry.path(), target) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                result => drop(result.unwrap()),
            }
        }
    }
}

#[test]
fn the_log_of_a_layer_brings_back_what_was_not_drained() {
    let folder = tempfile::tempdir().unwrap();
    let engine = layered(&folder.path().join("first"), 1 << 20);
    for number in 1..=50 {
        write_number(&engine, number, if number % 2 == 0 { Durability::Synced } else { Durability::Logged });
        if number == 20 {
            engine.flush().unwrap();
        }
    }
    let again = open_copy(&folder.path().join("first"), &folder.path().join("second"));
    write_number(&engine, 51, Durability::Synced);
    for space in Space::ALL {
        assert_eq!(number(&*again.view().unwrap(), space), 50);
    }
    // And once more, with what it wrote itself.
    write_number(&again, 60, Durability::Synced);
    let second = std::fs::read_dir(folder.path().join("second")).unwrap().count() - 1;
    let third = open_copy(&folder.path().join("second").join(second.to_string()), &folder.path().join("third"));
    assert_eq!(number(&*third.view().unwrap(), Space::Meta), 60);
}

#[test]
fn many_deleted_ranges_keep_few_generations() {
    let folder = tempfile::tempdir().unwrap();
    let engine = layered(folder.path(), 64 << 20);
    for round in 0..500_u64 {
        let mut batch = Batch::new();
        batch.delete_range(Space::Data, b"", b"\xFF");
        batch.put(Space::Data, b"round", &[&round.to_be_bytes()]);
        engine.write(&batch, Durability::Unlogged).unwrap();
    }
    assert!(engine.generations() <= 8, "{} generations", engine.generations());
    let rows: Vec<_> = engine.view().unwrap().scan(Space::Data, b"", None).map(Result::unwrap).collect();
    assert_eq!(rows, [("round".into(), 499_u64.to_be_bytes().to_vec().into())]);
}

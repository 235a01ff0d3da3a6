//! One model, all engines: random batches, views, flushes, checkpoints and restarts against plain maps.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use talon_storage::{
    Batch, Crash, Durability, Engine, LayerSettings, LayeredEngine, MemoryEngine, RocksEngine, RocksSettings, Space,
    View,
};

type Model = [BTreeMap<Vec<u8>, Vec<u8>>; 3];

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Write>, Durability),
    /// Keep a view and what it has to show.
    View,
    Flush,
    Checkpoint,
    /// Close and open again; the double loses its power.
    Restart(u64),
}

#[derive(Clone, Debug)]
enum Write {
    Put(Space, Vec<u8>, Vec<u8>),
    Delete(Space, Vec<u8>),
    DeleteRange(Space, Vec<u8>, Vec<u8>),
}

fn space() -> impl Strategy<Value = Space> {
    prop::sample::select(Space::ALL.to_vec())
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(prop::sample::select(vec![0u8, 1, b'a', b'b', 0xFF]), 0..3), Just(vec![0xFF; 3]),]
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        6 => (space(), key(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(s, k, v)| Write::Put(s, k, v)),
        3 => (space(), key()).prop_map(|(s, k)| Write::Delete(s, k)),
        1 => (space(), key(), key()).prop_map(|(s, from, until)| Write::DeleteRange(s, from, until)),
    ]
}

fn step(durability: Durability) -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(write(), 0..6).prop_map(move |writes| Step::Write(writes, durability)),
        2 => Just(Step::View),
        1 => Just(Step::Flush),
        1 => Just(Step::Checkpoint),
        1 => any::<u64>().prop_map(Step::Restart),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::sample::select(vec![Durability::Synced, Durability::Unlogged])
        .prop_flat_map(|durability| prop::collection::vec(step(durability), 1..40))
}

fn apply(model: &mut Model, write: &Write, batch: &mut Batch) {
    match write {
        Write::Put(space, key, value) => {
            model[*space as usize].insert(key.clone(), value.clone());
            let (head, tail) = value.split_at(value.len() / 2);
            batch.put(*space, key, &[head, tail]);
        }
        Write::Delete(space, key) => {
            model[*space as usize].remove(key);
            batch.delete(*space, key);
        }
        Write::DeleteRange(space, from, until) => {
            model[*space as usize].retain(|key, _| key < from || key >= until);
            batch.delete_range(*space, from, until);
        }
    }
}

fn check(view: &dyn View, model: &Model) {
    for space in Space::ALL {
        let rows = &model[space as usize];
        let scan = |from: &[u8], until: Option<&[u8]>| -> Vec<(Vec<u8>, Vec<u8>)> {
            view.scan(space, from, until).map(|row| row.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap()).collect()
        };
        let all: Vec<_> = rows.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(scan(b"", None), all);
        for (from, until) in
            [(&b"a"[..], &b"b"[..]), (b"b", b"a"), (b"a", b"a"), (b"", b"\xFF"), (b"\x01", b"\xFF\xFF")]
        {
            let expected: Vec<_> = all.iter().filter(|(k, _)| &k[..] >= from && &k[..] < until).cloned().collect();
            assert_eq!(scan(from, Some(until)), expected, "{from:?}..{until:?}");
        }
        // Unsorted, with missing ones and one twice.
        let mut asked: Vec<&[u8]> = rows.keys().rev().map(|key| &key[..]).collect();
        asked.extend([&b"missing"[..], b"a", b"a"]);
        let found = view.get_many(space, &asked).unwrap();
        for (key, value) in asked.iter().zip(found) {
            assert_eq!(value.as_deref(), rows.get(*key).map(|value| &value[..]));
            assert_eq!(view.get(space, key).unwrap().as_deref(), rows.get(*key).map(|value| &value[..]));
        }
    }
}

/// How an engine is closed and opened again.
trait Restart {
    fn restart(&mut self, seed: u64) -> Arc<dyn Engine>;
    fn at_checkpoint(&self, folder: &Path) -> Arc<dyn Engine>;
}

fn run(steps: &[Step], restart: &mut dyn Restart, lossy: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = restart.restart(0);
    let mut model = Model::default();
    // Every state since the last flush: a restart may fall back to any of them, if the engine can lose something.
    let mut possible = vec![model.clone()];
    let mut views: Vec<(Arc<dyn View>, Model)> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Write(writes, durability) => {
                let mut batch = Batch::new();
                writes.iter().for_each(|write| apply(&mut model, write, &mut batch));
                engine.write(&batch, *durability).unwrap();
                if *durability == Durability::Synced {
                    possible.clear();
                }
                possible.push(model.clone());
            }
            Step::View => views.push((engine.view().unwrap(), model.clone())),
            Step::Flush => {
                engine.flush().unwrap();
                possible = vec![model.clone()];
            }
            Step::Checkpoint => {
                let target = folder.path().join(number.to_string());
                engine.checkpoint(&target).unwrap();
                check(&*restart.at_checkpoint(&target).view().unwrap(), &model);
                check(&*talon_storage::open_checkpoint(&target).unwrap().view().unwrap(), &model);
            }
            Step::Restart(seed) => {
                for (view, model) in views.drain(..) {
                    check(&*view, &model);
                }
                drop(engine);
                engine = restart.restart(*seed);
                let view = engine.view().unwrap();
                let now = contents(&*view);
                if lossy {
                    assert!(possible.contains(&now), "an impossible state after a restart: {now:?}");
                } else {
                    assert_eq!(now, model);
                }
                model = now;
                possible = vec![model.clone()];
            }
        }
    }
    check(&*engine.view().unwrap(), &model);
    for (view, model) in views {
        check(&*view, &model);
    }
}

fn contents(view: &dyn View) -> Model {
    Space::ALL.map(|space| {
        view.scan(space, b"", None).map(|row| row.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap()).collect()
    })
}

struct Rocks(tempfile::TempDir);

impl Restart for Rocks {
    fn restart(&mut self, _seed: u64) -> Arc<dyn Engine> {
        Arc::new(RocksEngine::open(self.0.path(), &RocksSettings::default()).unwrap())
    }

    fn at_checkpoint(&self, folder: &Path) -> Arc<dyn Engine> {
        Arc::new(RocksEngine::open(folder, &RocksSettings::default()).unwrap())
    }
}

#[derive(Default)]
struct Memory(MemoryEngine);

impl Restart for Memory {
    fn restart(&mut self, seed: u64) -> Arc<dyn Engine> {
        self.0 = self.0.crash(Crash { seed, atomic_flush: true });
        Arc::new(self.0.clone())
    }

    fn at_checkpoint(&self, folder: &Path) -> Arc<dyn Engine> {
        Arc::new(MemoryEngine::from_checkpoint(folder).unwrap())
    }
}

/// A layer so small that every few batches are drained.
fn small(threads: bool) -> LayerSettings {
    LayerSettings { memory_bytes_max: 4 << 10, logged: true, threads }
}

#[derive(Default)]
struct LayeredMemory(MemoryEngine);

impl Restart for LayeredMemory {
    fn restart(&mut self, seed: u64) -> Arc<dyn Engine> {
        self.0 = self.0.crash(Crash { seed, atomic_flush: true });
        Arc::new(LayeredEngine::over(Arc::new(self.0.clone()), small(false)).unwrap())
    }

    fn at_checkpoint(&self, folder: &Path) -> Arc<dyn Engine> {
        Arc::new(MemoryEngine::from_checkpoint(folder).unwrap())
    }
}

struct LayeredRocks(tempfile::TempDir);

impl Restart for LayeredRocks {
    fn restart(&mut self, _seed: u64) -> Arc<dyn Engine> {
        Arc::new(LayeredEngine::open(self.0.path(), &RocksSettings::default(), small(true)).unwrap())
    }

    fn at_checkpoint(&self, folder: &Path) -> Arc<dyn Engine> {
        Arc::new(LayeredEngine::open(folder, &RocksSettings::default(), small(true)).unwrap())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_double_is_what_the_model_is(steps in steps()) {
        run(&steps, &mut Memory::default(), true);
    }

    #[test]
    fn a_layer_above_the_double_is_what_the_model_is(steps in steps()) {
        run(&steps, &mut LayeredMemory::default(), true);
    }
}

proptest! {
    // Each case opens real files several times.
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn rocksdb_is_what_the_model_is(steps in steps()) {
        run(&steps, &mut Rocks(tempfile::tempdir().unwrap()), false);
    }

    #[test]
    fn a_layer_above_rocksdb_is_what_the_model_is(steps in steps()) {
        run(&steps, &mut LayeredRocks(tempfile::tempdir().unwrap()), false);
    }
}

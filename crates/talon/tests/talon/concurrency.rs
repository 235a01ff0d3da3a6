//! Many threads at once.

use std::sync::Barrier;

use talon::{Batch, Settings, Talon};

use crate::support::World;

const THREADS: usize = 8;
const ROUNDS: usize = 500;

#[test]
fn counters_are_exact() {
    let world = World::new();
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (kv, barrier) = (world.kv(), &barrier);
            scope.spawn(move || {
                barrier.wait();
                let mut last = 0;
                for _ in 0..ROUNDS {
                    let seen = kv.incr(b"shared").unwrap();
                    assert!(seen > last, "each answer is above the one before");
                    last = seen;
                    kv.incrby(format!("own {thread}").as_bytes(), 2).unwrap();
                    assert!(
                        kv.get(b"shared")
                            .unwrap()
                            .is_some_and(|value| { String::from_utf8(value).unwrap().parse::<i64>().unwrap() >= seen })
                    );
                }
            });
        }
    });
    let kv = world.kv();
    assert_eq!(kv.get(b"shared").unwrap(), Some((THREADS * ROUNDS).to_string().into_bytes()));
    for thread in 0..THREADS {
        let own = kv.get(format!("own {thread}").as_bytes()).unwrap();
        assert_eq!(own, Some((2 * ROUNDS).to_string().into_bytes()));
    }
}

#[test]
fn nobody_sees_half_a_batch() {
    let world = World::new();
    let writer = world.kv();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..ROUNDS {
                let value = round.to_string();
                let mut batch = Batch::new();
                writer.set_batch(&mut batch, b"left", value.as_bytes(), None).unwrap();
                writer.set_batch(&mut batch, b"right", value.as_bytes(), Some(100)).unwrap();
                writer.commit(batch).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        for _ in 0..3 {
            let (kv, done) = (world.db().kv_read().unwrap(), &done);
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let both = kv.mget(&[b"left", b"right"]).unwrap();
                    assert_eq!(both[0], both[1]);
                    let snapshot = kv.snapshot().unwrap();
                    let left = kv.snapshot_get(&snapshot, b"left").unwrap();
                    assert_eq!(left, kv.snapshot_get(&snapshot, b"right").unwrap());
                }
            });
        }
    });
}

#[test]
fn one_of_many_setnx_wins() {
    let world = World::new();
    for round in 0..50 {
        let key = format!("lock {round}");
        let barrier = Barrier::new(THREADS);
        let winners: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (kv, key, barrier) = (world.kv(), &key, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        usize::from(kv.setnx(key.as_bytes(), &[thread as u8], None).unwrap())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(winners, 1);
    }
}

#[test]
fn writers_that_wait_together_share_a_sync() {
    let folder = tempfile::tempdir().unwrap();
    let db = Talon::open_with(folder.path(), Settings::default()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let kv = db.kv().unwrap();
            scope.spawn(move || {
                for round in 0..50 {
                    kv.set(format!("{thread} {round}").as_bytes(), b"", None).unwrap();
                }
            });
        }
    });
    assert_eq!(db.kv().unwrap().key_count().unwrap(), 8 * 50);
}

#[test]
fn handles_outlive_the_database_they_came_from() {
    let mut world = World::new();
    let kv = world.kv();
    kv.set(b"k", b"v", None).unwrap();
    world.close();
    assert_eq!(kv.get(b"k").unwrap(), Some(b"v".to_vec()));
    assert!(Talon::open(world.folder.path()).is_err(), "the handle keeps it open");
    drop(kv);
    world.reopen();
    assert_eq!(world.kv().get(b"k").unwrap(), Some(b"v".to_vec()));
}

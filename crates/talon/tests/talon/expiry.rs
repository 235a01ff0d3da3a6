//! Time and expiry: one clock, which is stored and never goes back.

use talon::{Error, Settings, Talon};
use talon_storage::Space;

use crate::support::{START_MS, World, refusal};

#[test]
fn a_key_ends_exactly_when_its_time_is_over() {
    let world = World::new();
    let kv = world.kv();
    kv.set(b"k", b"v", Some(10)).unwrap();
    world.clock.pass(9_999);
    assert!(kv.exists(b"k").unwrap());
    assert_eq!((kv.pttl(b"k").unwrap(), kv.ttl(b"k").unwrap()), (Some(1), Some(1)));
    world.clock.pass(1);
    assert_eq!(kv.get(b"k").unwrap(), None);
    assert_eq!((kv.ttl(b"k").unwrap(), kv.pttl(b"k").unwrap(), kv.expire_time(b"k").unwrap()), (None, None, None));
    assert_eq!(kv.key_count().unwrap(), 0);
}

#[test]
fn seconds_are_rounded_as_redis_does() {
    let world = World::new();
    let kv = world.kv();
    kv.set(b"k", b"v", None).unwrap();
    kv.pexpire(b"k", 1_499).unwrap();
    assert_eq!((kv.ttl(b"k").unwrap(), kv.pttl(b"k").unwrap()), (Some(1), Some(1_499)));
    kv.pexpire(b"k", 1_500).unwrap();
    assert_eq!(kv.ttl(b"k").unwrap(), Some(2));
}

#[test]
fn functions_on_times() {
    let world = World::new();
    let kv = world.kv();
    assert!(kv.expire(b"k", 1).unwrap_err().is_no_such_key());
    assert!(kv.pexpire(b"k", 1).unwrap_err().is_no_such_key());
    kv.set(b"k", b"v", None).unwrap();
    assert!(refusal(kv.expire(b"k", 0)).contains("invalid expire time"));
    assert!(refusal(kv.pexpire(b"k", 0)).contains("invalid expire time"));
    assert_eq!((kv.ttl(b"k").unwrap(), kv.expire_time(b"k").unwrap()), (Some(0), Some(0)));
    assert!(!kv.persist(b"k").unwrap());
    kv.expire(b"k", 100).unwrap();
    assert!(kv.persist(b"k").unwrap());

    let at_secs = START_MS / 1000 + 50;
    assert!(kv.expire_at(b"k", at_secs).unwrap());
    assert_eq!(kv.expire_time(b"k").unwrap(), Some(at_secs));
    assert!(kv.expire_at(b"k", 0).unwrap(), "0 persists, and it had a time to live");
    assert!(!kv.expire_at(b"k", 0).unwrap());
    assert!(kv.exists(b"k").unwrap());
    assert!(kv.expire_at(b"k", 1).unwrap(), "long ago");
    assert!(!kv.exists(b"k").unwrap());
    assert!(!kv.expire_at(b"k", at_secs).unwrap());
}

#[test]
fn a_rewritten_key_does_not_end_by_its_old_time() {
    let world = World::new();
    let kv = world.kv();
    for key in [&b"set"[..], b"persisted", b"extended", b"renamed", b"deleted"] {
        kv.set(key, b"v", Some(10)).unwrap();
    }
    kv.set(b"set", b"w", None).unwrap();
    kv.persist(b"persisted").unwrap();
    kv.expire(b"extended", 100).unwrap();
    kv.rename(b"renamed", b"new name").unwrap();
    kv.del(b"deleted").unwrap();
    kv.set(b"deleted", b"again", None).unwrap();
    world.clock.pass(10_000);
    assert_eq!(world.db().purge_expired().unwrap(), 1, "only the one under its new name");
    assert_eq!(world.db().machine().expired_keys(), 1);
    assert_eq!(kv.keys_prefix(b"").unwrap(), [&b"deleted"[..], b"extended", b"persisted", b"set"]);
    assert_eq!(expiry_rows(&world), 1, "the index holds what has an expiry and nothing else");
}

#[test]
fn a_key_that_ends_is_counted_when_its_record_goes_and_once() {
    let world = World::new();
    let kv = world.kv();
    for key in [&b"purged"[..], b"written over", b"deleted", b"lives"] {
        kv.set(key, b"v", Some(10)).unwrap();
    }
    kv.del(b"lives").unwrap();
    world.clock.pass(10_000);
    assert_eq!(world.db().machine().expired_keys(), 0, "nobody has met them yet");
    kv.set(b"written over", b"w", None).unwrap();
    kv.del(b"deleted").unwrap();
    assert_eq!(world.db().machine().expired_keys(), 2);
    world.db().purge_expired().unwrap();
    assert_eq!(world.db().machine().expired_keys(), 3);
}

fn expiry_rows(world: &World) -> usize {
    // The folder is read by a second, read-only engine, which sees what was flushed.
    world.db().machine().flush().unwrap();
    let engine = talon_storage::open_checkpoint(world.folder.path()).unwrap();
    let view = engine.view().unwrap();
    view.scan(Space::Expiry, b"", None).inspect(|row| assert!(row.is_ok())).count()
}

#[test]
fn a_time_to_live_goes_on_while_the_database_is_closed() {
    let mut world = World::new();
    world.kv().set(b"short", b"", Some(10)).unwrap();
    world.kv().set(b"long", b"", Some(1_000)).unwrap();
    world.close();
    world.clock.pass(10_000);
    world.reopen();
    let kv = world.kv();
    assert!(!kv.exists(b"short").unwrap());
    assert_eq!(kv.ttl(b"long").unwrap(), Some(990));
    assert_eq!(world.db().purge_expired().unwrap(), 1);
}

#[test]
fn what_has_ended_stays_ended_when_the_clock_is_set_back() {
    let mut world = World::new();
    world.kv().set(b"k", b"", Some(10)).unwrap();
    world.clock.pass(10_000);
    assert!(!world.kv().exists(b"k").unwrap());
    world.close();
    world.clock.set_wall(START_MS - 3_600_000);
    world.reopen();
    assert!(!world.kv().exists(b"k").unwrap(), "the stored clock does not go back");
    world.kv().set(b"new", b"", Some(10)).unwrap();
    world.clock.pass(19_998);
    assert!(world.kv().exists(b"new").unwrap(), "ahead of the wall clock, the clock runs at half speed");
    world.clock.pass(2);
    assert!(!world.kv().exists(b"new").unwrap(), "but it runs");
}

#[test]
fn a_step_of_the_wall_clock_expires_nothing() {
    let world = World::new();
    let kv = world.kv();
    kv.set(b"k", b"", Some(60)).unwrap();
    world.clock.set_wall(START_MS + 3_600_000);
    assert!(kv.exists(b"k").unwrap());
    world.clock.pass(50_000);
    assert!(kv.exists(b"k").unwrap(), "it runs 5 % faster at most");
    world.clock.pass(10_000);
    assert!(!kv.exists(b"k").unwrap());
}

#[test]
fn a_jump_while_closed_is_refused_unless_allowed() {
    let mut world = World::new();
    world.kv().set(b"k", b"", Some(60)).unwrap();
    world.close();
    world.clock.pass(400 * 24 * 60 * 60 * 1000);
    let error = Talon::open_with(world.folder.path(), world.settings()).err().unwrap();
    assert!(matches!(error, Error::ClockJump { stored_ms: START_MS, .. }), "{error}");
    assert!(error.to_string().contains("raise clock_jump_ms_max"), "{error}");
    let allowed = Settings { clock_jump_ms_max: u64::MAX, ..world.settings() };
    let db = Talon::open_with(world.folder.path(), allowed).unwrap();
    assert!(!db.kv().unwrap().exists(b"k").unwrap());
}

#[test]
fn the_cleaner_removes_what_has_ended_and_stops_when_dropped() {
    let world = World::new();
    let kv = world.kv();
    for place in 0..2_500u32 {
        kv.set(&place.to_be_bytes(), b"", Some(1)).unwrap();
    }
    kv.set(b"stays", b"", Some(1_000)).unwrap();
    world.clock.pass(1_000);
    let rows = |world: &World| talon::state_hash(&world.db().machine().view().unwrap()).unwrap().rows;
    assert_eq!(rows(&world), 2_501);
    let cleaner = world.db().start_ttl_cleaner(1).unwrap();
    let began = std::time::Instant::now();
    while rows(&world) > 1 && began.elapsed().as_secs() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(rows(&world), 1);
    let began = std::time::Instant::now();
    drop(cleaner);
    assert!(began.elapsed().as_millis() < 900, "it does not wait for its interval");
    assert_eq!(kv.keys_prefix(b"").unwrap(), [b"stays"]);
}

#[test]
fn reads_do_not_write_unless_something_ends() {
    let world = World::new();
    let kv = world.kv();
    kv.set(b"k", b"", Some(10)).unwrap();
    let index = || world.db().machine().applied().index;
    let before = index();
    for _ in 0..10 {
        world.clock.pass(900);
        kv.get(b"k").unwrap();
        kv.keys_prefix(b"").unwrap();
        kv.snapshot().unwrap();
        assert_eq!(world.db().purge_expired().unwrap(), 0);
    }
    assert_eq!(index(), before);
    world.clock.pass(1_000);
    kv.get(b"k").unwrap();
    assert_eq!(index(), before + 1, "one tick");
    kv.get(b"k").unwrap();
    kv.key_count().unwrap();
    assert_eq!(index(), before + 1, "for everyone and for ever");
}

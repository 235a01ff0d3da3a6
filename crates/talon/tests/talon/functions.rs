//! Every function, with its edges.

use talon::{Batch, Error, KvPair};

use crate::support::{World, refusal};

fn pair(key: &str, value: &str) -> KvPair {
    KvPair { key: key.into(), value: value.into() }
}

#[test]
fn set_get_and_their_limits() {
    let world = World::new();
    let kv = world.kv();
    assert_eq!(kv.get(b"k").unwrap(), None);
    kv.set(b"k", b"v", None).unwrap();
    assert_eq!(kv.get(b"k").unwrap(), Some(b"v".to_vec()));
    kv.set(b"", b"", None).unwrap();
    assert_eq!(kv.get(b"").unwrap(), Some(Vec::new()), "empty keys and values are as good as others");
    kv.set(b"k", b"v", Some(10)).unwrap();
    kv.set(b"k", b"w", None).unwrap();
    assert_eq!(kv.ttl(b"k").unwrap(), Some(0), "a set without a time to live takes away the old one");
    assert!(refusal(kv.set(b"k", b"v", Some(0))).contains("invalid expire time"));
    assert!(refusal(kv.set(b"k", b"v", Some(u64::MAX))).contains("invalid expire time"));

    let key = vec![b'k'; 65_536];
    let value = vec![0xFF; 16_777_216];
    kv.set(&key, &value, None).unwrap();
    assert_eq!(kv.get(&key).unwrap(), Some(value));
    assert!(refusal(kv.set(&[b'k'; 65_537], b"v", None)).contains("limit of 65536 bytes"));
    assert!(refusal(kv.set(b"k", &vec![0; 16_777_217], None)).contains("limit of 16777216 bytes"));
    assert_eq!(kv.get(b"k").unwrap(), Some(b"w".to_vec()), "a refused write changes nothing");
}

#[test]
fn setnx_sets_once() {
    let world = World::new();
    let kv = world.kv();
    assert!(kv.setnx(b"k", b"first", Some(10)).unwrap());
    assert!(!kv.setnx(b"k", b"second", None).unwrap());
    assert_eq!((kv.get(b"k").unwrap(), kv.ttl(b"k").unwrap()), (Some(b"first".to_vec()), Some(10)));
    world.clock.pass(10_000);
    assert!(kv.setnx(b"k", b"third", None).unwrap(), "an expired key is no key");
}

#[test]
fn mset_mget_take_lists() {
    let world = World::new();
    let kv = world.kv();
    kv.set(b"a", b"old", Some(10)).unwrap();
    kv.mset(&[b"a", b"b", b"a"], &[b"1", b"2", b"3"]).unwrap();
    assert_eq!(kv.mget(&[b"b", b"nothing", b"a"]).unwrap(), [Some(b"2".to_vec()), None, Some(b"3".to_vec())]);
    assert_eq!(kv.ttl(b"a").unwrap(), Some(0));
    kv.mset(&[], &[]).unwrap();
    assert_eq!(kv.mget(&[]).unwrap(), Vec::<Option<Vec<u8>>>::new());
    assert!(refusal(kv.mset(&[b"a"], &[])).contains("as many values as keys"));
    assert!(refusal(kv.mset(&[b"new", &[0; 65_537]], &[b"1", b"2"])).contains("65536"));
    assert!(!kv.exists(b"new").unwrap(), "all or nothing");
}

#[test]
fn a_batch_happens_at_once_or_not_at_all() {
    let world = World::new();
    let kv = world.kv();
    let mut batch = Batch::new();
    kv.set_batch(&mut batch, b"a", b"1", Some(5)).unwrap();
    kv.mset_batch(&mut batch, &[b"b", b"c"], &[b"2", b"3"]).unwrap();
    assert!(refusal(kv.set_batch(&mut batch, b"d", b"4", Some(0))).contains("invalid expire time"));
    assert_eq!(batch.len(), 2, "what is refused is not in it");
    assert_eq!(kv.key_count().unwrap(), 0);
    kv.commit(batch.clone()).unwrap();
    assert_eq!((kv.key_count().unwrap(), kv.ttl(b"a").unwrap()), (3, Some(5)));

    let mut large = Batch::new();
    let value = vec![0; 16 << 20];
    for place in 0..4u8 {
        kv.set_batch(&mut large, &[b'x', place], &value, None).unwrap();
    }
    let error = kv.commit(large).unwrap_err();
    assert!(matches!(error, Error::TooLarge { bytes_max: 67_108_864, .. }), "{error}");
    assert_eq!(kv.keys_prefix(b"x").unwrap(), Vec::<Vec<u8>>::new());
    kv.commit(Batch::new()).unwrap();
}

#[test]
fn parts_of_values() {
    let world = World::new();
    let kv = world.kv();
    assert_eq!((kv.append(b"k", b"Hello").unwrap(), kv.append(b"k", b" World").unwrap()), (5, 11));
    assert_eq!(kv.setrange(b"k", 6, b"Redis").unwrap(), 11);
    assert_eq!(kv.get(b"k").unwrap(), Some(b"Hello Redis".to_vec()));
    assert_eq!(kv.setrange(b"new", 3, b"x").unwrap(), 4);
    assert_eq!(kv.get(b"new").unwrap(), Some(b"\0\0\0x".to_vec()), "filled with zeros");
    assert!(kv.setrange(b"new", 16_777_216, b"x").is_err());
    assert_eq!(kv.getrange(b"k", 0, 4).unwrap(), b"Hello");
    assert_eq!(kv.getrange(b"k", -5, -1).unwrap(), b"Redis");
    assert_eq!(kv.getrange(b"k", 5, 1).unwrap(), b"");
    assert_eq!(kv.getrange(b"nothing", 0, -1).unwrap(), b"");
    assert_eq!(kv.strlen(b"k").unwrap(), Some(11));
    assert_eq!(kv.strlen(b"nothing").unwrap(), None);
    kv.set(b"empty", b"", None).unwrap();
    assert_eq!(kv.strlen(b"empty").unwrap(), Some(0));
    kv.expire(b"k", 9).unwrap();
    kv.append(b"k", b"!").unwrap();
    assert_eq!(kv.ttl(b"k").unwrap(), Some(9), "keeps the time to live");
}

#[test]
fn getset_and_rename() {
    let world = World::new();
    let kv = world.kv();
    kv.set(b"k", b"1", Some(10)).unwrap();
    assert_eq!(kv.getset(b"k", b"2").unwrap(), Some(b"1".to_vec()));
    assert_eq!(kv.ttl(b"k").unwrap(), Some(0));
    assert_eq!(kv.getset(b"new", b"x").unwrap(), None);

    kv.expire(b"k", 10).unwrap();
    kv.set(b"target", b"gone", Some(100)).unwrap();
    kv.rename(b"k", b"target").unwrap();
    assert_eq!((kv.get(b"target").unwrap(), kv.ttl(b"target").unwrap()), (Some(b"2".to_vec()), Some(10)));
    assert!(!kv.exists(b"k").unwrap());
    let error = kv.rename(b"k", b"l").unwrap_err();
    assert!(error.is_no_such_key(), "{error}");
}

#[test]
fn kinds_of_keys() {
    let world = World::new();
    let kv = world.kv();
    assert_eq!((kv.key_type(b"k").unwrap(), kv.random_key().unwrap()), ("none", None));
    kv.set(b"text", "grüß".as_bytes(), None).unwrap();
    kv.set(b"bytes", b"\xC3\x28", None).unwrap();
    assert_eq!((kv.key_type(b"text").unwrap(), kv.key_type(b"bytes").unwrap()), ("string", "bytes"));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        seen.insert(kv.random_key().unwrap().unwrap());
    }
    assert_eq!(seen.len(), 2, "each key has its chance");
}

#[test]
fn deletes_say_what_went() {
    let world = World::new();
    let kv = world.kv();
    kv.mset(&[b"a:1", b"a:2", b"a\xFF", b"b"], &[b"", b"", b"", b""]).unwrap();
    kv.set(b"a:3", b"", Some(1)).unwrap();
    world.clock.pass(1_000);
    assert!(kv.del(b"b").unwrap());
    assert!(!kv.del(b"b").unwrap());
    assert_eq!(kv.del_prefix(b"a:").unwrap(), 2, "the expired one does not count");
    assert_eq!(kv.keys_prefix(b"").unwrap(), [b"a\xFF"]);
    assert_eq!(kv.mdel(&[b"a\xFF", b"a\xFF", b"nothing"]).unwrap(), 1);
    assert_eq!(kv.mdel(&[]).unwrap(), 0);
    assert_eq!(kv.del_prefix(b"").unwrap(), 0);
}

#[test]
fn counters_refuse_what_they_cannot_count() {
    let world = World::new();
    let kv = world.kv();
    assert_eq!((kv.incr(b"n").unwrap(), kv.incrby(b"n", -11).unwrap(), kv.decr(b"n").unwrap()), (1, -10, -11));
    assert_eq!(kv.decrby(b"n", -12).unwrap(), 1);
    kv.set(b"n", i64::MAX.to_string().as_bytes(), Some(10)).unwrap();
    assert!(refusal(kv.incr(b"n")).contains("overflow"));
    assert_eq!(kv.get(b"n").unwrap(), Some(i64::MAX.to_string().into_bytes()));
    assert_eq!(kv.decr(b"n").unwrap(), i64::MAX - 1);
    assert_eq!(kv.ttl(b"n").unwrap(), Some(10), "keeps the time to live");
    assert!(kv.decrby(b"n", i64::MIN).is_err());
    kv.set(b"text", b"abc", None).unwrap();
    assert!(refusal(kv.incr(b"text")).contains("not an integer"));

    assert_eq!(kv.incrbyfloat(b"f", 0.1).unwrap(), 0.1);
    assert_eq!(kv.incrbyfloat(b"f", 0.2).unwrap(), 0.3, "decimal, not binary");
    assert_eq!(kv.incrbyfloat(b"f", -1e-17).unwrap(), 0.3);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(refusal(kv.incrbyfloat(b"f", bad)).contains("NaN or Infinity"));
    }
    assert!(refusal(kv.incrbyfloat(b"text", 1.0)).contains("not a valid float"));
    assert_eq!(kv.incrbyfloat(b"large", 1e300).unwrap(), 1e300);
}

#[test]
fn scans_are_ordered_and_paged() {
    let world = World::new();
    let kv = world.kv();
    for place in 0..20 {
        kv.set(format!("k:{place:02}").as_bytes(), format!("v{place}").as_bytes(), None).unwrap();
    }
    kv.set(b"other", b"", None).unwrap();
    assert_eq!(kv.keys_prefix(b"k:").unwrap().len(), 20);
    assert_eq!(kv.keys_match(b"k:0[1-3]").unwrap(), [b"k:01", b"k:02", b"k:03"]);
    assert_eq!(kv.keys_match(b"*9").unwrap(), [b"k:09", b"k:19"]);
    assert_eq!(kv.keys_match(b"k:?0").unwrap(), [b"k:00", b"k:10"]);
    assert_eq!(kv.keys_match(b"\\other").unwrap(), [b"other"]);
    assert_eq!(kv.keys_prefix_limit(b"k:", 18, 10).unwrap(), [b"k:18", b"k:19"]);
    assert_eq!(kv.scan_prefix_limit(b"k:", 4, 2).unwrap(), [pair("k:04", "v4"), pair("k:05", "v5")]);
    assert_eq!(kv.scan_prefix_limit(b"k:", 0, 0).unwrap(), []);
    assert_eq!(kv.scan_prefix_limit(b"k:", 100, usize::MAX / 2).unwrap(), []);
    assert_eq!(kv.key_count().unwrap(), 21);
    assert!(kv.disk_space().unwrap() > 0);
}

#[test]
fn a_hostile_pattern_takes_no_time() {
    let world = World::new();
    let kv = world.kv();
    kv.set(&[b'a'; 60_000], b"", None).unwrap();
    let began = std::time::Instant::now();
    assert_eq!(kv.keys_match(b"a*a*a*a*a*a*a*a*a*b").unwrap(), Vec::<Vec<u8>>::new());
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

#[test]
fn a_snapshot_does_not_change() {
    let world = World::new();
    let kv = world.kv();
    kv.mset(&[b"a", b"b"], &[b"1", b"2"]).unwrap();
    kv.set(b"due", b"", Some(1)).unwrap();
    kv.set(b"later", b"", Some(10)).unwrap();
    world.clock.pass(1_000);
    let snapshot = kv.snapshot().unwrap();
    kv.del(b"a").unwrap();
    kv.set(b"c", b"3", None).unwrap();
    world.clock.pass(60_000);
    assert_eq!(world.db().purge_expired().unwrap(), 2);
    assert_eq!(kv.snapshot_get(&snapshot, b"a").unwrap(), Some(b"1".to_vec()));
    assert_eq!(kv.snapshot_get(&snapshot, b"due").unwrap(), None, "it had ended when the snapshot was made");
    assert_eq!(kv.snapshot_get(&snapshot, b"later").unwrap(), Some(Vec::new()), "it had not");
    let pairs = kv.snapshot_scan_prefix_limit(&snapshot, b"", 1, 10).unwrap();
    assert_eq!(pairs, [pair("b", "2"), pair("later", "")]);
    assert!(snapshot.clock_ms() >= crate::support::START_MS + 1_000);
    assert_eq!(kv.get(b"later").unwrap(), None);
}

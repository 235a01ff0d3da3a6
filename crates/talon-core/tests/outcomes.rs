//! The bytes of replies and outcomes: what was written is read back, and what was not written is refused, never a panic.

use bytes::Bytes;
use proptest::prelude::*;
use talon_core::reply::{decode, encode};
use talon_core::{Denied, Outcome, Refusal, Reply, outcomes};

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn reply() -> impl Strategy<Value = Reply> {
    let leaf = prop_oneof![
        prop::sample::select(vec![Reply::Ok, Reply::Null, Reply::NullArray, Reply::Simple("none")]),
        any::<i64>().prop_map(Reply::Integer),
        bytes().prop_map(Reply::Bulk),
        // Of two NaNs, nobody can say that they are the same.
        any::<f64>().prop_filter("a number", |number| !number.is_nan()).prop_map(Reply::Double),
        any::<bool>().prop_map(Reply::Boolean),
        ".{0,9}".prop_map(Reply::Verbatim),
        ".{0,9}".prop_map(|line| Reply::Error(Refusal::from_string(line))),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let list = || prop::collection::vec(inner.clone(), 0..5);
        prop_oneof![
            list().prop_map(Reply::Array),
            list().prop_map(Reply::Set),
            list().prop_map(Reply::Push),
            prop::collection::vec((inner.clone(), inner.clone()), 0..4).prop_map(Reply::Map),
        ]
    })
}

fn denied() -> impl Strategy<Value = Denied> {
    let two = || (any::<u64>(), any::<u64>());
    prop_oneof![
        prop::sample::select(vec![
            Denied::NoLeader,
            Denied::InDoubt,
            Denied::Loading,
            Denied::Busy,
            Denied::TooMuchWatched,
            Denied::ShuttingDown
        ]),
        two().prop_map(|(behind_ms, bound_ms)| Denied::Stale { behind_ms, bound_ms }),
        two().prop_map(|(free_bytes, reserve_bytes)| Denied::DiskFull { free_bytes, reserve_bytes }),
        (any::<usize>(), any::<usize>()).prop_map(|(size_bytes, bytes_max)| Denied::TooLarge { size_bytes, bytes_max }),
        ".{0,9}".prop_map(Denied::Fault),
    ]
}

fn all() -> impl Strategy<Value = Vec<Outcome>> {
    prop::collection::vec(prop_oneof![reply().prop_map(Ok), denied().prop_map(Err)], 0..5)
}

proptest! {
    #[test]
    fn a_reply_is_read_back(reply in reply()) {
        let bytes = encode(&reply);
        prop_assert_eq!(decode(&bytes).ok(), Some(reply));
    }

    #[test]
    fn outcomes_are_read_back(all in all()) {
        let bytes = outcomes::encode(&all);
        let sizes = all.iter().map(outcomes::size_bytes).sum::<usize>();
        prop_assert_eq!(bytes.len(), outcomes::HEADER_BYTES + sizes);
        prop_assert_eq!(outcomes::decode(&bytes).ok(), Some(all));
    }

    #[test]
    fn a_part_is_refused(all in all(), keep in 0.0f64..1.0) {
        let bytes = outcomes::encode(&all);
        let length = (bytes.len() as f64 * keep) as usize;
        prop_assert!(outcomes::decode(&bytes.slice(..length)).is_err());
    }

    #[test]
    fn more_is_refused(reply in reply(), tail in prop::collection::vec(any::<u8>(), 1..9)) {
        let bytes = Bytes::from([encode(&reply).to_vec(), tail].concat());
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn damage_is_no_panic(all in all(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = outcomes::encode(&all).to_vec();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        // Whatever it is taken for, it is written and read the same again.
        if let Ok(read) = outcomes::decode(&Bytes::from(bytes)) {
            let written = outcomes::encode(&read);
            let again = outcomes::decode(&written).map(|again| outcomes::encode(&again));
            prop_assert_eq!(again.ok(), Some(written));
        }
    }

    #[test]
    fn noise_is_no_panic(noise in prop::collection::vec(any::<u8>(), 0..60)) {
        let noise = Bytes::from([&[1][..], &noise].concat());
        let _ = (decode(&noise), outcomes::decode(&noise));
    }
}

#[test]
fn lists_without_end_are_refused() {
    let mut bytes = vec![1];
    for _ in 0..100_000 {
        bytes.extend([6, 1, 0, 0, 0]);
    }
    assert!(decode(&Bytes::from(bytes)).unwrap_err().0.contains("lists in each other"));
    let huge = Bytes::from_static(&[1, 6, 255, 255, 255, 255]);
    assert!(decode(&huge).is_err(), "no room is made for what cannot come");
}

#[test]
fn what_is_newer_or_unknown_is_named() {
    assert!(decode(&Bytes::from_static(&[2, 0])).unwrap_err().0.contains("reads up to 1"));
    assert!(decode(&Bytes::from_static(&[1, 99])).unwrap_err().0.contains("unknown kind 99"));
    let simple = encode(&Reply::Simple("of a later build"));
    assert_eq!(decode(&simple).unwrap(), Reply::bulk("of a later build"), "nothing is lost but its kind");
}

//! Replies go through the encoder and the client's decoder and mean the same.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use talon_core::{Refusal, Reply};
use talon_resp::{Protocol, Value, ValueDecoder, encode};

fn any_reply() -> impl Strategy<Value = Reply> {
    let leaf = prop_oneof![
        Just(Reply::Ok),
        Just(Reply::Simple("PONG")),
        any::<i64>().prop_map(Reply::Integer),
        vec(any::<u8>(), 0..40).prop_map(|bytes| Reply::Bulk(Bytes::from(bytes))),
        Just(Reply::Null),
        Just(Reply::NullArray),
        any::<f64>().prop_filter("not a number never equals", |number| !number.is_nan()).prop_map(Reply::Double),
        any::<bool>().prop_map(Reply::Boolean),
        "[ -~]{0,20}".prop_map(Reply::Verbatim),
        "ERR [ -~]{0,20}".prop_map(|line| Reply::Error(Refusal::from_string(line))),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Reply::Array),
            vec(inner.clone(), 0..6).prop_map(Reply::Set),
            vec(inner.clone(), 0..6).prop_map(Reply::Push),
            vec((inner.clone(), inner), 0..4).prop_map(Reply::Map),
        ]
    })
}

/// What a client is to see.
fn expected(reply: &Reply, protocol: Protocol) -> Value {
    let resp3 = protocol == Protocol::Resp3;
    let all = |items: &[Reply]| items.iter().map(|item| expected(item, protocol)).collect::<Vec<_>>();
    match reply {
        Reply::Ok => Value::Simple("OK".to_owned()),
        Reply::Simple(text) => Value::Simple((*text).to_owned()),
        Reply::Integer(number) => Value::Integer(*number),
        Reply::Bulk(bytes) => Value::Bulk(bytes.clone()),
        Reply::Null | Reply::NullArray => Value::Null,
        Reply::Array(items) => Value::Array(all(items)),
        Reply::Set(items) if resp3 => Value::Set(all(items)),
        Reply::Push(items) if resp3 => Value::Push(all(items)),
        Reply::Set(items) | Reply::Push(items) => Value::Array(all(items)),
        Reply::Map(pairs) if resp3 => {
            Value::Map(pairs.iter().map(|(key, value)| (expected(key, protocol), expected(value, protocol))).collect())
        }
        Reply::Map(pairs) => Value::Array(
            pairs.iter().flat_map(|(key, value)| [expected(key, protocol), expected(value, protocol)]).collect(),
        ),
        Reply::Double(number) if resp3 => Value::Double(*number),
        Reply::Double(number) => Value::Bulk(Bytes::from(talon_resp::format_double(*number))),
        Reply::Boolean(yes) if resp3 => Value::Boolean(*yes),
        Reply::Boolean(yes) => Value::Integer(i64::from(*yes)),
        Reply::Verbatim(text) if resp3 => Value::Verbatim(Bytes::from(text.clone())),
        Reply::Verbatim(text) => Value::Bulk(Bytes::from(text.clone())),
        Reply::Error(refusal) => Value::Error(refusal.line().to_owned()),
    }
}

proptest! {
    #[test]
    fn replies_round_trip_in_any_pieces(replies in vec(any_reply(), 1..5), piece in 1usize..30, resp3 in any::<bool>()) {
        let protocol = if resp3 { Protocol::Resp3 } else { Protocol::Resp2 };
        let mut wire = BytesMut::new();
        for reply in &replies {
            encode(reply, protocol, &mut wire);
        }
        let decoder = ValueDecoder { length_max: 1024 };
        let mut buffer = BytesMut::new();
        let mut values = Vec::new();
        for piece in wire.chunks(piece) {
            buffer.extend_from_slice(piece);
            while let Some(value) = decoder.next(&mut buffer).expect("what was encoded is valid") {
                values.push(value);
            }
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(values, replies.iter().map(|reply| expected(reply, protocol)).collect::<Vec<_>>());
    }

    #[test]
    fn garbage_never_panics_the_client(garbage in vec(any::<u8>(), 0..200)) {
        let mut buffer = BytesMut::from(&garbage[..]);
        let decoder = ValueDecoder { length_max: 1024 };
        while let Ok(Some(_)) = decoder.next(&mut buffer) {}
    }

    #[test]
    fn doubles_read_back_exactly(bits in any::<u64>()) {
        let number = f64::from_bits(bits);
        if !number.is_nan() {
            let text = talon_resp::format_double(number);
            prop_assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(bits), "{}", text);
        }
    }
}

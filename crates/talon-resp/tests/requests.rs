//! The request decoder: what it reads, what it refuses, and that the way the bytes are cut makes no difference.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use talon_resp::{Limits, ProtocolError, RequestDecoder, Words, encode_command};

fn words(list: &[&str]) -> Words {
    let all: Vec<Bytes> = list.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    Words { name: all[0][..].into(), args: all[1..].into() }
}

/// Everything in `input`, fed in pieces of these sizes (the last one repeats).
fn decode(input: &[u8], pieces: &[usize], limits: &Limits) -> (Vec<Words>, Option<ProtocolError>) {
    let mut decoder = RequestDecoder::new();
    let mut buffer = BytesMut::new();
    let mut found = Vec::new();
    let mut rest = input;
    let mut sizes = pieces.iter().copied().chain(std::iter::repeat(pieces.last().copied().unwrap_or(1).max(1)));
    loop {
        match decoder.next(&mut buffer, limits) {
            Ok(Some(words)) => found.push(words),
            Ok(None) if rest.is_empty() => return (found, None),
            Ok(None) => {
                let size = sizes.next().unwrap_or(1).min(rest.len());
                buffer.extend_from_slice(&rest[..size]);
                rest = &rest[size..];
            }
            Err(error) => return (found, Some(error)),
        }
    }
}

fn whole(input: &[u8]) -> (Vec<Words>, Option<ProtocolError>) {
    decode(input, &[input.len()], &Limits::default())
}

#[test]
fn a_pipeline_of_multibulk_and_inline_requests() {
    let input = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n\r\nPING \"hi there\"\r\n*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\nset a 'b'\n";
    let expected =
        vec![words(&["GET", "a"]), words(&["PING", "hi there"]), words(&["PING"]), words(&["set", "a", "b"])];
    assert_eq!(whole(input), (expected.clone(), None));
    assert_eq!(decode(input, &[1], &Limits::default()), (expected, None));
}

#[test]
fn an_empty_word_is_a_word() {
    assert_eq!(whole(b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n"), (vec![words(&["GET", ""])], None));
}

#[test]
fn every_protocol_error_has_its_words() {
    let long = vec![b'1'; 70_000];
    let with = |head: &[u8]| [head, &long].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"*x\r\n".to_vec(), "ERR Protocol error: invalid multibulk length"),
        (b"*1048577\r\n".to_vec(), "ERR Protocol error: invalid multibulk length"),
        (b"*99999999999999999999\r\n".to_vec(), "ERR Protocol error: invalid multibulk length"),
        (b"*1\r\n$x\r\n".to_vec(), "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$-1\r\n".to_vec(), "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$16777217\r\n".to_vec(), "ERR Protocol error: invalid bulk length"),
        (b"*1\r\nfoo\r\n".to_vec(), "ERR Protocol error: expected '$', got 'f'"),
        (b"*1\r\n\r\n".to_vec(), "ERR Protocol error: expected '$', got ' '"),
        (b"*1\r\n\0\r\n".to_vec(), "ERR Protocol error: expected '$', got '\0'"),
        (with(b"GET "), "ERR Protocol error: too big inline request"),
        (with(b"*"), "ERR Protocol error: too big mbulk count string"),
        (with(b"*1\r\n$"), "ERR Protocol error: too big bulk count string"),
        (b"get \"a\r\n".to_vec(), "ERR Protocol error: unbalanced quotes in request"),
    ];
    for (input, line) in cases {
        for pieces in [vec![input.len()], vec![1], vec![3, 7]] {
            let (_, error) = decode(&input, &pieces, &Limits::default());
            assert_eq!(error.map(|error| error.line()), Some(line.as_bytes().to_vec()), "{line}");
        }
    }
}

#[test]
fn limits_hold_at_their_edges() {
    let limits = Limits { words_max: 2, bulk_bytes_max: 3, ..Limits::default() };
    let decode = |input: &[u8]| decode(input, &[input.len()], &limits).1;
    assert_eq!(decode(b"*2\r\n$3\r\nabc\r\n$0\r\n\r\n"), None);
    assert_eq!(decode(b"*3\r\n"), Some(ProtocolError::MultibulkLength));
    assert_eq!(decode(b"*1\r\n$4\r\n"), Some(ProtocolError::BulkLength));
}

#[test]
fn a_stranger_may_say_little() {
    let limits = Limits { unauthenticated: true, ..Limits::default() };
    let decode = |input: &[u8]| decode(input, &[input.len()], &limits).1;
    assert_eq!(decode(b"*10\r\n$16384\r\n"), None);
    assert_eq!(decode(b"*11\r\n"), Some(ProtocolError::UnauthenticatedMultibulkLength));
    assert_eq!(decode(b"*1\r\n$16385\r\n"), Some(ProtocolError::UnauthenticatedBulkLength));
}

#[test]
fn a_promise_allocates_nothing() {
    let mut decoder = RequestDecoder::new();
    let mut buffer = BytesMut::from(&b"*1048576\r\n$16777216\r\nabc"[..]);
    assert_eq!(decoder.next(&mut buffer, &Limits::default()), Ok(None));
    // Room for the one word under way, once, and not for a million.
    assert!(buffer.capacity() <= 2 * (16_777_216 + 64), "{}", buffer.capacity());
}

#[test]
fn a_large_word_is_moved_at_most_once() {
    let value = vec![b'v'; 4 * 1024 * 1024];
    let mut input = BytesMut::new();
    encode_command(&[Bytes::from_static(b"SET"), Bytes::from_static(b"k"), Bytes::from(value.clone())], &mut input);
    let mut decoder = RequestDecoder::new();
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    let mut places = std::collections::BTreeSet::new();
    let mut request = None;
    for piece in input.chunks(16 * 1024) {
        buffer.extend_from_slice(piece);
        if let Some(words) = decoder.next(&mut buffer, &Limits::default()).expect("valid") {
            request = Some(words);
        } else {
            places.insert(buffer.as_ptr() as usize);
        }
    }
    let request = request.expect("complete");
    assert_eq!(request.args[1], value);
    assert!(places.len() <= 2, "the buffer moved {} times", places.len());
    assert!(places.contains(&(request.args[1].as_ptr() as usize)), "the value is not a slice of the buffer");
}

fn any_request() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 0..40), 1..6)
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_requests(requests in vec(any_request(), 0..8), pieces in vec(1usize..50, 1..20)) {
        let mut input = BytesMut::new();
        let mut expected = Vec::new();
        for request in requests {
            let all: Vec<Bytes> = request.into_iter().map(Bytes::from).collect();
            encode_command(&all, &mut input);
            expected.push(Words { name: all[0][..].into(), args: all[1..].into() });
        }
        prop_assert_eq!(decode(&input, &pieces, &Limits::default()), (expected, None));
    }

    #[test]
    fn garbage_is_judged_the_same_however_it_is_cut(
        garbage in vec(prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'"'), b'0'..=b'9', any::<u8>()], 0..300),
        pieces in vec(1usize..20, 1..20),
    ) {
        let limits = Limits { bulk_bytes_max: 64, words_max: 8, line_bytes_max: 32, ..Limits::default() };
        let at_once = decode(&garbage, &[garbage.len().max(1)], &limits);
        prop_assert_eq!(at_once, decode(&garbage, &pieces, &limits));
    }
}

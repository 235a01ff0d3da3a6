//! The bytes of a log entry: what was written is read back, and what was not written is refused, never misread or a panic.

use bytes::Bytes;
use proptest::prelude::*;
use talon_core::{Call, Command, Proposal, Request, commands};

fn request() -> impl Strategy<Value = Request> {
    let rows: Vec<&'static Command> = commands::all().collect();
    let args = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..5);
    (prop::sample::select(rows), args)
        .prop_map(|(row, args)| Request::new(row, args.into_iter().map(Bytes::from).collect()))
}

fn proposal() -> impl Strategy<Value = Proposal> {
    let call = prop_oneof![
        3 => request().prop_map(Call::One),
        1 => prop::collection::vec(request(), 0..4).prop_map(Call::Transaction),
    ];
    (any::<u64>(), any::<u64>(), prop::collection::vec(call, 0..6)).prop_map(|(stamp_ms, seed, calls)| Proposal {
        stamp_ms,
        seed,
        calls,
    })
}

fn same_requests(a: &[Request], b: &[Request]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| std::ptr::eq(a.command, b.command) && a.args == b.args)
}

fn same(a: &Proposal, b: &Proposal) -> bool {
    a.stamp_ms == b.stamp_ms
        && a.seed == b.seed
        && a.calls.len() == b.calls.len()
        && a.calls.iter().zip(&b.calls).all(|calls| match calls {
            (Call::One(a), Call::One(b)) => same_requests(std::slice::from_ref(a), std::slice::from_ref(b)),
            (Call::Transaction(a), Call::Transaction(b)) => same_requests(a, b),
            _ => false,
        })
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(proposal in proposal()) {
        let bytes = proposal.encode();
        let decoded = Proposal::decode(bytes.clone());
        prop_assert!(decoded.as_ref().is_ok_and(|decoded| same(decoded, &proposal)), "{decoded:?}");
        // One spelling only: what is read writes the same bytes again.
        prop_assert_eq!(decoded.map(|decoded| decoded.encode()).ok(), Some(bytes));
    }

    #[test]
    fn a_part_is_refused(proposal in proposal(), keep in 0.0f64..1.0) {
        let bytes = proposal.encode();
        let length = (bytes.len() as f64 * keep) as usize;
        prop_assert!(Proposal::decode(bytes.slice(..length)).is_err());
    }

    #[test]
    fn more_is_refused(proposal in proposal(), tail in prop::collection::vec(any::<u8>(), 1..9)) {
        let bytes = [proposal.encode().to_vec(), tail].concat();
        prop_assert!(Proposal::decode(Bytes::from(bytes)).is_err());
    }

    #[test]
    fn garbage_is_refused_or_written_alike(bytes in prop::collection::vec(any::<u8>(), 0..200), version in 0u8..3) {
        let bytes = Bytes::from([vec![version], bytes].concat());
        if let Ok(decoded) = Proposal::decode(bytes.clone()) {
            prop_assert_eq!(&decoded.encode()[1..], &bytes[1..]);
        }
    }

    #[test]
    fn a_flipped_byte_never_panics(proposal in proposal(), place: prop::sample::Index, flip in 1u8..) {
        let mut bytes = proposal.encode().to_vec();
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        let _ = Proposal::decode(Bytes::from(bytes));
    }
}

#[test]
fn a_count_beyond_the_bytes_takes_no_memory() {
    // 4 billion calls, then 4 billion requests, then 4 billion arguments, and nothing behind.
    let head = [&[1u8][..], &[0; 16], &[0xFF; 4]].concat();
    let transaction = [&head[..], &[1], &[0xFF; 4]].concat();
    let request = [&head[..], &[0], &1u16.to_le_bytes(), &[0xFF; 4]].concat();
    for bytes in [head, transaction, request] {
        assert!(Proposal::decode(Bytes::from(bytes)).is_err());
    }
}

#[test]
fn a_newer_version_and_an_unknown_command_say_so() {
    let mut newer = Proposal { stamp_ms: 1, seed: 2, calls: Vec::new() }.encode().to_vec();
    newer[0] = 2;
    let fault = Proposal::decode(Bytes::from(newer)).expect_err("newer");
    assert!(fault.0.contains("version 2"), "{fault}");
    let mut unknown = Vec::from([1u8]);
    unknown.extend_from_slice(&[0; 16]);
    unknown.extend_from_slice(&1u32.to_le_bytes());
    unknown.push(0);
    unknown.extend_from_slice(&60_000u16.to_le_bytes());
    unknown.extend_from_slice(&0u32.to_le_bytes());
    let fault = Proposal::decode(Bytes::from(unknown)).expect_err("unknown");
    assert!(fault.0.contains("command 60000"), "{fault}");
}

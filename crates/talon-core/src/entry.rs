//! How the calls of one log entry are carried out, and where that ends.
//!
//! A request of a few bytes may write megabytes, and how many depends on the state (`APPEND`, `SETBIT`). All of it is in memory until it is
//! committed, on every node at once. So there are two bounds, and every node comes to the same decision:
//!
//! - Once an entry has written [`ENTRY_WRITES_MAX`], the writes behind are certainly not carried out. Whoever proposed them proposes them
//!   again. The first one always is, so there is progress.
//! - A transaction that writes more than [`TRANSACTION_WRITES_MAX`](crate::limits::TRANSACTION_WRITES_MAX), and more than it brings along, is
//!   refused as a whole, and the writes behind it are left for another entry, too: else a thousand of them would be tried in one. Any
//!   other call has a bound by itself: that of a value, or of the request.
//!
//! Nothing is ever undone. When a transaction turns out to be too large, everything since the last commit is thrown away and carried out
//! again without it.

use crate::database::Call;
use crate::error::{Fault, Refusal};
use crate::limits::ENTRY_WRITES_MAX;
use crate::planted::{Bug, is_planted};
use crate::reply::Reply;
use crate::request;
use crate::transaction::Transaction;

/// Why a transaction is refused that writes too much, in words like Redis's for one that is not carried out.
pub const TRANSACTION_TOO_LARGE: Refusal = Refusal::new(
    "EXECABORT Transaction discarded because of: it would write, or be answered with, more than 268435456 bytes",
);

/// What an entry brings to be carried out.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// The leader's clock, Unix ms. The clock `T` is raised to it first.
    pub stamp_ms: u64,
    /// For commands that need randomness.
    pub seed: u64,
    /// The calls. Reads among them are answered at their place.
    pub calls: &'a [Call],
    /// Whether somebody waits for the replies. Without, reads are left out.
    pub want_replies: bool,
}

/// What became of the calls.
#[derive(Clone, Debug, PartialEq)]
pub enum Carried {
    /// The replies, if they are wanted: one for each of the first calls. Those behind were not carried out, and have to be proposed again.
    Replies(Vec<Reply>),
    /// The call at this place is a transaction that writes too much: the [`Transaction`] is spoilt. Carry everything out on a new one,
    /// and tell this place.
    TooLarge(usize),
}

/// Carries out an entry's calls in order. `too_large`: the place of a transaction that was found to write too much, and is refused.
/// `look_ahead` is told of each call before it is carried out, by its place.
///
/// # Errors
/// Only a [`Fault`]: the node must stop.
pub fn carry_out(
    transaction: &mut Transaction<'_>,
    work: Work<'_>,
    too_large: Option<usize>,
    mut look_ahead: impl FnMut(usize),
) -> Result<Carried, Fault> {
    let Work { stamp_ms, seed, calls, want_replies } = work;
    transaction.begin_entry(stamp_ms, seed);
    let mut replies = Vec::with_capacity(if want_replies { calls.len() } else { 0 });
    let (mut writes, mut is_full) = (0, false);
    let backwards = is_planted(Bug::ApplyOutOfOrder) && !want_replies;
    for place in 0..calls.len() {
        look_ahead(place);
        let place = if backwards { calls.len() - 1 - place } else { place };
        let call = &calls[place];
        if call.is_write() {
            if is_full {
                break;
            }
            writes += 1;
        } else if !want_replies {
            continue;
        }
        // Read points are not replicated: each call gets a seed of its own, so that a read cannot move the random
        // numbers of the writes behind it.
        let own_seed = if call.is_write() { call_seed(seed, writes) } else { !call_seed(seed, writes) };
        transaction.begin_call(own_seed);
        let reply = if too_large == Some(place) {
            is_full = true;
            Reply::Error(TRANSACTION_TOO_LARGE)
        } else {
            request::execute(transaction, call)?
        };
        if let Call::One(request) = call
            && request.command.is_write()
        {
            transaction.held.add_reply(&reply);
        }
        if transaction.is_overfull() {
            return Ok(Carried::TooLarge(place));
        }
        is_full |= transaction.entry_bytes() >= ENTRY_WRITES_MAX;
        if want_replies {
            replies.push(reply);
        }
    }
    Ok(Carried::Replies(replies))
}

/// The seed of the `ordinal`th write of an entry.
fn call_seed(entry_seed: u64, ordinal: u64) -> u64 {
    entry_seed.rotate_left(32) ^ ordinal.wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::limits::{TRANSACTION_WRITES_MAX, VALUE_BYTES_MAX};
    use crate::request::Request;
    use crate::script::MemorySource;

    const LAST_BIT: usize = VALUE_BYTES_MAX * 8 - 1;

    fn request(line: &str) -> Request {
        let mut words = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes()));
        let name = words.next().unwrap();
        Request::parse(&name, words.collect()).unwrap()
    }

    fn one(line: &str) -> Call {
        Call::One(request(line))
    }

    /// A value of 16 MB, made by a few bytes.
    fn grow(key: &str) -> Call {
        one(&format!("SETBIT {key} {LAST_BIT} 1"))
    }

    fn grow_all(keys: std::ops::Range<usize>) -> Call {
        Call::Transaction(keys.map(|key| request(&format!("SETBIT {key} {LAST_BIT} 1"))).collect())
    }

    fn try_out(
        source: &mut MemorySource,
        calls: &[Call],
        want_replies: bool,
        too_large: Option<usize>,
    ) -> (Carried, u64) {
        source.transact(1, |transaction| {
            let work = Work { stamp_ms: 1, seed: 7, calls, want_replies };
            let carried = carry_out(transaction, work, too_large, |_| ()).unwrap();
            (carried, transaction.held_bytes())
        })
    }

    fn replies(carried: Carried) -> Vec<Reply> {
        match carried {
            Carried::Replies(replies) => replies,
            Carried::TooLarge(place) => panic!("the call at {place} writes too much"),
        }
    }

    #[test]
    fn an_entry_that_has_written_enough_ends() {
        let mut source = MemorySource::default();
        let mut calls: Vec<Call> = (0..9).map(|key| grow(&key.to_string())).collect();
        calls.insert(4, one("STRLEN 3"));
        let (carried, held) = try_out(&mut source, &calls, true, None);
        // Four of them; the read behind is answered, for it writes nothing.
        let length = Reply::Integer(VALUE_BYTES_MAX as i64);
        assert_eq!(replies(carried), [vec![Reply::Integer(0); 4], vec![length]].concat());
        assert_eq!((held, source.data.len()), (4 * (VALUE_BYTES_MAX as u64 + 1), 4));

        let mut follower = MemorySource::default();
        let writes: Vec<Call> = calls.iter().filter(|call| call.is_write()).cloned().collect();
        assert_eq!(replies(try_out(&mut follower, &writes, false, None).0), []);
        assert!(follower == source, "it has no reads among its calls, and ends at the same write");
        let rest = &calls[5..];
        assert_eq!(replies(try_out(&mut source, rest, true, None).0).len(), 4, "progress");
    }

    #[test]
    fn a_value_that_is_written_again_and_again_counts_once() {
        let mut source = MemorySource::default();
        let calls: Vec<Call> = (0..20).map(|bit| one(&format!("SETBIT k {} 1", LAST_BIT - bit))).collect();
        let (carried, held) = try_out(&mut source, &calls, true, None);
        assert_eq!((replies(carried).len(), held), (20, VALUE_BYTES_MAX as u64 + 1));
        let requests = (0..40).map(|bit| request(&format!("SETBIT k {} 1", LAST_BIT - bit))).collect();
        let carried = try_out(&mut source, &[Call::Transaction(requests)], true, None).0;
        assert!(matches!(&replies(carried)[..], [Reply::Array(all)] if all.len() == 40));
        // What is deleted is held no more.
        let mut calls = Vec::new();
        for key in 0..10 {
            calls.extend([grow(&format!("p{key}")), one(if key % 2 == 0 { "DELPREFIX p" } else { "FLUSHALL" })]);
        }
        let (carried, held) = try_out(&mut source, &calls, true, None);
        assert_eq!((replies(carried).len(), held, source.data.len()), (20, 0, 0));
    }

    #[test]
    fn however_entries_are_lumped_together_they_end_at_the_same_call() {
        let entries: Vec<Vec<Call>> = vec![
            ["a", "b", "c"].map(grow).to_vec(),
            ["a", "b", "c", "d", "e", "f"].map(|key| one(&format!("SETBIT {key} {} 1", LAST_BIT - 1))).to_vec(),
            vec![one("DELPREFIX "), grow("a"), grow("a"), grow("b"), grow("c"), grow("d"), grow("e")],
        ];
        let work = |calls| Work { stamp_ms: 1, seed: 7, calls, want_replies: true };
        let mut lumped = MemorySource::default();
        let together: Vec<Carried> = lumped.transact(1, |transaction| {
            entries.iter().map(|calls| carry_out(transaction, work(calls), None, |_| ()).unwrap()).collect()
        });
        let mut single = MemorySource::default();
        let apart: Vec<Carried> = entries.iter().map(|calls| try_out(&mut single, calls, true, None).0).collect();
        assert_eq!(together, apart);
        assert!(lumped == single);
        let counts: Vec<usize> = apart.into_iter().map(|carried| replies(carried).len()).collect();
        assert_eq!(counts, [3, 4, 6]);
    }

    #[test]
    fn a_transaction_that_writes_too_much_is_refused_and_ends_the_entry() {
        let values = TRANSACTION_WRITES_MAX as usize / VALUE_BYTES_MAX;
        let mut source = MemorySource::default();
        let carried = try_out(&mut source, &[grow_all(1..values)], true, None).0;
        assert!(matches!(&replies(carried)[..], [Reply::Array(all)] if all.len() == values - 1), "not quite too much");

        let calls = [one("SET before 1"), grow_all(0..values), one("GET before"), one("SET behind 1")];
        let mut spoilt = MemorySource::default();
        assert_eq!(try_out(&mut spoilt, &calls, true, None).0, Carried::TooLarge(1), "the keys count, too");
        let mut source = MemorySource::default();
        let carried = try_out(&mut source, &calls, true, Some(1)).0;
        assert_eq!(replies(carried), [Reply::Ok, Reply::Error(TRANSACTION_TOO_LARGE), Reply::bulk("1")]);
        assert_eq!(source.data.keys().collect::<Vec<_>>(), ["before"]);
        assert!(TRANSACTION_TOO_LARGE.line().contains(&TRANSACTION_WRITES_MAX.to_string()));
    }

    #[test]
    fn what_writes_answer_counts_too() {
        let taken = |key: usize| [format!("SETBIT {key} {LAST_BIT} 1"), format!("GETDEL {key}")];
        let all = |keys: std::ops::Range<usize>| keys.flat_map(taken).collect::<Vec<String>>();
        let mut source = MemorySource::default();
        let calls: Vec<Call> = all(0..10).iter().map(|line| one(line)).collect();
        let carried = try_out(&mut source, &calls, true, None).0;
        assert_eq!((replies(carried).len(), source.data.len()), (7, 1), "three are answered, and one is stored");
        let values = TRANSACTION_WRITES_MAX as usize / VALUE_BYTES_MAX;
        let transaction = |keys| Call::Transaction(all(keys).iter().map(|line| request(line)).collect());
        let carried = try_out(&mut source, &[transaction(0..values - 2)], true, None).0;
        let [Reply::Array(all_replies)] = &replies(carried)[..] else { panic!("it is carried out") };
        assert_eq!(all_replies.len(), 2 * (values - 2));
        let mut spoilt = MemorySource::default();
        assert_eq!(try_out(&mut spoilt, &[transaction(0..values + 1)], true, None).0, Carried::TooLarge(0));
        let mut follower = MemorySource::default();
        assert_eq!(try_out(&mut follower, &[transaction(0..values + 1)], false, None).0, Carried::TooLarge(0));
    }

    #[test]
    fn what_a_transaction_brings_along_it_may_write() {
        let value = "v".repeat(VALUE_BYTES_MAX);
        let values = TRANSACTION_WRITES_MAX as usize / VALUE_BYTES_MAX + 1;
        let sets = (0..values).map(|key| request(&format!("SET {key} {value}"))).collect();
        let mut source = MemorySource::default();
        let carried = try_out(&mut source, &[Call::Transaction(sets)], true, None).0;
        assert!(matches!(&replies(carried)[..], [Reply::Array(all)] if all.len() == values));
        assert_eq!(source.data.len(), values);
    }
}

//! `BITOP AND | OR | XOR | NOT destination source [source ...]`

use bytes::{Bytes, BytesMut};

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::{Error, Refusal, SYNTAX};
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static BITOP: Command = Command {
    id: 27,
    kind: Kind::Write,
    facts: Facts {
        name: "bitop",
        arity: -4,
        flags: &[Flag::Write, Flag::Denyoom],
        keys: KeySpec { first: 2, last: -1, step: 1 },
        group: Group::Bitmap,
        summary: "Combines values bit by bit, the short ones filled up with zero bytes, and stores the result under a key, without a TTL.",
        since: "2.6.0",
        complexity: "O(N) where N is the length of all values together.",
    },
    execute,
};

/// All sources together; a key may be named many times. Every node does the work, one command after the other.
const WORK_BYTES_MAX: usize = 256 << 20;

const TOO_MUCH: Refusal = Refusal::new("ERR BITOP reads 268435456 bytes at most");

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let operation = Operation::parse(&args[0]).ok_or(SYNTAX)?;
    let (destination, first, others) = (&args[1], &args[2], &args[3..]);
    if operation == Operation::Not && !others.is_empty() {
        return Err(Refusal::new("ERR BITOP NOT must be called with a single source key.").into());
    }
    let first = value(transaction, first)?;
    let mut work_bytes = first.len();
    let mut result = BytesMut::from(&first[..]);
    if operation == Operation::Not {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    for source in others {
        let source = value(transaction, source)?;
        work_bytes += source.len();
        if work_bytes > WORK_BYTES_MAX {
            return Err(TOO_MUCH.into());
        }
        operation.fold(&mut result, &source);
    }
    let length = result.len();
    if length == 0 {
        transaction.delete(destination)?;
    } else {
        transaction.put(destination, result.freeze(), 0)?;
    }
    Ok(Reply::Integer(length as i64))
}

fn value(transaction: &mut Transaction<'_>, key: &Bytes) -> Result<Bytes, Error> {
    Ok(transaction.get(key)?.map(|record| record.value).unwrap_or_default())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn parse(name: &[u8]) -> Option<Operation> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("AND") {
            Some(Operation::And)
        } else if is("OR") {
            Some(Operation::Or)
        } else if is("XOR") {
            Some(Operation::Xor)
        } else if is("NOT") {
            Some(Operation::Not)
        } else {
            None
        }
    }

    /// Adds one more source. The loops are simple so that the compiler makes them work on many bytes at once.
    fn fold(self, result: &mut BytesMut, source: &[u8]) {
        if result.len() < source.len() {
            result.resize(source.len(), 0);
        }
        let (both, rest) = result.split_at_mut(source.len());
        let pairs = both.iter_mut().zip(source);
        match self {
            Operation::And => {
                pairs.for_each(|(byte, other)| *byte &= other);
                rest.fill(0);
            }
            Operation::Or => pairs.for_each(|(byte, other)| *byte |= other),
            Operation::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
            // It has one source only.
            Operation::Not => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::VALUE_BYTES_MAX;
    use crate::request::Request;
    use crate::script::MemorySource;
    use crate::value::Record;

    proptest! {
        #[test]
        fn short_sources_are_filled_up(sources in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5)) {
            let length = sources.iter().map(Vec::len).max().unwrap_or_default();
            let byte = |source: &Vec<u8>, place: usize| source.get(place).copied().unwrap_or_default();
            type Combine = fn(u8, u8) -> u8;
            let combinations: [(Operation, Combine); 3] =
                [(Operation::And, |a, b| a & b), (Operation::Or, |a, b| a | b), (Operation::Xor, |a, b| a ^ b)];
            for (operation, combine) in combinations {
                let mut result = BytesMut::from(&sources[0][..]);
                sources[1..].iter().for_each(|source| operation.fold(&mut result, source));
                prop_assert_eq!(result.len(), length);
                for place in 0..length {
                    let expected = sources.iter().map(|source| byte(source, place)).reduce(combine);
                    prop_assert_eq!(Some(result[place]), expected);
                }
            }
        }
    }

    #[test]
    fn what_it_reads_in_all_is_bounded() {
        let mut source = MemorySource::default();
        let value = Bytes::from(vec![1; VALUE_BYTES_MAX]);
        source.data.insert(Bytes::from_static(b"k"), Record { value, expire_at_ms: 0 });
        for (sources, goes) in [(WORK_BYTES_MAX / VALUE_BYTES_MAX, true), (WORK_BYTES_MAX / VALUE_BYTES_MAX + 1, false)]
        {
            let words = ["OR", "d"].into_iter().chain((0..sources).map(|_| "k")).map(Bytes::from).collect();
            let request = Request::parse(b"BITOP", words).unwrap();
            let reply = source.transact(1, |transaction| request.execute(transaction).unwrap());
            assert_eq!(reply == Reply::Integer(VALUE_BYTES_MAX as i64), goes, "{sources}");
        }
    }
}

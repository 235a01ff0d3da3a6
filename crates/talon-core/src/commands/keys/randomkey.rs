//! `RANDOMKEY`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::{Transaction, prefix_end};

/// The row.
pub static RANDOMKEY: Command = Command {
    id: 117,
    kind: Kind::Read,
    facts: Facts {
        name: "randomkey",
        arity: 1,
        flags: &[Flag::Readonly],
        keys: KeySpec::NONE,
        group: Group::Generic,
        summary: "Returns a key picked at random.",
        since: "1.0.0",
        complexity: "O(log N) where N is the number of keys.",
    },
    execute,
};

/// Of so few keys, one is picked with equal chances.
const FEW_KEYS: usize = 16;
/// How often the choice is narrowed by another byte before the pick is made among the first few keys that remain.
const LEVELS_MAX: usize = 64;
/// How often a byte is picked until it is one that occurs. Then the next one that does is taken.
const BRANCH_TRIES: usize = 16;

/// Goes down the tree of key bytes: at each level it skips what all keys have in common, and picks one of the next bytes
/// between the lowest and the highest that occur. So it touches a few dozen keys, however many there are. Its bias: a
/// branch is as likely as its neighbour, however many keys either holds; behind a wide gap among the bytes it is likelier. Up
/// to [`FEW_KEYS`] keys in all there is none.
fn execute(transaction: &mut Transaction<'_>, _args: &[Bytes]) -> Result<Reply, Error> {
    let mut prefix = Vec::new();
    let mut few = first_keys(transaction, &prefix)?;
    for _ in 0..LEVELS_MAX {
        if few.len() <= FEW_KEYS {
            break;
        }
        let place = common_bytes(transaction, &prefix, &few)?;
        prefix.clear();
        prefix.extend_from_slice(&few[0][..place]);
        // A key that ends here is one branch more.
        let ends_here = few[0].len() == place;
        let lowest = few[usize::from(ends_here)][place];
        let highest = highest_byte(transaction, &prefix, lowest)?;
        let branches = u64::from(highest - lowest) + 1 + u64::from(ends_here);
        for tries_left in (0..BRANCH_TRIES).rev() {
            let branch = transaction.random() % branches;
            if ends_here && branch == branches - 1 {
                return Ok(Reply::Bulk(few[0].clone()));
            }
            prefix.truncate(place);
            let end = prefix_end(&prefix);
            prefix.push(lowest + branch as u8);
            let next = first_key(transaction, &prefix, end.as_deref())?;
            let byte = next.map_or(highest, |key| key[place]);
            if byte == prefix[place] || tries_left == 0 {
                prefix[place] = byte;
                break;
            }
        }
        few = first_keys(transaction, &prefix)?;
    }
    few.truncate(FEW_KEYS);
    if few.is_empty() {
        return Ok(Reply::Null);
    }
    let pick = transaction.random() % few.len() as u64;
    Ok(Reply::Bulk(few.swap_remove(pick as usize)))
}

/// The first keys with this prefix, one more than a few.
fn first_keys(transaction: &mut Transaction<'_>, prefix: &[u8]) -> Result<Vec<Bytes>, Error> {
    let mut keys = Vec::new();
    transaction.scan(prefix, prefix_end(prefix).as_deref(), |key, _| {
        keys.push(key.clone());
        keys.len() <= FEW_KEYS
    })?;
    Ok(keys)
}

/// The first key in `from..until`.
fn first_key(transaction: &mut Transaction<'_>, from: &[u8], until: Option<&[u8]>) -> Result<Option<Bytes>, Error> {
    let mut first = None;
    transaction.scan(from, until, |key, _| {
        first = Some(key.clone());
        false
    })?;
    Ok(first)
}

/// How many bytes all keys with this prefix have in common; `few` are the first of them.
fn common_bytes(transaction: &mut Transaction<'_>, prefix: &[u8], few: &[Bytes]) -> Result<usize, Error> {
    let end = prefix_end(prefix);
    let (first, last) = (&few[0], &few[few.len() - 1]);
    // Within these bounds: the last key known to be there does not begin with more, and all keys begin with `prefix`.
    let mut most = first.iter().zip(last.iter()).take_while(|(a, b)| a == b).count();
    let mut least = prefix.len();
    while least < most {
        let middle = (least + most).div_ceil(2);
        let beyond = match prefix_end(&first[..middle]) {
            Some(from) => first_key(transaction, &from, end.as_deref())?,
            None => None,
        };
        if beyond.is_none() { least = middle } else { most = middle - 1 }
    }
    Ok(least)
}

/// The highest byte that follows `prefix` in a key; `lowest` is one that does.
fn highest_byte(transaction: &mut Transaction<'_>, prefix: &[u8], lowest: u8) -> Result<u8, Error> {
    let end = prefix_end(prefix);
    let mut from = prefix.to_vec();
    from.push(lowest);
    let (mut known, mut most) = (lowest, u8::MAX);
    while known < most {
        let middle = known + (most - known).div_ceil(2);
        from[prefix.len()] = middle;
        match first_key(transaction, &from, end.as_deref())? {
            Some(key) => known = key[prefix.len()],
            None => most = middle - 1,
        }
    }
    Ok(known)
}

//! I9: a purge never removes a key that was rewritten or persisted; and all else that a node does to its rows is what the model does to its own.
//! Judged as it happens: a state is compared with the model, row by row, and its expiry index with its rows.

use std::collections::BTreeSet;

use bytes::Bytes;
use talon::ReadView;
use talon_core::transaction::Source;
use talon_core::{Fault, Record};

use super::{Finding, Invariant, Score};
use crate::replay::Replay;

/// Compares a node's state with the model at the same entry.
pub fn same_rows(score: &mut Score, node: u64, view: &ReadView, model: &Replay) {
    let index = view.index();
    let difference = difference(view, model).unwrap_or_else(|fault| Some(format!("it cannot be read: {fault}")));
    score.check(Invariant::I9, difference.is_none(), || {
        let what =
            format!("the state of node {node} at {index}, T = {}: {}", view.clock_ms(), difference.unwrap_or_default());
        Finding::at(Invariant::I9, index, what)
    });
}

fn difference(view: &ReadView, model: &Replay) -> Result<Option<String>, Fault> {
    let clock_ms = view.clock_ms();
    let mut expected = model.entries().iter();
    let mut ends: BTreeSet<(u64, Bytes)> = BTreeSet::new();
    for row in view.rows(b"", None) {
        let (key, record) = row?;
        if record.expire_at_ms != 0 {
            ends.insert((record.expire_at_ms, key.clone()));
        }
        if record.expired_at(clock_ms) {
            continue;
        }
        let words = |record: &Record| format!("\"{}\" with end {}", record.value.escape_ascii(), record.expire_at_ms);
        let found = format_args!("\"{}\" = {}", key.escape_ascii(), words(&record)).to_string();
        match expected.next() {
            None => return Ok(Some(format!("there is {found}, which must not be there"))),
            Some((wanted, entry)) => {
                let end_ms = u64::try_from(entry.expire_at_ms.unwrap_or(0)).unwrap_or(0);
                if wanted[..] != key[..] || entry.value[..] != record.value[..] || end_ms != record.expire_at_ms {
                    let wanted = format!("{wanted:?} = {:?} with end {end_ms}", entry.value);
                    return Ok(Some(format!("there is {found} where the model has {wanted}")));
                }
            }
        }
    }
    if let Some((key, entry)) = expected.next() {
        return Ok(Some(format!("{key:?} = {:?} is missing", entry.value)));
    }
    let index: BTreeSet<(u64, Bytes)> = view.expiries(0).collect::<Result<_, _>>()?;
    Ok(ends.symmetric_difference(&index).next().map(|(end_ms, key)| {
        let lacking = if index.contains(&(*end_ms, key.clone())) { "in the index alone" } else { "not in the index" };
        format!("the end {end_ms} of \"{}\" is {lacking}", key.escape_ascii())
    }))
}

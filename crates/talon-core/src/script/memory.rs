//! The committed data in plain maps.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;

use crate::error::Fault;
use crate::transaction::{Change, ExpiryRows, NoteRows, Rows, Source, Transaction, prefix_end};
use crate::value::{HEADER_BYTES, Record};

/// A [`Source`] in memory. Changes are applied with checks: what a transaction hands over must keep the expiry index true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemorySource {
    /// The data rows, expired ones included.
    pub data: BTreeMap<Bytes, Record>,
    /// The expiry index.
    pub expiries: BTreeSet<(u64, Bytes)>,
    /// What is noted beside the data.
    pub notes: BTreeMap<Bytes, Bytes>,
}

impl MemorySource {
    /// Applies what a transaction leaves.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match change {
                Change::Put(key, record) => {
                    self.data.insert(key, record);
                }
                Change::Delete(key) => {
                    self.data.remove(&key);
                }
                Change::AddExpiry(expire_at_ms, key) => {
                    self.expiries.insert((expire_at_ms, key));
                }
                Change::RemoveExpiry(expire_at_ms, key) => {
                    self.expiries.remove(&(expire_at_ms, key));
                }
                Change::DeleteRange { from, until } => {
                    self.data.retain(|key, _| *key < from || until.as_ref().is_some_and(|until| key >= until));
                }
                Change::ClearExpiries => self.expiries.clear(),
                Change::PutNote(key, note) => {
                    self.notes.insert(key, note);
                }
                Change::DeleteNote(key) => {
                    self.notes.remove(&key);
                }
            }
        }
    }

    /// Carries out `work` on a transaction at this clock value, and applies its changes.
    pub fn transact<T>(&mut self, clock_ms: u64, work: impl FnOnce(&mut Transaction<'_>) -> T) -> T {
        let mut transaction = Transaction::new(self, clock_ms);
        let result = work(&mut transaction);
        let mut changes = Vec::new();
        transaction.into_changes(|change| changes.push(change));
        self.apply(changes);
        result
    }

    /// Whether the expiry index holds exactly one row for each record that has an expiry, and no other.
    ///
    /// # Errors
    /// What is in one of them only.
    pub fn check(&self) -> Result<(), String> {
        let expected: BTreeSet<(u64, Bytes)> = self
            .data
            .iter()
            .filter(|(_, record)| record.expire_at_ms != 0)
            .map(|(key, record)| (record.expire_at_ms, key.clone()))
            .collect();
        if expected == self.expiries {
            return Ok(());
        }
        let only_data: Vec<_> = expected.difference(&self.expiries).collect();
        let only_index: Vec<_> = self.expiries.difference(&expected).collect();
        Err(format!("only among the data: {only_data:?}; only in the expiry index: {only_index:?}"))
    }
}

impl Source for MemorySource {
    fn get(&self, key: &[u8]) -> Result<Option<Record>, Fault> {
        Ok(self.data.get(key).cloned())
    }

    fn rows(&self, from: &[u8], until: Option<&[u8]>) -> Rows<'_> {
        let upper = until.map_or(Bound::Unbounded, Bound::Excluded);
        if until.is_some_and(|until| until <= from) {
            return Box::new(std::iter::empty());
        }
        let rows = self.data.range::<[u8], _>((Bound::Included(from), upper));
        Box::new(rows.map(|(key, record)| Ok((key.clone(), record.clone()))))
    }

    fn expiries(&self, after_ms: u64) -> ExpiryRows<'_> {
        let Some(from_ms) = after_ms.checked_add(1) else { return Box::new(std::iter::empty()) };
        Box::new(self.expiries.range((from_ms, Bytes::new())..).cloned().map(Ok))
    }

    fn may_have_expiries(&self) -> bool {
        !self.expiries.is_empty()
    }

    fn disk_bytes(&self, prefix: &[u8]) -> Result<u64, Fault> {
        let mut bytes = 0;
        for row in self.rows(prefix, prefix_end(prefix).as_deref()) {
            let (key, record) = row?;
            bytes += (key.len() + HEADER_BYTES + record.value.len()) as u64;
        }
        Ok(bytes)
    }

    fn note(&self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        Ok(self.notes.get(key).cloned())
    }

    fn notes(&self, from: &[u8], until: &[u8]) -> NoteRows<'_> {
        let rows = self.notes.range::<[u8], _>((Bound::Included(from), Bound::Excluded(until)));
        Box::new(rows.map(|(key, note)| Ok((key.clone(), note.clone()))))
    }

    /// Maps know of no log.
    fn position(&self) -> u64 {
        0
    }
}

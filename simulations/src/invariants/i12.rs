//! I12: one leader for a term; a committed entry never changes. Judged as it happens.

use std::collections::BTreeMap;

use super::{Finding, Invariant, Score};
use crate::ledger::Committed;

/// A node has applied an entry that was applied before.
pub fn same_entry(score: &mut Score, index: u64, known: &Committed, again: &Committed) {
    let same = known.term == again.term && known.content.is(&again.content);
    score.check(Invariant::I12, same, || {
        Finding::at(Invariant::I12, index, format!("entry {index} was two things: {known}; and {again}"))
    });
}

/// A node leads a term. `leaders` keeps who led each.
pub fn leads(score: &mut Score, leaders: &mut BTreeMap<u64, u64>, term: u64, node: u64) {
    let known = *leaders.entry(term).or_insert(node);
    score.check(Invariant::I12, known == node, || {
        let what = format!("term {term} was led by node {known}, and is led by node {node}");
        Finding::of(Invariant::I12, what, Vec::new())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::CommittedContent;

    #[test]
    fn two_leaders_of_one_term_are_noticed() {
        let (mut score, mut leaders) = (Score::default(), BTreeMap::new());
        for (term, node) in [(1, 1), (1, 1), (2, 2), (1, 3)] {
            leads(&mut score, &mut leaders, term, node);
        }
        assert_eq!(score.findings.len(), 1);
    }

    #[test]
    fn an_entry_that_changes_is_noticed() {
        let mut score = Score::default();
        let entry = |term, stamp_ms| Committed {
            term,
            content: CommittedContent::Writes { stamp_ms, seed: 1, calls: Vec::new() },
            first: (1, 0),
        };
        same_entry(&mut score, 5, &entry(1, 7), &entry(1, 7));
        assert!(score.findings.is_empty());
        same_entry(&mut score, 5, &entry(1, 7), &entry(1, 8));
        same_entry(&mut score, 5, &entry(1, 7), &entry(2, 7));
        assert_eq!(score.findings.len(), 2);
    }
}

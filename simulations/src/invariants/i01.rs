//! I1: same applied position, same state hash, also after a restart and after a checkpoint was installed. Judged as it happens: whoever comes
//! to a position second is compared with who came first.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::{Finding, Invariant, Score};

/// A node's state at a position was hashed. `hashes` keeps who had which hash there first.
pub fn hashed(score: &mut Score, hashes: &mut BTreeMap<u64, (u64, String)>, node: u64, index: u64, hash: String) {
    match hashes.entry(index) {
        Entry::Vacant(vacant) => {
            vacant.insert((node, hash));
        }
        Entry::Occupied(known) => {
            let (first, known) = known.get();
            score.check(Invariant::I1, *known == hash, || {
                let what = format!("the state at {index} differs: {known} on node {first}, {hash} on node {node}");
                Finding::at(Invariant::I1, index, what)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_hash_at_the_same_position_is_noticed() {
        let (mut score, mut hashes) = (Score::default(), BTreeMap::new());
        for (node, index, hash) in [(1, 8, "a"), (2, 8, "a"), (2, 16, "b"), (1, 16, "c")] {
            hashed(&mut score, &mut hashes, node, index, hash.to_owned());
        }
        assert_eq!(score.checked[&Invariant::I1], 2);
        assert_eq!(score.findings.len(), 1);
        assert_eq!(score.findings[0].index, Some(16));
    }
}

//! I2: `T` never decreases, on a node or along the log; and it is what the stamps make it, the same everywhere.

use std::collections::BTreeMap;

use super::{Case, Finding, Invariant, Score};

/// A node's state stands at an index with a clock; `before` is where it stood, if it went on from there. `clocks` keeps the first `T` that
/// was seen at each index.
pub fn stands(
    score: &mut Score,
    clocks: &mut BTreeMap<u64, u64>,
    node: u64,
    before: Option<(u64, u64)>,
    now: (u64, u64),
) {
    let (index, clock_ms) = now;
    let mut check = |holds: bool, what: &dyn Fn() -> String| {
        score.check(Invariant::I2, holds, || Finding::at(Invariant::I2, index, what()));
    };
    if let Some((before, before_ms)) = before {
        check(clock_ms >= before_ms && index >= before, &|| {
            format!("on node {node}, T went from {before_ms} at {before} to {clock_ms} at {index}")
        });
    }
    let known_ms = *clocks.entry(index).or_insert(clock_ms);
    check(known_ms == clock_ms, &|| {
        format!("T at {index} is {clock_ms} on node {node}, and was {known_ms} on another one")
    });
    let below = clocks.range(..index).next_back();
    check(below.is_none_or(|(_, below_ms)| *below_ms <= clock_ms), &|| {
        format!("T at {index} is {clock_ms}, below what it was before: {below:?}")
    });
}

/// `T` at an index is the highest stamp up to there.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    for step in &case.steps {
        let Some(seen_ms) = case.clocks.get(&step.index) else { continue };
        score.check(Invariant::I2, i64::try_from(*seen_ms) == Ok(step.clock_ms), || {
            let what = format!("T at {} is {seen_ms}, and the highest stamp so far {}", step.index, step.clock_ms);
            Finding::at(Invariant::I2, step.index, what)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Stood = (u64, Option<(u64, u64)>, (u64, u64));

    fn found(stood: &[Stood]) -> usize {
        let (mut score, mut clocks) = (Score::default(), BTreeMap::new());
        for (node, before, now) in stood {
            stands(&mut score, &mut clocks, *node, *before, *now);
        }
        score.findings.len()
    }

    #[test]
    fn a_clock_that_goes_back_is_noticed() {
        assert_eq!(found(&[(1, None, (8, 100)), (1, Some((8, 100)), (9, 100)), (2, None, (8, 100))]), 0);
        assert!(found(&[(1, None, (8, 100)), (1, Some((8, 100)), (9, 99))]) > 0, "on one node");
        assert!(found(&[(1, None, (8, 100)), (2, None, (9, 99))]) > 0, "along the log");
        assert!(found(&[(1, None, (8, 100)), (2, None, (8, 101))]) > 0, "between nodes");
    }
}

//! I10: all of these under clock jumps of ±1 h, 5 % drift, and pauses longer than the lease: in a run with such faults, what I1 to I9
//! checked and found counts here too.

use super::{Case, Invariant, Score};

/// After all others.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    if !case.clock_faults {
        return;
    }
    let of = |counts: &std::collections::BTreeMap<Invariant, u64>| -> u64 {
        counts.range(Invariant::I1..=Invariant::I9).map(|(_, count)| count).sum()
    };
    let (checked, violated) = (of(&score.checked), of(&score.violated));
    score.count(Invariant::I10, checked);
    if violated > 0 {
        score.violated.insert(Invariant::I10, violated);
    }
}

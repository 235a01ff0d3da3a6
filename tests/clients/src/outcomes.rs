//! What a program was told about its INCRs, one after the other on a key of its own, and what follows from that.

use std::collections::{BTreeMap, BTreeSet};

/// What became of one INCR, as far as the program was told.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Acknowledged with this reply, so many milliseconds after the program began.
    Acknowledged {
        /// Which one it was.
        number: u64,
        /// What the counter was then.
        reply: u64,
        /// When.
        ms: f64,
    },
    /// Failed; it may have been carried out.
    Failed {
        /// Which one it was. One that is sent again keeps its number.
        number: u64,
        /// What the client said.
        text: String,
    },
}

impl Outcome {
    /// Reads a line that a program wrote; none if it is of another kind.
    pub fn parse(line: &str) -> Option<Outcome> {
        let mut words = line.splitn(4, ' ');
        match (words.next()?, words.next()?, words.next()?, words.next()?) {
            ("ok", number, reply, ms) => Some(Outcome::Acknowledged {
                number: number.parse().ok()?,
                reply: reply.parse().ok()?,
                ms: ms.parse().ok()?,
            }),
            ("failed", number, _, text) => {
                Some(Outcome::Failed { number: number.parse().ok()?, text: text.to_owned() })
            }
            _ => None,
        }
    }
}

/// What follows from a program's outcomes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// How many were acknowledged.
    pub acknowledged: u64,
    /// How many failed.
    pub failed: u64,
    /// How often each text came.
    pub errors: BTreeMap<String, u64>,
    /// How many acknowledged ones are gone.
    pub lost: u64,
    /// How many were carried out beyond what the program asked for.
    pub doubled: u64,
    /// The longest time between two that were acknowledged, in milliseconds.
    pub gap_ms: f64,
}

/// Judges the outcomes by the replies, each of which is the number of INCRs carried out so far, and by what the counter is
/// at the end.
pub fn judge(outcomes: &[Outcome], counter: u64) -> Verdict {
    let mut verdict = Verdict::default();
    let (mut last, mut last_ms) = (0, None);
    let mut failed: BTreeSet<u64> = BTreeSet::new();
    let compare = |verdict: &mut Verdict, least: u64, most: u64, now: u64| {
        verdict.lost += least.saturating_sub(now);
        verdict.doubled += now.saturating_sub(most);
    };
    for outcome in outcomes {
        match outcome {
            Outcome::Acknowledged { number, reply, ms } => {
                // One that was sent again until it was acknowledged counts once.
                failed.remove(number);
                compare(&mut verdict, last + 1, last + 1 + failed.len() as u64, *reply);
                verdict.gap_ms = verdict.gap_ms.max(last_ms.map_or(0.0, |last_ms| ms - last_ms));
                verdict.acknowledged += 1;
                (last, last_ms) = (*reply, Some(*ms));
                failed.clear();
            }
            Outcome::Failed { number, text } => {
                *verdict.errors.entry(text.clone()).or_default() += 1;
                verdict.failed += 1;
                failed.insert(*number);
            }
        }
    }
    compare(&mut verdict, last, last + failed.len() as u64, counter);
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &str, counter: u64) -> (u64, u64, u64, f64) {
        let outcomes: Vec<Outcome> = lines.lines().map(|line| Outcome::parse(line).expect("an outcome")).collect();
        let verdict = judge(&outcomes, counter);
        (verdict.failed, verdict.lost, verdict.doubled, verdict.gap_ms)
    }

    #[test]
    fn a_failed_one_may_be_there_or_not() {
        assert_eq!(of("ok 1 1 10.0\nfailed 2 11.0 gone\nok 3 2 50.0\nok 4 3 51.0", 3), (1, 0, 0, 40.0));
        assert_eq!(of("ok 1 1 10.0\nfailed 2 11.0 gone\nok 3 3 50.0\nok 4 4 51.0", 4), (1, 0, 0, 40.0));
        assert_eq!(of("ok 1 1 10.0\nfailed 2 11.0 gone", 2), (1, 0, 0, 0.0));
    }

    #[test]
    fn what_is_lost_or_there_twice_is_seen() {
        assert_eq!(of("ok 1 1 1.0\nok 2 2 2.0\nfailed 3 3.0 gone\nok 4 2 4.0", 2), (1, 1, 0, 2.0), "2 is gone");
        assert_eq!(of("ok 1 1 1.0\nok 2 2 2.0", 1).1, 1, "gone in the end");
        assert_eq!(of("ok 1 1 1.0\nfailed 2 2.0 gone\nok 3 4 3.0", 4), (1, 0, 1, 2.0), "one too many");
        assert_eq!(of("ok 1 1 1.0\nok 2 3 2.0", 3), (0, 0, 1, 1.0), "sent twice, unseen by the program");
    }

    #[test]
    fn what_is_sent_again_with_its_number_counts_once() {
        assert_eq!(of("ok 1 1 1.0\nfailed 2 2.0 gone\nfailed 2 3.0 gone\nok 2 2 4.0", 2), (2, 0, 0, 3.0));
        assert_eq!(of("ok 1 1 1.0\nfailed 2 2.0 gone\nok 2 3 4.0", 3).2, 1);
    }

    #[test]
    fn other_lines_are_no_outcomes() {
        assert_eq!(Outcome::parse("ready"), None);
        assert_eq!(Outcome::parse("ok 1 one 3.0"), None);
        let failed = Outcome::Failed { number: 1, text: "Error: it is gone".into() };
        assert_eq!(Outcome::parse("failed 1 3.0 Error: it is gone"), Some(failed));
    }
}

//! What is sent again under its number is done once: each sequence of each session of `ONCE`, however often it was sent.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Action, History, Operation, Outcome, Reply, Verdict, Word, counters};

/// Checks all sessions. `checked` counts sequences that were answered, and readings of the counters that they raise.
///
/// A sequence has one answer, however often it was sent; a client that goes on only when it has one is never told that its session is not
/// known, or is further than it is; and the counters are what they are if each sequence is one increment.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    let sequences = sequences(history);
    for ((session, sequence), sent) in &sequences {
        let answered: Vec<&Operation> = sent.iter().filter(|one| one.reply().is_some()).copied().collect();
        let Some(first) = answered.first() else { continue };
        verdict.checked += 1;
        if let Some(other) = answered.iter().find(|other| other.reply() != first.reply()) {
            let what = format!("sequence {sequence} of session {session:?} has two answers");
            verdict.violation(what, [first, *other]);
        }
        let is_ahead = |one: &&&Operation| match one.reply() {
            Some(Reply::Error(text)) => text.starts_with("ONCEOLD ") || text.starts_with("NOSESSION "),
            _ => false,
        };
        // Whoever leaves a sequence behind without an answer has to begin another session.
        let mut before = sequences.range((*session, 0)..(*session, *sequence));
        let is_in_order = before.all(|(_, sent)| sent.iter().any(|one| one.before(first)));
        let is_last = sequences.range((*session, *sequence + 1)..).next().is_none_or(|((other, _), later)| {
            other != session || later.iter().all(|one| answered.iter().all(|answer| answer.before(one)))
        });
        if let Some(refused) = answered.iter().find(is_ahead).filter(|_| is_in_order && is_last) {
            verdict.violation(format!("session {session:?} was forgotten at {sequence}"), [*refused]);
        }
    }
    let once: BTreeSet<&Word> = sequences.values().flatten().flat_map(|one| one.action.keys()).collect();
    verdict.add(counters::check_some(&merged(history), |key| once.contains(key)));
    verdict
}

/// The same history with each sequence sent once: called with the first call, and over with the first answer. The others count as refused,
/// so that every operation keeps its number.
pub fn merged(history: &History) -> History {
    let mut merged = history.clone();
    for sent in sequences(history).into_values() {
        let Some(first) = sent.first() else { continue };
        let answers = sent.iter().filter(|one| one.reply().is_some()).copied();
        let counts = answers.min_by_key(|one| one.returned_us);
        let counts = counts.or_else(|| sent.iter().find(|one| matches!(one.outcome, Outcome::Unknown(_))).copied());
        let counts = counts.unwrap_or(first).clone();
        for other in &sent {
            merged.operation_mut(other.id).outcome = Outcome::Refused(format!("sent again, see #{}", first.id));
        }
        let (id, called_us) = (first.id, first.called_us);
        *merged.operation_mut(id) = Operation { id, called_us, ..counts };
    }
    merged
}

/// All that were sent with a session and a sequence, in the order in which they were sent.
fn sequences(history: &History) -> BTreeMap<(&Word, u64), Vec<&Operation>> {
    let mut sequences: BTreeMap<(&Word, u64), Vec<&Operation>> = BTreeMap::new();
    for operation in history.operations() {
        if let Action::Once { session, sequence, .. } = &operation.action {
            sequences.entry((session, *sequence)).or_default().push(operation);
        }
    }
    sequences
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a sequence of session `s` at `called_us`, answered 10 µs later.
    fn send(history: &mut History, called_us: u64, sequence: u64, reply: Option<Reply>) {
        let action = Action::Once { session: "s".into(), sequence, action: Box::new(Action::incr_by("n", 1)) };
        let id = history.call(1, None, called_us, action);
        let outcome = reply.map_or_else(|| Outcome::Unknown("no answer".to_owned()), Outcome::Reply);
        history.returned(id, called_us + 10, outcome);
    }

    fn read(history: &mut History, called_us: u64, found: &str) {
        let id = history.call(2, None, called_us, Action::get("n"));
        history.returned(id, called_us + 10, Outcome::Reply(Reply::Bytes(found.into())));
    }

    #[test]
    fn a_sequence_that_is_sent_again_counts_once() {
        let mut history = History::new();
        send(&mut history, 0, 1, None);
        send(&mut history, 20, 1, Some(Reply::Int(1)));
        send(&mut history, 40, 1, Some(Reply::Int(1)));
        send(&mut history, 60, 2, Some(Reply::Int(2)));
        let mut twice = history.clone();
        read(&mut history, 80, "2");
        assert!(check(&history).violations.is_empty(), "{:?}", check(&history));
        read(&mut twice, 80, "3");
        assert_eq!(check(&twice).violations.len(), 1, "one was done twice");
        let merged = merged(&history);
        let counted = merged.operations().iter().filter(|one| one.may_have_written()).count();
        assert_eq!((counted, merged.len(), merged.operations()[0].returned_us), (2, 5, Some(30)));
    }

    #[test]
    fn another_answer_is_noticed() {
        let mut history = History::new();
        send(&mut history, 0, 1, Some(Reply::Int(1)));
        send(&mut history, 20, 1, Some(Reply::Int(2)));
        let violations = check(&history).violations;
        assert!(violations.iter().any(|violation| violation.what.contains("two answers")), "{violations:?}");
    }

    #[test]
    fn a_session_that_was_forgotten_is_noticed_and_one_that_was_left_is_not() {
        let forgotten = || Some(Reply::Error("NOSESSION this session is not known".to_owned()));
        let mut history = History::new();
        send(&mut history, 0, 1, Some(Reply::Int(1)));
        send(&mut history, 20, 2, forgotten());
        assert_eq!(check(&history).violations.len(), 1);
        let mut history = History::new();
        send(&mut history, 0, 1, None);
        send(&mut history, 20, 2, forgotten());
        assert!(check(&history).violations.is_empty());
    }
}

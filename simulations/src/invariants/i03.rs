//! I3: no read returns a value whose `expire_at <=` the `T` it was judged by. More than that: a read that names the position it was answered
//! at answers what the model answers there, and an acknowledged write that names its position answers what the model answered.

use std::collections::BTreeMap;

use talon_history::{Consistency, Model, Operation};

use super::{Case, Finding, Invariant, Score};
use crate::replay::{self, Replay, agrees, flat, flat_replies};

/// Replays the ledger, and looks at each operation at its position.
pub fn judge(case: &Case<'_>, score: &mut Score) {
    let mut at: BTreeMap<u64, Vec<&Operation>> = BTreeMap::new();
    for operation in case.history.operations() {
        if let (Some(index), Some(_)) = (operation.applied, operation.reply()) {
            at.entry(index).or_default().push(operation);
        }
    }
    let mut replay = Replay::default();
    for (index, entry) in case.entries {
        let here = at.remove(index).unwrap_or_default();
        // A read in the leader's pipeline is answered in the midst of an entry.
        let mut midst: Vec<Model> = Vec::new();
        let keep = here.iter().any(|operation| may_be_in_the_midst(operation));
        let stepped = replay.each(*index, entry, |model| {
            if keep {
                midst.push(model.clone());
            }
        });
        // What is wrong with the entry was said when it was first applied.
        let Ok(done) = stepped else { return };
        for operation in here {
            let right = if operation.action.writes() {
                done.iter().any(|done| done.answers(operation))
            } else {
                fits(operation, replay.model())
                    || may_be_in_the_midst(operation) && midst.iter_mut().any(|model| fits(operation, model))
            };
            score.check(Invariant::I3, right, || {
                let what = match operation.action.writes() {
                    true => format!("entry {index} holds no such write with this answer"),
                    false => {
                        let expected = expected(operation, replay.model());
                        format!("at entry {index}, T = {}, the answer is {expected}", replay.clock_ms())
                    }
                };
                Finding { index: Some(*index), ..Finding::of(Invariant::I3, what, vec![operation.clone()]) }
            });
        }
    }
    for operation in at.into_values().flatten().filter(|operation| operation.applied != Some(0)) {
        score.check(Invariant::I3, false, || {
            let what = "it names a position that no node has come to".to_owned();
            Finding::of(Invariant::I3, what, vec![operation.clone()])
        });
    }
}

fn may_be_in_the_midst(operation: &Operation) -> bool {
    !operation.action.writes() && operation.consistency == Consistency::Linearizable
}

fn fits(operation: &Operation, model: &mut Model) -> bool {
    let Some(reply) = operation.reply() else { return true };
    let actions = flat(&operation.action);
    let replies = flat_replies(&operation.action, reply);
    actions.len() == replies.len()
        && actions.into_iter().zip(replies).all(|(action, reply)| agrees(action, &replay::read(model, action), reply))
}

fn expected(operation: &Operation, model: &mut Model) -> String {
    let actions = flat(&operation.action);
    let replies: Vec<String> = actions.into_iter().map(|action| replay::read(model, action).to_string()).collect();
    replies.join(", ")
}

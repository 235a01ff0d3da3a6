//! What is sent for an action, and how the answers are read; with the position of the state that answered, if that is asked for.

use talon_history::{Action, Outcome, Reply, Value};

/// An action as it is asked.
pub(super) struct Question {
    pub(super) action: Action,
    /// Whether `POSITION` is asked in the same transaction.
    pub(super) placed: bool,
}

impl Question {
    /// The commands to send; each answers one value.
    pub(super) fn commands(&self) -> Vec<Vec<Vec<u8>>> {
        if !self.placed {
            return self.action.commands();
        }
        let mut commands = self.whole().commands();
        commands.insert(commands.len() - 1, vec![b"POSITION".to_vec()]);
        commands
    }

    /// The action within the transaction that it is asked in.
    fn whole(&self) -> Action {
        match &self.action {
            Action::Transaction(actions) => Action::Transaction(actions.clone()),
            one => Action::Transaction(vec![one.clone()]),
        }
    }

    /// What came of it, and the log index of the state that answered.
    pub(super) fn judge(&self, mut values: Vec<Value>) -> (Outcome, Option<u64>) {
        if !self.placed {
            return (self.action.judge(values), None);
        }
        let asked = self.commands().len();
        if values.len() < asked {
            return (Outcome::Unknown(format!("{} of {asked} answers", values.len())), None);
        }
        // That POSITION was queued; its answer is the last one in EXEC's.
        values.remove(asked - 2);
        let position = match values.last_mut() {
            Some(Value::Array(inside)) => match inside.pop() {
                Some(Value::Array(numbers)) => match numbers[..] {
                    [Value::Int(index), Value::Int(_)] => u64::try_from(index).ok(),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        };
        let outcome = match (self.whole().judge(values), &self.action) {
            (Outcome::Reply(Reply::Many(mut replies)), one) if !matches!(one, Action::Transaction(_)) => {
                replies.pop().map_or_else(|| Outcome::Unknown("EXEC answered nothing".to_owned()), Outcome::Reply)
            }
            (outcome, _) => outcome,
        };
        (outcome, position)
    }
}

/// Whom an answer names as the leader.
pub(super) fn moved_to(values: &[Value]) -> Option<u64> {
    values.iter().find_map(|value| match value {
        Value::Error(text) => node_of(text.strip_prefix("MOVED ")?.split_once(' ')?.1),
        _ => None,
    })
}

/// The node in `node-3:6380`, or `node-3`.
pub(super) fn node_of(address: &str) -> Option<u64> {
    address.strip_prefix("node-")?.split(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok() -> Value {
        Value::Simple("OK".into())
    }

    #[test]
    fn a_position_is_asked_and_taken_out_again() {
        let question = Question { action: Action::get("a"), placed: true };
        assert_eq!(question.commands().len(), 4);
        let position = Value::Array(vec![Value::Int(7), Value::Int(99)]);
        let exec = Value::Array(vec![Value::Nil, position]);
        let answers = vec![ok(), ok(), ok(), exec];
        assert_eq!(question.judge(answers.clone()), (Outcome::Reply(Reply::Nil), Some(7)));
        assert!(matches!(question.judge(answers[..3].to_vec()), (Outcome::Unknown(_), None)));
        let moved = Value::Error("MOVED 12 node-3:6380".into());
        let answers = vec![ok(), ok(), ok(), moved];
        assert_eq!(moved_to(&answers), Some(3));
        assert!(matches!(question.judge(answers), (Outcome::Refused(_), None)));
    }
}

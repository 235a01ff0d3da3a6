//! Transactions that depend on watched keys: `WATCH`, a look at the keys, and `EXEC` on the same connection.

use talon_history::{Action, Outcome, Reply, Value, Word};

use super::question::{Question, moved_to};
use super::{Client, NUMBERS, PIPELINE_MAX, exchange};
use crate::ambient::elapsed_us;

/// What was seen of keys after they were watched.
pub struct Seen {
    since_us: u64,
    keys: Vec<(Word, Option<Word>)>,
}

impl Seen {
    /// The value of the key at that place.
    pub fn value(&self, place: usize) -> Option<&Word> {
        self.keys.get(place)?.1.as_ref()
    }
}

impl Client {
    /// Watches keys on the leader, or where the leader may be taken to be, and reads them then. `None` = it came to nothing.
    pub async fn watch(&mut self, keys: &[Word]) -> Option<Seen> {
        let keys = &keys[..keys.len().min(PIPELINE_MAX)];
        let connected = self.find_leader().await;
        let node = self.leader.as_ref().map(|connection| connection.node);
        if connected.is_err() {
            self.back_off(100).await;
            return None;
        }
        let questions: Vec<Question> =
            keys.iter().map(|key| Question { action: Action::Get(key.clone()), placed: false }).collect();
        let first = self.number * NUMBERS + 1;
        let ids: Vec<u64> = (first..)
            .zip(&questions)
            .map(|(number, question)| self.call(number, node, question.action.clone()))
            .collect();
        let promised = self.door.promises(false);
        ids.iter().for_each(|id| self.world.history().operation_mut(*id).consistency = promised);
        let watch = std::iter::once(b"WATCH".to_vec()).chain(keys.iter().map(|key| key.to_vec())).collect();
        let commands: Vec<_> = std::iter::once(watch).chain(questions.iter().flat_map(Question::commands)).collect();
        let mut values = Vec::new();
        let whole = exchange(&mut self.leader, &commands, &mut values, self.answer_max).await;
        self.named = moved_to(&values);
        let since_us = elapsed_us();
        let mut values = values.into_iter();
        let watched = matches!(values.next(), Some(Value::Simple(_)));
        let mut seen = Seen { since_us, keys: Vec::new() };
        for ((id, question), key) in ids.into_iter().zip(&questions).zip(keys) {
            let (outcome, _) = question.judge(values.next().into_iter().collect());
            match outcome.reply() {
                Some(Reply::Nil) => seen.keys.push((key.clone(), None)),
                Some(Reply::Bytes(value)) => seen.keys.push((key.clone(), Some(value.clone()))),
                _ => {}
            }
            self.returned(id, outcome, None);
        }
        if whole && watched && seen.keys.len() == keys.len() {
            return Some(seen);
        }
        // What it may watch ends with it.
        self.leader = None;
        self.back_off(60).await;
        None
    }

    /// Has actions carried out in a transaction if nobody has touched what is watched.
    pub async fn exec(&mut self, seen: Seen, actions: Vec<Action>) -> Outcome {
        if self.leader.is_none() {
            return Outcome::Refused("there is no connection that watches".to_owned());
        }
        let action = Action::Watched { since_us: seen.since_us, seen: seen.keys, actions };
        let asked = vec![(self.number_at_door(), Question { action, placed: false })];
        let outcome = self.on_leader(Ok(()), asked).await.pop();
        outcome.unwrap_or_else(|| Outcome::Unknown("no outcome".to_owned()))
    }
}

//! Compare and set: read, then write only if nobody else has meanwhile; as in a lock or an optimistic transaction.

use talon_history::{Action, Condition, Reply, Word};

use super::hand::Hand;

/// How often a loop starts again because somebody was faster.
const LOOPS_MAX: u32 = 3;

/// One loop.
pub(super) async fn step(hand: &mut Hand) {
    let keys = hand.world.plan.keys.min(5);
    let Some(place) = hand.place(keys) else { return };
    let key = Word::from(&*place);
    hand.touch(vec![key.clone()]);
    if hand.chance(6) {
        hand.act(&place, Action::del(key)).await;
        return;
    }
    if hand.chance(10) {
        // Compared with what was never there.
        let (never, new) = (hand.value(), hand.value());
        hand.act(&place, Action::compare_and_set(key, never, new)).await;
        return;
    }
    for _ in 0..LOOPS_MAX {
        let found = hand.act(&place, Action::Get(key.clone())).await;
        let new = hand.value();
        let condition = match found.reply() {
            Some(Reply::Bytes(old)) => Condition::Equals(old.clone()),
            Some(Reply::Nil) => Condition::Missing,
            _ => return,
        };
        let get = hand.chance(20);
        let set = Action::Set { key: key.clone(), value: new, ttl: None, condition: Some(condition), get };
        match hand.act(&place, set).await.reply() {
            Some(Reply::Nil) if !get => {}
            _ => return,
        }
    }
}

//! Counters: INCRBY, and GET on the leader and elsewhere. An increment of unknown outcome stays one.

use talon_history::{Action, Outcome, Word};

use super::hand::Hand;

/// One thing.
pub(super) async fn step(hand: &mut Hand) {
    let keys = hand.world.plan.keys.min(6);
    let Some(place) = hand.place(keys) else { return };
    let key = Word::from(&*place);
    hand.touch(vec![key.clone()]);
    // Every third counter falls, too; the others must never.
    let falls = place.bytes().next_back().is_some_and(|digit| digit % 3 == 0);
    let by = |hand: &mut Hand| {
        let by = 1 + hand.random.below(9) as i64;
        if falls && hand.chance(40) { -by } else { by }
    };
    match hand.random.below(100) {
        0..55 => {
            let by = by(hand);
            hand.act(&place, Action::incr_by(key, by)).await;
        }
        55..60 => {
            let count = 2 + hand.random.below(4);
            let mut actions = Vec::new();
            for _ in 0..count {
                actions.push(Action::incr_by(key.clone(), by(hand)));
            }
            actions.push(Action::Get(key));
            let outcomes = hand.client.pipeline(actions).await;
            if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Unknown(_))) {
                hand.leave(&place);
            }
        }
        60..88 => {
            hand.act(&place, Action::Get(key)).await;
        }
        _ => hand.look(Action::Get(key)).await,
    }
}

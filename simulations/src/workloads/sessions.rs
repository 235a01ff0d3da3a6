//! Sessions: writes on the leader, and reads on any node that is not behind what the session has seen.

use talon_history::{Action, Word};

use super::hand::Hand;

/// One thing.
pub(super) async fn step(hand: &mut Hand) {
    let keys = hand.world.plan.keys.min(8);
    let Some(place) = hand.place(keys) else { return };
    let key = Word::from(&*place);
    hand.touch(vec![key.clone()]);
    match hand.random.below(100) {
        0..12 => {
            let value = hand.value();
            hand.act(&place, Action::set(key, value)).await;
        }
        12..26 => {
            let (value, ms) = (hand.value(), 50 + hand.random.below(3_000) as i64);
            hand.act(&place, Action::set_for_ms(key, value, ms)).await;
        }
        26..31 => {
            hand.act(&place, Action::del(key)).await;
        }
        31..43 => {
            let read = read(hand, key);
            hand.act(&place, read).await;
        }
        _ => {
            let read = read(hand, key);
            hand.client.read_in_session(&read).await;
        }
    }
}

fn read(hand: &mut Hand, key: Word) -> Action {
    match hand.random.below(10) {
        0..4 => Action::Get(key),
        4..8 => Action::Pttl(key),
        _ => Action::Exists(key),
    }
}

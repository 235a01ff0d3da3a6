//! Levels: reads on any node that are as fresh as their connection asks for.

use talon_history::{Action, Word};

use super::hand::Hand;
use crate::client::Level;

/// One thing.
pub(super) async fn step(hand: &mut Hand) {
    let keys = hand.world.plan.keys.min(5);
    let Some(place) = hand.place(keys) else { return };
    let key = Word::from(&*place);
    hand.touch(vec![key.clone()]);
    match hand.random.below(100) {
        0..40 => {
            let value = hand.value();
            hand.act(&place, Action::set(key, value)).await;
        }
        40..46 => {
            hand.act(&place, Action::del(key)).await;
        }
        _ => {
            let level = match hand.random.below(100) {
                0..45 => Level::Linearizable,
                45..90 => Level::Bounded([30, 100, 400, 2_000][hand.random.below(4) as usize]),
                _ => Level::Snapshot,
            };
            let read = match hand.random.below(10) {
                0..2 => Action::Exists(key),
                2..4 => Action::Mget(vec![key]),
                _ => Action::Get(key),
            };
            let node = hand.client.someone();
            hand.client.read_as(node, level, read).await;
        }
    }
}

//! Levels: reads on any node that are as fresh as their connection asks for. What is left of a key's time never grows meanwhile.

use std::time::Duration;

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
        46..60 => {
            let (value, ms) = (hand.value(), 5_000 + hand.random.below(30_000) as i64);
            let node = hand.client.someone();
            // Nobody else writes it.
            let key = Word::from(format!("{place}:{}", hand.number()));
            hand.touch(vec![key.clone()]);
            hand.client.begin_session();
            hand.act(&place, Action::set_for_ms(key.clone(), value, ms)).await;
            let looks: Vec<(Level, Duration)> = (0..3 + hand.random.below(4))
                .map(|_| (level(hand), Duration::from_millis(hand.random.below(80))))
                .collect();
            hand.client.read_again(node, &looks, &Action::Pttl(key)).await;
            hand.client.end_session();
        }
        _ => {
            let level = level(hand);
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

fn level(hand: &mut Hand) -> Level {
    match hand.random.below(100) {
        0..40 => Level::Linearizable,
        40..75 => Level::Bounded([30, 100, 400, 2_000][hand.random.below(4) as usize]),
        75..85 => Level::Default,
        _ => Level::Snapshot,
    }
}

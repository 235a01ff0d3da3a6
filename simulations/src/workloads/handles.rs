//! Handles: what is read through one never changes, however much is written meanwhile, and is one state of the log. The keys are groups.

use std::time::Duration;

use talon_history::{Action, Word};

use super::groups::{choose, write};
use super::hand::Hand;
use crate::client::Level;

/// One thing.
pub(super) async fn step(hand: &mut Hand) {
    let Some((place, keys)) = choose(hand, 3) else { return };
    match hand.random.below(100) {
        0..45 => write(hand, &place, keys).await,
        45..50 => {
            hand.act(&place, Action::DelPrefix(Word::from(format!("{place}:")))).await;
        }
        _ => {
            let level = match hand.random.below(10) {
                0..4 => Level::Linearizable,
                4..6 => Level::Bounded(200),
                _ => Level::Default,
            };
            let node = hand.client.someone();
            let times = 2 + hand.random.below(3) as usize;
            let apart = Duration::from_millis(hand.random.below(400));
            hand.client.read_handle(node, level, &keys, times, apart).await;
        }
    }
}

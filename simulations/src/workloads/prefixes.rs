//! Prefixes: DELPREFIX over a few keys that are written one by one, and scans.

use talon_history::{Action, Word};

use super::groups::members;
use super::hand::Hand;

/// One thing.
pub(super) async fn step(hand: &mut Hand) {
    let places = hand.world.plan.keys.min(4);
    let Some(place) = hand.place(places) else { return };
    let keys = members(&place);
    hand.touch(keys.clone());
    let key = keys[hand.random.below(keys.len() as u64) as usize].clone();
    let prefix = Word::from(format!("{place}:"));
    match hand.random.below(100) {
        0..40 => {
            let value = hand.value();
            hand.act(&place, Action::set(key, value)).await;
        }
        40..52 => {
            hand.act(&place, Action::DelPrefix(prefix)).await;
        }
        52..62 => {
            hand.act(&place, Action::Get(key)).await;
        }
        62..82 => {
            hand.act(&place, Action::Scan(prefix)).await;
        }
        82..86 => {
            // It sees its own.
            let both = vec![Action::DelPrefix(prefix.clone()), Action::set(key, hand.value()), Action::Scan(prefix)];
            hand.act(&place, Action::Transaction(both)).await;
        }
        _ => hand.look(Action::Scan(prefix)).await,
    }
}

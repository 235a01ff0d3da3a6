//! Registers: SET, GET, GETSET, SET NX and XX, and DEL on single keys, one at a time and in pipelines.

use talon_history::{Action, Condition, Outcome, Word};

use super::hand::Hand;

/// How often a client that retries sends a SET again whose outcome it does not know.
const RETRIES_MAX: u32 = 2;

/// One thing.
pub(super) async fn step(hand: &mut Hand) {
    let keys = hand.world.plan.keys;
    if hand.chance(6) {
        let mut actions = Vec::new();
        for _ in 0..2 + hand.random.below(5) {
            if let Some(place) = hand.place(keys) {
                actions.push((place.clone(), action(hand, &place)));
            }
        }
        let places: Vec<String> = actions.iter().map(|(place, _)| place.clone()).collect();
        let outcomes = hand.client.pipeline(actions.into_iter().map(|(_, action)| action).collect()).await;
        for (place, outcome) in places.iter().zip(outcomes) {
            if matches!(outcome, Outcome::Unknown(_)) {
                hand.leave(place);
            }
        }
        return;
    }
    let Some(place) = hand.place(keys) else { return };
    let action = action(hand, &place);
    let is_set = matches!(action, Action::Set { condition: None, .. });
    // Some programs send again what they got no answer to. The same value may be written twice by that.
    let retries = if is_set && hand.chance(50) { RETRIES_MAX } else { 0 };
    for _ in 0..=retries {
        if !matches!(hand.act(&place, action.clone()).await, Outcome::Unknown(_)) {
            return;
        }
    }
}

fn action(hand: &mut Hand, place: &str) -> Action {
    let key = Word::from(place);
    hand.touch(vec![key.clone()]);
    match hand.random.below(100) {
        0..45 => Action::Get(key),
        45..77 => Action::set(key, hand.value()),
        77..84 => Action::GetSet(key, hand.value()),
        84..89 => set_if(key, hand.value(), Condition::Missing, false),
        89..92 => set_if(key, hand.value(), Condition::Exists, false),
        92..94 => set_if(key, hand.value(), Condition::Exists, true),
        94..96 => Action::Exists(key),
        _ => Action::del(key),
    }
}

fn set_if(key: Word, value: Word, condition: Condition, get: bool) -> Action {
    Action::Set { key, value, ttl: None, condition: Some(condition), get }
}

//! Groups: a few keys that are always written together, to one value that comes once, or removed together; read together in every way there
//! is. Nobody may ever see half of a write.

use talon_history::{Action, Word};

use super::hand::Hand;

/// How the keys of a group end.
pub(super) const MEMBERS: [&str; 3] = [":a", ":b", ":c"];

/// One thing.
pub(super) async fn step(hand: &mut Hand) {
    let places = hand.world.plan.keys.min(5);
    let Some(place) = hand.place(places) else { return };
    let keys = members(&place);
    hand.touch(keys.clone());
    match hand.random.below(100) {
        0..20 => {
            let value = hand.value();
            hand.act(&place, Action::Mset(keys.into_iter().map(|key| (key, value.clone())).collect())).await;
        }
        20..40 => {
            let value = hand.value();
            let sets = keys.into_iter().map(|key| Action::set(key, value.clone())).collect();
            hand.act(&place, Action::Transaction(sets)).await;
        }
        40..45 => {
            hand.act(&place, Action::Del(keys)).await;
        }
        45..48 => {
            hand.act(&place, Action::DelPrefix(Word::from(format!("{place}:")))).await;
        }
        48..78 => {
            let read = read(hand, &place, keys);
            hand.act(&place, read).await;
        }
        _ => {
            let read = read(hand, &place, keys);
            hand.look(read).await;
        }
    }
}

/// The keys of a group.
pub(super) fn members(place: &str) -> Vec<Word> {
    MEMBERS.iter().map(|end| Word::from(format!("{place}{end}"))).collect()
}

fn read(hand: &mut Hand, place: &str, keys: Vec<Word>) -> Action {
    match hand.random.below(4) {
        0 => Action::Scan(Word::from(format!("{place}:"))),
        1 => Action::Transaction(keys.into_iter().map(Action::Get).collect()),
        _ => Action::Mget(keys),
    }
}

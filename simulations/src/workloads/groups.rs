//! Groups: a few keys that are always written together, to one value that comes once, or removed together; read together in every way there
//! is. Nobody may ever see half of a write.

use talon_history::{Action, Word};

use super::hand::Hand;

/// How the keys of a group end.
pub(super) const MEMBERS: [&str; 3] = [":a", ":b", ":c"];

/// One thing.
pub(super) async fn step(hand: &mut Hand) {
    let Some((place, keys)) = choose(hand, 5) else { return };
    match hand.random.below(100) {
        0..20 => write(hand, &place, keys).await,
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

/// One of so many groups at most: its place, and its keys, which are to be looked at in the end.
pub(super) fn choose(hand: &mut Hand, groups_max: u64) -> Option<(String, Vec<Word>)> {
    let places = hand.world.plan.keys.min(groups_max);
    let place = hand.place(places)?;
    let keys = members(&place);
    hand.touch(keys.clone());
    Some((place, keys))
}

/// Gives all of them one new value.
pub(super) async fn write(hand: &mut Hand, place: &str, keys: Vec<Word>) {
    let value = hand.value();
    hand.act(place, Action::Mset(keys.into_iter().map(|key| (key, value.clone())).collect())).await;
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

//! Optimistic transactions: keys are watched, read and written if nobody has touched them. On half of the places nobody else writes, so they
//! count; on the others, all kinds of writes come in between.

use std::time::Duration;

use talon_history::{Action, Deadline, Outcome, Reply, Word};
use tokio::time::sleep;

use super::groups::MEMBERS;
use super::hand::Hand;

/// One thing.
pub(super) async fn step(hand: &mut Hand) {
    let places = hand.world.plan.keys.min(4);
    let Some(place) = hand.place(places) else { return };
    let counts = place.bytes().next_back().is_some_and(|digit| digit % 2 == 0);
    let ends = if counts { &MEMBERS[..1] } else { &MEMBERS[..2] };
    let keys: Vec<Word> = ends.iter().map(|end| Word::from(format!("{place}{end}"))).collect();
    hand.touch(keys.clone());
    let key = keys[hand.random.below(keys.len() as u64) as usize].clone();
    match hand.random.below(100) {
        0..60 if counts => count(hand, &place, key).await,
        0..40 => depend(hand, &place, keys).await,
        40..75 if !counts => plain(hand, &place, key).await,
        75..90 => {
            hand.act(&place, Action::Mget(keys)).await;
        }
        _ => hand.look(Action::Mget(keys)).await,
    }
}

/// Raises a number by one.
async fn count(hand: &mut Hand, place: &str, key: Word) {
    let Some(seen) = hand.client.watch(std::slice::from_ref(&key)).await else { return };
    think(hand).await;
    let number = seen.value(0).and_then(Word::integer).unwrap_or(0);
    let set = Action::set(key, Word::from((number + 1).to_string()));
    if matches!(hand.client.exec(seen, vec![set]).await, Outcome::Unknown(_)) {
        hand.leave(place);
    }
}

/// Writes one of two keys, or both, as long as those that are watched are as they were.
async fn depend(hand: &mut Hand, place: &str, mut keys: Vec<Word>) {
    if hand.chance(50) {
        keys.reverse();
    }
    let both = hand.chance(30);
    let watched = if both { &keys[..] } else { &keys[..1] };
    let Some(seen) = hand.client.watch(watched).await else { return };
    think(hand).await;
    // Where only the first is watched, the other one may be written.
    let written = if hand.chance(30) { 1 } else { 0 };
    let mut actions = vec![Action::set(keys[written].clone(), hand.value())];
    if hand.chance(20) {
        actions.push(Action::set(keys[1 - written].clone(), hand.value()));
    }
    if matches!(hand.client.exec(seen, actions).await, Outcome::Unknown(_)) {
        hand.leave(place);
    }
}

async fn think(hand: &mut Hand) {
    if hand.chance(60) {
        sleep(Duration::from_millis(hand.random.below(30))).await;
    }
}

/// A write that asks nobody.
async fn plain(hand: &mut Hand, place: &str, key: Word) {
    let ms = 20 + hand.random.below(300) as i64;
    let action = match hand.random.below(100) {
        0..20 => {
            // The value that is there already: it is touched all the same.
            match hand.act(place, Action::Get(key.clone())).await.reply() {
                Some(Reply::Bytes(value)) => Action::set(key, value.clone()),
                _ => return,
            }
        }
        20..45 => Action::set(key, hand.value()),
        45..60 => Action::del(key),
        60..70 => Action::DelPrefix(Word::from(format!("{place}:"))),
        70..85 => Action::set_for_ms(key, hand.value(), ms),
        _ => Action::Expire(key, Deadline::AfterMs(ms)),
    };
    hand.act(place, action).await;
}

//! Expiries: keys that end soon, or not so soon; looked at, rewritten, prolonged, persisted and renamed around the moment in which they end, on
//! the leader and elsewhere.

use std::time::Duration;

use talon_history::{Action, Deadline, Ttl, Word};
use tokio::time::sleep;

use super::hand::Hand;
use crate::ambient::{START_MS, elapsed_us};

/// One thing, or two: an end, and something around it.
pub(super) async fn step(hand: &mut Hand) {
    let places = hand.world.plan.keys.min(5);
    let Some(place) = hand.place(places) else { return };
    // Renames tie two keys together; most places have none.
    let renames = place.bytes().next_back().is_some_and(|digit| digit % 3 == 0);
    let ends: &[&str] = if renames { &[":a", ":b"] } else { &[":a"] };
    let keys: Vec<Word> = ends.iter().map(|end| Word::from(format!("{place}{end}"))).collect();
    hand.touch(keys.clone());
    let key = keys[hand.random.below(keys.len() as u64) as usize].clone();
    if hand.chance(55) {
        poll(hand, &place, &key).await;
        return;
    }
    let from_us = elapsed_us();
    let ms = life_ms(hand);
    let action = write(hand, &keys, &key, ms);
    let has_end = matches!(action, Action::Set { ttl: Some(Ttl::Until(_)), .. } | Action::Expire(..));
    if hand.act(&place, action).await.reply().is_none() || !has_end || ms > 3_000 || hand.chance(40) {
        return;
    }
    let end_us = from_us + ms as u64 * 1000;
    let early_us = hand.random.below(12_000);
    sleep(Duration::from_micros(end_us.saturating_sub(early_us).saturating_sub(elapsed_us()))).await;
    for _ in 0..1 + hand.random.below(3) {
        if hand.chance(75) {
            poll(hand, &place, &key).await;
        } else {
            let ms = life_ms(hand);
            let action = write(hand, &keys, &key, ms);
            hand.act(&place, action).await;
        }
    }
}

fn life_ms(hand: &mut Hand) -> i64 {
    match hand.random.below(10) {
        0..4 => 20 + hand.random.below(200) as i64,
        4..8 => 200 + hand.random.below(2_800) as i64,
        _ => 3_000 + hand.random.below(40_000) as i64,
    }
}

fn true_now_ms() -> i64 {
    (START_MS + elapsed_us() / 1000) as i64
}

fn write(hand: &mut Hand, keys: &[Word], key: &Word, ms: i64) -> Action {
    let key = key.clone();
    let set = |hand: &mut Hand, key, ttl| Action::Set { key, value: hand.value(), ttl, condition: None, get: false };
    match hand.random.below(100) {
        0..38 => set(hand, key, Some(Ttl::Until(Deadline::AfterMs(ms)))),
        38..46 => set(hand, key, Some(Ttl::Until(Deadline::AtMs(true_now_ms() + ms)))),
        46..52 => set(hand, key, None),
        52..58 => set(hand, key, Some(Ttl::Keep)),
        58..72 => Action::Expire(key, Deadline::AfterMs(ms)),
        72..78 => Action::Expire(key, Deadline::AtMs(true_now_ms() + ms)),
        78..86 => Action::Persist(key),
        86..90 => Action::del(key),
        _ => match keys.iter().find(|other| **other != key) {
            Some(to) => Action::Rename { from: key, to: to.clone() },
            None => Action::Persist(key),
        },
    }
}

async fn poll(hand: &mut Hand, place: &str, key: &Word) {
    let key = key.clone();
    let read = match hand.random.below(4) {
        0 => Action::Exists(key),
        1 => Action::Get(key),
        _ => Action::Pttl(key),
    };
    if hand.chance(55) {
        hand.act(place, read).await;
    } else {
        hand.look(read).await;
    }
}

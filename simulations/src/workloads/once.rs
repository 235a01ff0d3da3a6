//! Writes that are sent again until they are answered: counters under `ONCE`. Whatever becomes of leaders and connections, each
//! sequence is one increment.

use talon_history::{Action, Outcome, Word};

use super::hand::Hand;

/// How often a sequence is sent until its session is given up.
const TRIES_MAX: u32 = 60;

/// What a client keeps of its session.
#[derive(Default)]
pub(super) struct OnceSession {
    /// How many it had before.
    number: u32,
    /// The last sequence that was answered.
    last: u64,
}

/// One thing.
pub(super) async fn step(hand: &mut Hand) {
    let keys = hand.world.plan.keys.min(4);
    let Some(place) = hand.place(keys) else { return };
    let key = Word::from(&*place);
    hand.touch(vec![key.clone()]);
    match hand.random.below(100) {
        0..20 => {
            hand.act(&place, Action::Get(key)).await;
        }
        20..26 => hand.look(Action::Get(key)).await,
        _ => increment(hand, &place, key).await,
    }
}

async fn increment(hand: &mut Hand, place: &str, key: Word) {
    let session = Word::from(format!("{}-{}", hand.number(), hand.once.number));
    // Numbers may be left out, but for the first.
    let skipped = if hand.once.last > 0 && hand.chance(10) { hand.random.below(5) } else { 0 };
    let sequence = hand.once.last + 1 + skipped;
    let by = 1 + hand.random.below(9) as i64;
    let action = Action::Once { session, sequence, action: Box::new(Action::incr_by(key, by)) };
    let mut unknown = false;
    for _ in 0..TRIES_MAX {
        match hand.client.carry_out(action.clone()).await {
            Outcome::Reply(_) => {
                hand.once.last = sequence;
                if hand.chance(12) {
                    // Its own program may have forgotten that it was answered.
                    hand.rest().await;
                    hand.client.carry_out(action).await;
                }
                return;
            }
            Outcome::Unknown(_) => unknown = true,
            Outcome::Refused(_) => {}
        }
        if hand.is_over() {
            break;
        }
    }
    hand.once = OnceSession { number: hand.once.number + 1, last: 0 };
    if unknown {
        hand.leave(place);
    }
}

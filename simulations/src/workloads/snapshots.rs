//! Snapshots: several reads of one point in time, over RESP in a transaction, and through a node's own handle with time between them. The
//! keys are groups, so half a write or two points in time show.

use std::time::Duration;

use talon_history::{Action, Word};

use super::groups::{choose, write};
use super::hand::Hand;

/// One thing.
pub(super) async fn step(hand: &mut Hand) {
    let Some((place, keys)) = choose(hand, 4) else { return };
    match hand.random.below(100) {
        0..45 => write(hand, &place, keys).await,
        45..48 => {
            hand.act(&place, Action::Del(keys)).await;
        }
        48..60 => {
            let reads = reads(hand, &place, keys);
            hand.act(&place, Action::Transaction(reads)).await;
        }
        60..70 => {
            let reads = reads(hand, &place, keys);
            hand.look(Action::Transaction(reads)).await;
        }
        _ => {
            let reads = reads(hand, &place, keys);
            let linearizable = hand.chance(50);
            let node = match hand.world.leader().filter(|_| linearizable) {
                Some(leader) => leader,
                None => hand.client.someone(),
            };
            let apart = Duration::from_millis(hand.random.below(120));
            hand.client.read_snapshot(node, reads, linearizable, apart).await;
        }
    }
}

fn reads(hand: &mut Hand, place: &str, keys: Vec<Word>) -> Vec<Action> {
    let mut reads: Vec<Action> = keys.into_iter().map(Action::Get).collect();
    if hand.chance(50) {
        reads.push(Action::Scan(Word::from(format!("{place}:"))));
    }
    reads
}

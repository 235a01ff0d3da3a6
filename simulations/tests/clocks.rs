//! What must hold of `T` when one of three clocks is wrong (I2, and what I6, I8 and I10 rest on).

use talon_simulations::three_clocks::{Moment, Stamps, three_clocks};

const SEEDS: u64 = 300;
const ROUNDS: u64 = 4_000;

/// By how much `T` was ever ahead of, and behind, true time, ms.
fn extremes(moments: &[Moment]) -> (i64, i64) {
    let off = |moment: &Moment| moment.clock_ms as i64 - moment.true_ms as i64;
    let ahead = moments.iter().map(off).max().expect("moments");
    let behind = moments.iter().map(|moment| -off(moment)).max().expect("moments");
    (ahead, behind)
}

#[test]
fn t_never_goes_back() {
    for seed in 0..SEEDS {
        let moments = three_clocks(seed, ROUNDS, Stamps::LeaderClock);
        assert!(moments.windows(2).all(|pair| pair[0].clock_ms <= pair[1].clock_ms), "seed {seed}");
    }
}

#[test]
fn no_seed_with_one_wrong_clock_ends_keys_early_by_more_than_the_skew_bound() {
    let mut under_a_wrong_leader = 0;
    for seed in 0..SEEDS {
        let moments = three_clocks(seed, ROUNDS, Stamps::LeaderClock);
        let (ahead_ms, _) = extremes(&moments);
        assert!(ahead_ms <= 500, "seed {seed}: T was {ahead_ms} ms ahead");
        under_a_wrong_leader += moments.iter().filter(|moment| moment.leader_is_wrong).count();
    }
    assert!(under_a_wrong_leader > 10_000, "wrong clocks did lead: {under_a_wrong_leader} rounds");
}

#[test]
fn t_stays_close_behind_true_time() {
    for seed in 0..SEEDS {
        // The first seconds make up for the second that T starts behind.
        let moments = three_clocks(seed, ROUNDS, Stamps::LeaderClock);
        let (_, behind_ms) = extremes(&moments[600..]);
        assert!(behind_ms <= 500, "seed {seed}: T was {behind_ms} ms behind");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let clocks = |seed| three_clocks(seed, ROUNDS, Stamps::LeaderClock).iter().map(|m| m.clock_ms).collect::<Vec<_>>();
    assert_eq!(clocks(7), clocks(7));
    assert_ne!(clocks(7), clocks(8));
}

#[test]
fn stamping_by_the_leaders_own_wall_clock_would_be_noticed() {
    let caught =
        (0..SEEDS).filter(|seed| extremes(&three_clocks(*seed, ROUNDS, Stamps::PlantedOwnWall)).0 > 500).count() as u64;
    assert!(caught > SEEDS / 2, "caught in {caught} of {SEEDS} seeds");
}

//! Worlds in simulated time. The first one has only clocks: it runs the real leader's clock ([`talon_raft::clock`]) on nodes whose
//! clocks drift and jump, through changes of the leader, and looks at `T` from outside.
//!
//! *Enters*: a seed. *Leaves*: what `T` did beside true time. *Must never know*: a real clock.

use talon_core::random::SplitMix64;
use talon_raft::clock::{LeaderClock, Offsets, Reading};

/// How often the leader hears the others, and how often it stamps, ms.
const ROUND_MS: u64 = 50;
/// True time at the start, Unix ms.
const START_MS: u64 = 1_800_000_000_000;

/// Where stamps come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamps {
    /// The leader's clock as it is.
    LeaderClock,
    /// The leader's wall clock: what Talon must not do. Shows that the world would notice.
    PlantedOwnWall,
}

/// One moment of a run.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// True time, Unix ms.
    pub true_ms: u64,
    /// The replicated clock, Unix ms.
    pub clock_ms: u64,
    /// Whether the leader's own clock is the wrong one.
    pub leader_is_wrong: bool,
}

struct NodeClocks {
    /// How far the wall clock is off, ms.
    wall_off_ms: i64,
    /// By how many parts in a thousand the monotonic clock runs too fast.
    fast_permille: i64,
}

impl NodeClocks {
    fn read(&self, elapsed_ms: u64) -> Reading {
        let elapsed = i64::try_from(elapsed_ms).unwrap_or(i64::MAX);
        let drifted = elapsed + elapsed * self.fast_permille / 1000;
        let start = i64::try_from(START_MS).unwrap_or(i64::MAX);
        Reading {
            // Every machine counts from its own start.
            monotonic_ms: 1_000_000 + drifted.unsigned_abs(),
            wall_ms: (start + elapsed + self.wall_off_ms).unsigned_abs(),
        }
    }
}

/// Three nodes for `rounds` rounds. Two clocks are right within 10 ms; the third jumps by up to an hour in either direction and drifts by up to
/// 5 %. Leadership moves now and then, also to the wrong one.
pub fn three_clocks(seed: u64, rounds: u64, stamps: Stamps) -> Vec<Moment> {
    let mut random = SplitMix64(seed);
    let wrong = random.below(3) as usize;
    let mut nodes: Vec<NodeClocks> =
        (0..3).map(|_| NodeClocks { wall_off_ms: random.below(21) as i64 - 10, fast_permille: 0 }).collect();
    nodes[wrong].fast_permille = random.below(101) as i64 - 50;
    let voters = [1, 2, 3];
    let (mut leader, mut offsets, mut lead) = (0_usize, Offsets::default(), None::<LeaderClock>);
    let mut clock_ms = START_MS - 1_000;
    let mut moments = Vec::new();
    for round in 0..rounds {
        let elapsed_ms = round * ROUND_MS;
        if random.below(100) == 0 {
            nodes[wrong].wall_off_ms = random.below(7_200_001) as i64 - 3_600_000;
        }
        if random.below(200) == 0 {
            leader = random.below(3) as usize;
            (offsets, lead) = (Offsets::default(), None);
        }
        let now = nodes[leader].read(elapsed_ms);
        let own_id = voters[leader];
        for (other, node) in nodes.iter().enumerate() {
            // Not every message arrives.
            if other != leader && random.below(4) > 0 {
                offsets.hear(voters[other], node.read(elapsed_ms).wall_ms, now.monotonic_ms);
            }
        }
        let median_ms = offsets.median_ms(&voters, own_id, now);
        let clock = lead.get_or_insert_with(|| LeaderClock::start(clock_ms, median_ms, now));
        let stamp_ms = match stamps {
            Stamps::LeaderClock => clock.now_ms(|| median_ms, now),
            Stamps::PlantedOwnWall => now.wall_ms,
        };
        clock_ms = clock_ms.max(stamp_ms);
        moments.push(Moment { true_ms: START_MS + elapsed_ms, clock_ms, leader_is_wrong: leader == wrong });
    }
    moments
}

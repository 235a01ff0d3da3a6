//! Concurrent histories that are right, because a model made them: many clients, delays, refusals, unknown outcomes,
//! and followers that lag. The same seed makes the same history.

use std::collections::{BTreeMap, VecDeque};

use talon_history::{Action, Condition, Consistency, Deadline, History, Model, Operation, Outcome, Reply, Ttl, Word};

/// How many states a follower may be behind.
const LAG_MAX: usize = 40;

/// A small random generator (splitmix64): what a test needs, and the same everywhere.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone, Copy)]
pub struct World {
    pub seed: u64,
    pub operations: usize,
    pub clients: u64,
    /// Registers; there are half as many counters, and as many groups of two as there are counters.
    pub keys: u64,
    /// In percent.
    pub unknown: u64,
    /// How fast the replicated clock runs, in percent of true time.
    pub clock_percent: u64,
    /// One acknowledged write in so many is not carried out; 0: none.
    pub loses_one_in: u64,
}

pub fn groups(world: &World) -> Vec<Vec<Word>> {
    (0..(world.keys / 2).max(1)).map(group).collect()
}

fn group(number: u64) -> Vec<Word> {
    vec![format!("g{number}a").into(), format!("g{number}b").into()]
}

struct Planned {
    effect_us: u64,
    operation: Operation,
    /// Whether it is carried out at all.
    done: bool,
}

/// A history, with final reads of all registers.
pub fn history(world: &World) -> History {
    let mut chance = Chance::new(world.seed);
    let mut planned: Vec<Planned> = Vec::new();
    let mut value = 0;
    let per_client = world.operations / world.clients as usize;
    let mut end_us = 0;
    for client in 1..=world.clients as u32 {
        let mut now_us = chance.below(5000);
        for _ in 0..per_client {
            value += 1;
            let action = action(world, &mut chance, value);
            now_us += 1 + chance.below(2000);
            let called_us = now_us;
            let effect_us = called_us + chance.below(3000);
            let returned_us = effect_us + chance.below(3000);
            let (outcome, done, returned_us) = match chance.below(100) {
                at if at < world.unknown => (Outcome::Unknown("timeout".into()), chance.percent(50), None),
                at if at < world.unknown + 3 => (Outcome::Refused("CLUSTERDOWN".into()), false, Some(returned_us)),
                _ => (Outcome::Reply(Reply::Nil), true, Some(returned_us)),
            };
            // What is given up may still be carried out much later.
            let effect_us = effect_us + if returned_us.is_none() { chance.below(200_000) } else { 0 };
            let follower = !action.writes() && !matches!(action, Action::Pttl(_)) && chance.percent(20);
            let consistency = match follower {
                true => Consistency::Session,
                false => Consistency::Linearizable,
            };
            let lost = world.loses_one_in > 0
                && matches!(action, Action::Set { ttl: None, condition: None, get: false, .. })
                && matches!(outcome, Outcome::Reply(_))
                && chance.below(world.loses_one_in) == 0;
            now_us = returned_us.unwrap_or(called_us + 3000);
            end_us = end_us.max(effect_us.max(now_us));
            let operation = Operation {
                id: 0,
                client,
                node: Some(1),
                called_us,
                returned_us,
                action,
                outcome: if lost { Outcome::Reply(Reply::Ok) } else { outcome },
                consistency,
                applied: None,
                term: Some(1),
            };
            planned.push(Planned { effect_us, operation, done: done && !lost });
        }
    }
    for key in 0..world.keys {
        let (called_us, returned_us) = (end_us + 10, Some(end_us + 20));
        let operation = Operation {
            id: 0,
            client: 0,
            node: Some(1),
            called_us,
            returned_us,
            action: Action::get(format!("r{key}")),
            outcome: Outcome::Reply(Reply::Nil),
            consistency: Consistency::Linearizable,
            applied: None,
            term: Some(1),
        };
        planned.push(Planned { effect_us: called_us + 1, operation, done: true });
    }
    carry_out(world, &mut chance, planned)
}

fn carry_out(world: &World, chance: &mut Chance, mut planned: Vec<Planned>) -> History {
    planned.sort_by_key(|planned| planned.effect_us);
    let mut model = Model::new();
    let mut index = 0;
    let mut states: VecDeque<(u64, Model)> = VecDeque::new();
    let mut positions: BTreeMap<u32, u64> = BTreeMap::new();
    for planned in planned.iter_mut().filter(|planned| planned.done) {
        let operation = &mut planned.operation;
        let position = positions.entry(operation.client).or_default();
        let reply = if operation.consistency == Consistency::Session && !states.is_empty() {
            let allowed: Vec<usize> = (0..states.len()).filter(|at| states[*at].0 >= *position).collect();
            let Some(&at) = allowed.get(chance.below(allowed.len().max(1) as u64) as usize) else {
                unreachable!("the newest state is at every position")
            };
            let (at, state) = &states[at];
            *position = *at;
            state.clone().carry_out(0, &operation.action)
        } else {
            index += 1;
            *position = index;
            let clock_ms = 1_000_000 + planned.effect_us / 1000 * world.clock_percent / 100;
            model.carry_out(clock_ms as i64, &operation.action)
        };
        operation.applied = Some(*position);
        if let Outcome::Reply(answered) = &mut operation.outcome {
            *answered = reply;
        }
        states.push_back((index, model.clone()));
        if states.len() > LAG_MAX {
            states.pop_front();
        }
    }
    let mut history = History::new();
    for planned in planned {
        history.push(planned.operation);
    }
    History::merged([history])
}

fn action(world: &World, chance: &mut Chance, number: u64) -> Action {
    let key = Word::from(format!("r{}", chance.below(world.keys)));
    let counter = Word::from(format!("c{}", chance.below((world.keys / 2).max(1))));
    let group = group(chance.below((world.keys / 2).max(1)));
    let value = Word::from(format!("v{number}"));
    // A rename ties two keys together, so only neighbours are renamed.
    let pair = chance.below(4);
    let set = |ttl, condition, get| Action::Set { key: key.clone(), value: value.clone(), ttl, condition, get };
    match chance.below(100) {
        0..30 => Action::Get(key),
        30..42 => set(None, None, chance.percent(20)),
        42..48 => set(Some(Ttl::Until(Deadline::AfterMs(1 + chance.below(400) as i64))), None, false),
        48..50 => set(Some(Ttl::Keep), None, false),
        50..52 => set(None, Some(Condition::Missing), false),
        52..54 => set(None, Some(Condition::Exists), true),
        54..56 => set(None, Some(Condition::Equals(format!("v{}", number.saturating_sub(world.keys)).into())), false),
        56..60 => Action::Del(vec![key]),
        60..62 => Action::GetSet(key, value),
        62..64 => Action::Expire(key, Deadline::AfterMs(chance.below(500) as i64)),
        64..65 => Action::Persist(key),
        65..67 => Action::Pttl(format!("x{pair}").into()),
        67..68 => Action::Exists(key),
        68..69 => Action::Append(format!("a{pair}").into(), value),
        69..70 => Action::Get(format!("a{pair}").into()),
        70..77 => Action::IncrBy(counter, 1 + chance.below(3) as i64),
        77..82 => Action::Get(counter),
        82..86 => Action::Mset(group.into_iter().map(|key| (key, value.clone())).collect()),
        86..88 => Action::Transaction(group.into_iter().map(|key| Action::set(key, value.clone())).collect()),
        88..92 => Action::Mget(group),
        92..93 => Action::Transaction(group.into_iter().map(Action::Get).collect()),
        93..94 => Action::Del(group),
        94..95 => Action::DelPrefix(group[0][..group[0].len() - 1].into()),
        95..96 => Action::Scan(group[0][..group[0].len() - 1].into()),
        96..97 => Action::Rename { from: format!("x{pair}").into(), to: format!("y{pair}").into() },
        97..98 => Action::set_for_ms(format!("x{pair}"), value, 100),
        98..99 => Action::get(format!("y{pair}")),
        _ => Action::Scan(format!("x{pair}").into()),
    }
}

//! Links that are cut, both ways or one way, that flap, that hold everything back, or that are slow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use turmoil::Sim;

use super::scene::{Fault, Scene};
use crate::client;
use crate::host::name;
use crate::plan::Plan;

/// From one host to another.
pub type Way = (String, String);

/// What is wrong with the links. Several faults may be open on one link: it is whole when the last of them is over.
pub struct Network {
    hosts: Vec<String>,
    latency_us_max: u64,
    /// How often each way is cut.
    cut: BTreeMap<Way, u32>,
    /// How often each link, written with the smaller name first, holds back what is sent.
    held: BTreeMap<Way, u32>,
    /// How slow each link is, µs: the slowest counts.
    slow: BTreeMap<Way, Vec<u64>>,
}

fn link(a: &str, b: &str) -> Way {
    let (a, b) = if a < b { (a, b) } else { (b, a) };
    (a.to_owned(), b.to_owned())
}

fn client_hosts(plan: &Plan) -> BTreeSet<String> {
    (1..=plan.clients).map(client::host).collect()
}

impl Network {
    /// A whole one.
    pub fn new(plan: &Plan) -> Network {
        let nodes = (1..=plan.voters + plan.spares).map(name);
        let hosts = nodes.chain(client_hosts(plan)).collect();
        Network {
            hosts,
            latency_us_max: plan.latency_us.1,
            cut: BTreeMap::new(),
            held: BTreeMap::new(),
            slow: BTreeMap::new(),
        }
    }

    /// Cuts some ways.
    pub fn cut(&mut self, sim: &Sim<'_>, ways: &[Way]) {
        for (from, to) in ways {
            *self.cut.entry((from.clone(), to.clone())).or_default() += 1;
            sim.partition_oneway(from.as_str(), to.as_str());
        }
    }

    /// Undoes [`Network::cut`].
    pub fn mend(&mut self, sim: &Sim<'_>, ways: &[Way]) {
        for (from, to) in ways {
            lower(&mut self.cut, &(from.clone(), to.clone()));
            self.apply(sim, from, to);
        }
    }

    /// What is sent on these links stays under way.
    pub fn hold(&mut self, sim: &Sim<'_>, ways: &[Way]) {
        for (a, b) in ways {
            *self.held.entry(link(a, b)).or_default() += 1;
            self.apply(sim, a, b);
        }
    }

    /// Undoes [`Network::hold`]: everything arrives at once.
    pub fn release(&mut self, sim: &Sim<'_>, ways: &[Way]) {
        for (a, b) in ways {
            lower(&mut self.held, &link(a, b));
            self.apply(sim, a, b);
        }
    }

    /// Messages on these links take up to so long.
    pub fn slow_down(&mut self, sim: &Sim<'_>, ways: &[Way], latency_us_max: u64) {
        for (a, b) in ways {
            self.slow.entry(link(a, b)).or_default().push(latency_us_max);
            self.apply_latency(sim, a, b);
        }
    }

    /// Undoes [`Network::slow_down`].
    pub fn speed_up(&mut self, sim: &Sim<'_>, ways: &[Way], latency_us_max: u64) {
        for (a, b) in ways {
            let known = self.slow.entry(link(a, b)).or_default();
            if let Some(place) = known.iter().position(|latency_us| *latency_us == latency_us_max) {
                known.swap_remove(place);
            }
            self.apply_latency(sim, a, b);
        }
    }

    /// Nothing this host has sent, or sends, arrives.
    pub fn silence(&self, sim: &Sim<'_>, host: &str) {
        for other in self.hosts.iter().filter(|other| *other != host) {
            sim.partition_oneway(host, other.as_str());
        }
    }

    /// Undoes [`Network::silence`], except for what else is wrong.
    pub fn restore(&self, sim: &Sim<'_>, host: &str) {
        for other in self.hosts.iter().filter(|other| *other != host) {
            self.apply(sim, host, other);
        }
    }

    fn apply(&self, sim: &Sim<'_>, a: &str, b: &str) {
        if self.held.contains_key(&link(a, b)) {
            sim.hold(a, b);
        } else {
            sim.release(a, b);
        }
        for (from, to) in [(a, b), (b, a)] {
            if self.cut.contains_key(&(from.to_owned(), to.to_owned())) {
                sim.partition_oneway(from, to);
            }
        }
    }

    fn apply_latency(&self, sim: &Sim<'_>, a: &str, b: &str) {
        let slowest_us = self.slow.get(&link(a, b)).and_then(|known| known.iter().max().copied());
        let latency_us = slowest_us.unwrap_or(0).max(self.latency_us_max);
        sim.set_link_max_message_latency(a, b, Duration::from_micros(latency_us));
    }
}

fn lower(counts: &mut BTreeMap<Way, u32>, way: &Way) {
    if let Some(count) = counts.get_mut(way) {
        *count -= 1;
        if *count == 0 {
            counts.remove(way);
        }
    }
}

/// Some ways between hosts, and how they are wrong until then.
struct Links {
    ways: Vec<Way>,
    wrong: Wrong,
    until_us: u64,
    hit: bool,
}

enum Wrong {
    Cut,
    Flapping { is_cut: bool, next_us: u64, period_us: u64 },
    Held,
    Slow { latency_us_max: u64 },
}

impl Links {
    /// Hit, if a leader sends or receives there.
    fn open(scene: &mut Scene<'_, '_>, ways: Vec<Way>, wrong: Wrong, last_us: u64) -> Option<Box<dyn Fault>> {
        if ways.is_empty() {
            return None;
        }
        let leader = scene.leader().map(name);
        let hit = leader.is_some_and(|leader| ways.iter().any(|(from, to)| *from == leader || *to == leader));
        match wrong {
            Wrong::Cut | Wrong::Flapping { .. } => scene.network.cut(scene.sim, &ways),
            Wrong::Held => scene.network.hold(scene.sim, &ways),
            Wrong::Slow { latency_us_max } => scene.network.slow_down(scene.sim, &ways, latency_us_max),
        }
        Some(Box::new(Links { ways, wrong, until_us: scene.now_us + last_us, hit }))
    }
}

impl Fault for Links {
    fn step(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        if let Wrong::Flapping { is_cut, next_us, period_us } = &mut self.wrong
            && scene.now_us >= *next_us
        {
            if *is_cut {
                scene.network.mend(scene.sim, &self.ways);
            } else {
                scene.network.cut(scene.sim, &self.ways);
            }
            *is_cut = !*is_cut;
            *next_us = scene.now_us + *period_us / 2 + scene.random.below(*period_us);
        }
        scene.now_us >= self.until_us
    }

    fn heal(&mut self, scene: &mut Scene<'_, '_>) {
        match self.wrong {
            Wrong::Cut | Wrong::Flapping { is_cut: true, .. } => scene.network.mend(scene.sim, &self.ways),
            Wrong::Flapping { is_cut: false, .. } => {}
            Wrong::Held => scene.network.release(scene.sim, &self.ways),
            Wrong::Slow { latency_us_max } => scene.network.speed_up(scene.sim, &self.ways, latency_us_max),
        }
    }

    fn hit(&self) -> bool {
        self.hit
    }
}

/// Two sides: often the leader, alone or with a minority, and sometimes with some of the clients; else at random.
fn sides(scene: &mut Scene<'_, '_>) -> (Vec<String>, Vec<String>) {
    let mut nodes = scene.nodes();
    let leader = scene.leader();
    let mut left = Vec::new();
    match leader {
        Some(leader) if scene.chance(60) => {
            nodes.retain(|id| *id != leader);
            left.push(leader);
            let more = (scene.voters().len() as u64).saturating_sub(1) / 2;
            for _ in 1..more {
                if scene.chance(50) && nodes.len() > 2 {
                    let place = scene.random.below(nodes.len() as u64) as usize;
                    left.push(nodes.swap_remove(place));
                }
            }
        }
        _ => {
            let random = &mut *scene.random;
            let (one, other) = nodes.into_iter().partition(|_| random.below(2) == 0);
            (left, nodes) = (one, other);
        }
    }
    let mut left: Vec<String> = left.into_iter().map(name).collect();
    let mut right: Vec<String> = nodes.into_iter().map(name).collect();
    if scene.chance(30) {
        for host in client_hosts(&scene.world.plan) {
            if scene.chance(50) { &mut left } else { &mut right }.push(host);
        }
    }
    (left, right)
}

/// Between clients there are no links.
fn between(left: &[String], right: &[String]) -> Vec<Way> {
    let is_node = |host: &String| host.starts_with("node");
    let pairs = left.iter().flat_map(|a| right.iter().map(move |b| (a.clone(), b.clone())));
    pairs.filter(|(a, b)| is_node(a) || is_node(b)).collect()
}

fn both(ways: Vec<Way>) -> Vec<Way> {
    ways.into_iter().flat_map(|(a, b)| [(a.clone(), b.clone()), (b, a)]).collect()
}

/// Between this node and all others, both ways.
pub fn around(scene: &Scene<'_, '_>, id: u64) -> Vec<Way> {
    let others: Vec<String> =
        scene.world.processes.iter().map(|other| other.id).filter(|other| *other != id).map(name).collect();
    both(between(&[name(id)], &others))
}

/// Two nodes, often the leader and another.
fn one_link(scene: &mut Scene<'_, '_>) -> Vec<Way> {
    let Some(one) = scene.target() else { return Vec::new() };
    let others: Vec<u64> = scene.nodes().into_iter().filter(|id| *id != one).collect();
    match scene.one_of(&others) {
        Some(other) => vec![(name(one), name(other))],
        None => Vec::new(),
    }
}

/// Nothing passes between two sides.
pub fn partition(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let (left, right) = sides(scene);
    let last_us = scene.lasting(300, 12_000);
    Links::open(scene, both(between(&left, &right)), Wrong::Cut, last_us)
}

/// Nothing passes from one side to the other, but back it does.
pub fn one_way(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let (left, right) = sides(scene);
    let ways = if scene.chance(50) { between(&left, &right) } else { between(&right, &left) };
    let last_us = scene.lasting(300, 12_000);
    Links::open(scene, ways, Wrong::Cut, last_us)
}

/// A link comes and goes.
pub fn flapping(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let ways = both(one_link(scene));
    let period_us = scene.lasting(50, 2_000);
    let (next_us, last_us) = (scene.now_us + period_us, scene.lasting(2_000, 15_000));
    Links::open(scene, ways, Wrong::Flapping { is_cut: true, next_us, period_us }, last_us)
}

/// Nothing passes between two sides for a while, and then everything does at once, as when TCP sends again.
pub fn stalled(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let (left, right) = sides(scene);
    let last_us = scene.lasting(100, 6_000);
    Links::open(scene, between(&left, &right), Wrong::Held, last_us)
}

/// Some links are slow and their messages overtake each other, as far as one connection's order allows.
pub fn slow_links(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let ways = if scene.chance(50) {
        one_link(scene)
    } else {
        let (left, right) = sides(scene);
        between(&left, &right)
    };
    let latency_us_max = scene.lasting(30, 1_500);
    let last_us = scene.lasting(1_000, 15_000);
    Links::open(scene, ways, Wrong::Slow { latency_us_max }, last_us)
}

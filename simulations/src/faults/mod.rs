//! What goes wrong around the nodes: which faults there are, and who lets them happen, when.

mod behind;
mod clocks;
mod disks;
mod leases;
mod lives;
mod network;
mod orders;
mod power;
mod scene;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use talon_core::random::SplitMix64;

use self::lives::Lives;
use self::network::Network;
use self::scene::{Fault, Scene};
use crate::ambient::elapsed_us;
use crate::world::World;

/// How many faults are open at the same time, at most.
const OPEN_MAX: usize = 4;
/// The cluster has formed, and clients have begun, by then, µs.
pub const BEGIN_US: u64 = 4_000_000;
/// How long after the wanted moment a fault comes, at most, µs.
const LATE_US_MAX: u64 = 400_000;
/// How long a wanted moment is waited for, µs.
const WAIT_US_MAX: u64 = 6_000_000;
/// For how long there must have been no new leader before a node may lose its disk, µs.
const SETTLED_US: u64 = 3_000_000;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Nothing passes between two sides.
    Partition,
    /// Nothing passes from one side to the other.
    OneWay,
    /// A link comes and goes.
    Flapping,
    /// Nothing passes between two sides, and later everything at once.
    Stalled,
    /// Messages on some links take long, and overtake each other.
    SlowLinks,
    /// A process is killed.
    Crash,
    /// A machine loses its power: what was not synced is lost.
    PowerCut,
    /// All machines at once.
    PowerCutAll,
    /// Syncs of a disk take up to seconds.
    SlowDisk,
    /// A disk is full.
    FullDisk,
    /// A disk fails, once.
    FailingDisk,
    /// A wall clock jumps by up to an hour, forward or back.
    ClockJump,
    /// A machine's clocks run up to 5 % too fast or too slow.
    ClockDrift,
    /// A machine stands still for longer than a lease.
    Pause,
    /// A node is taken in, promoted, or taken out.
    Membership,
    /// Leadership is handed over.
    Transfer,
    /// A node stays away until it needs a checkpoint.
    FarBehind,
    /// A node hears no other one until it needs a checkpoint, and answers its clients.
    CutOffBehind,
    /// All nodes are restarted one after the other.
    RollingRestart,
    /// A voter comes back with empty disks, while all is well otherwise.
    LostDisk,
    /// One node campaigns, those that hear the leader are restarted, and the leader is cut off.
    Usurped,
    /// Leadership is handed over, and whoever led does not hear that it was.
    UnheardTransfer,
}

type Inject = fn(&mut Scene<'_, '_>) -> Option<Box<dyn Fault>>;

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; 22] = [
        FaultKind::Partition,
        FaultKind::OneWay,
        FaultKind::Flapping,
        FaultKind::Stalled,
        FaultKind::SlowLinks,
        FaultKind::Crash,
        FaultKind::PowerCut,
        FaultKind::PowerCutAll,
        FaultKind::SlowDisk,
        FaultKind::FullDisk,
        FaultKind::FailingDisk,
        FaultKind::ClockJump,
        FaultKind::ClockDrift,
        FaultKind::Pause,
        FaultKind::Membership,
        FaultKind::Transfer,
        FaultKind::FarBehind,
        FaultKind::CutOffBehind,
        FaultKind::RollingRestart,
        FaultKind::LostDisk,
        FaultKind::Usurped,
        FaultKind::UnheardTransfer,
    ];

    /// Its name, and what it is in a line.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            FaultKind::Partition => ("partition", "nothing passes between two sides, often the leader and the rest"),
            FaultKind::OneWay => ("one-way", "nothing passes from one side to the other, but back it does"),
            FaultKind::Flapping => ("flapping", "a link comes and goes"),
            FaultKind::Stalled => ("stalled", "nothing passes between two sides, and later everything at once"),
            FaultKind::SlowLinks => ("slow-links", "messages take up to 1.5 s and overtake each other"),
            FaultKind::Crash => ("crash", "a process is killed; what it wrote is still written"),
            FaultKind::PowerCut => ("power-cut", "a machine loses its power and what was not synced"),
            FaultKind::PowerCutAll => ("power-cut-all", "all machines lose their power at once"),
            FaultKind::SlowDisk => ("slow-disk", "syncs take up to seconds"),
            FaultKind::FullDisk => ("full-disk", "there is no room for the log, and later there is again"),
            FaultKind::FailingDisk => ("failing-disk", "a sync or a read fails"),
            FaultKind::ClockJump => ("clock-jump", "a wall clock jumps by up to an hour, forward or back"),
            FaultKind::ClockDrift => ("clock-drift", "a machine's clocks run up to 5 % too fast or too slow"),
            FaultKind::Pause => ("pause", "a machine stands still for longer than a lease"),
            FaultKind::Membership => ("membership", "nodes are taken in, promoted and taken out, also the leader"),
            FaultKind::Transfer => ("transfer", "leadership is handed over, to anybody or to a given node"),
            FaultKind::FarBehind => ("far-behind", "a node stays away until only a checkpoint helps it"),
            FaultKind::CutOffBehind => (
                "cut-off-behind",
                "nodes are cut off until only a checkpoint helps them, answer reads when it comes, and may crash then",
            ),
            FaultKind::RollingRestart => ("rolling-restart", "all nodes are restarted one after the other"),
            FaultKind::Usurped => {
                ("usurped", "one node campaigns, those that hear the leader are restarted, and it is cut off")
            }
            FaultKind::UnheardTransfer => {
                ("unheard-transfer", "leadership is handed over, and whoever led does not hear that it was")
            }
            FaultKind::LostDisk => ("lost-disk", "a voter comes back with empty disks, while all is well otherwise"),
        }
    }

    fn inject(self) -> Inject {
        match self {
            FaultKind::Partition => network::partition,
            FaultKind::OneWay => network::one_way,
            FaultKind::Flapping => network::flapping,
            FaultKind::Stalled => network::stalled,
            FaultKind::SlowLinks => network::slow_links,
            FaultKind::Crash => power::crash,
            FaultKind::PowerCut => power::cut_one,
            FaultKind::PowerCutAll => power::cut_all,
            FaultKind::SlowDisk => disks::slow,
            FaultKind::FullDisk => disks::full,
            FaultKind::FailingDisk => disks::failing,
            FaultKind::ClockJump => clocks::jump,
            FaultKind::ClockDrift => clocks::drift,
            FaultKind::Pause => clocks::pause,
            FaultKind::Membership => orders::membership,
            FaultKind::Transfer => orders::transfer,
            FaultKind::FarBehind => behind::far_behind,
            FaultKind::CutOffBehind => behind::cut_off_behind,
            FaultKind::RollingRestart => orders::rolling_restart,
            FaultKind::LostDisk => behind::lost_disk,
            FaultKind::Usurped => leases::usurped,
            FaultKind::UnheardTransfer => leases::unheard_transfer,
        }
    }
}

/// How often a kind of fault happened, and how often it met something: a leader, a write under way, a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCount {
    /// How often it was done.
    pub happened: u64,
    /// How often it hit something.
    pub hit: u64,
}

/// When the next fault comes: when simulated time has come to `from_us`, at the wanted moment, or without it at `latest_us`.
struct Next {
    kind: FaultKind,
    from_us: u64,
    moment: Moment,
    latest_us: u64,
}

/// Moments that hurt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    Any,
    /// Somebody has just been elected.
    Elected,
    /// A transfer of leadership, or a change of the membership, is under way.
    Ordered,
    /// A node needs a checkpoint and is there to get it.
    CheckpointSent,
    /// Something else is wrong already.
    Troubled,
    /// The leader's disk has not synced what was written.
    Unsynced,
}

/// Lets things go wrong when their time has come.
pub struct Injector {
    world: Arc<World>,
    random: SplitMix64,
    network: Network,
    lives: Lives,
    open: Vec<(FaultKind, Box<dyn Fault>)>,
    next: Option<Next>,
    /// How many leaders were seen, and when the last one was, µs.
    leaders: (usize, u64),
    /// When something was amiss last.
    troubled_us: u64,
    counts: BTreeMap<FaultKind, FaultCount>,
}

impl Injector {
    /// Of a run that has not begun.
    pub fn new(world: Arc<World>) -> Injector {
        let mut random = SplitMix64(world.plan.seed ^ 0xFA17);
        for wrong in &world.plan.wrong_clocks {
            if let Some(process) = world.process(wrong.node) {
                process.machine.clocks.jump(wrong.wall_ms);
                process.machine.clocks.drift(wrong.fast_ppm);
            }
        }
        let (network, lives) = (Network::new(&world.plan), Lives::new(random.draw()));
        let counts = BTreeMap::new();
        let mut injector = Injector {
            world,
            random,
            network,
            lives,
            open: Vec::new(),
            next: None,
            leaders: (0, 0),
            troubled_us: 0,
            counts,
        };
        injector.choose_next(BEGIN_US);
        injector
    }

    /// What happened so far.
    pub fn counts(&self) -> BTreeMap<FaultKind, FaultCount> {
        self.counts.clone()
    }

    /// Called after each tick.
    pub fn step(&mut self, sim: &mut turmoil::Sim<'_>) {
        self.lives.step(&self.world, sim);
        if self.world.is_quiet() {
            return;
        }
        let now_us = elapsed_us();
        let quiet = now_us >= self.world.plan.quiet_from_s() * 1_000_000;
        self.look_after_open(sim, now_us, quiet);
        if quiet {
            return self.make_right(now_us);
        }
        let leaders = self.world.ledger.open().leaders.len();
        if leaders != self.leaders.0 {
            self.leaders = (leaders, now_us);
        }
        // A leader that was cut off until just now need not have heard of the next one. (Found in seed 94 of `swarm`: a node that had lost its disk
        // in that very moment heard of the old one first.)
        if !self.open.is_empty() || self.lives.down() > 0 {
            self.troubled_us = now_us;
        }
        let Some(next) = self.next.take_if(|next| now_us >= next.from_us) else { return };
        let has_come = self.has_come(next.moment, sim, now_us);
        let alone = next.kind == FaultKind::LostDisk;
        let settled = now_us - self.leaders.1.max(self.troubled_us) > SETTLED_US;
        let free = self.open.len() < OPEN_MAX && self.open.iter().all(|(kind, _)| *kind != FaultKind::LostDisk);
        let may = free && (settled || !alone);
        if !may || !(has_come || now_us >= next.latest_us) {
            self.next = Some(next);
            return;
        }
        if let Some(fault) = (next.kind.inject())(&mut self.scene(sim, now_us)) {
            tracing::info!(kind = next.kind.words().0, "a fault");
            self.open.push((next.kind, fault));
            self.counts.entry(next.kind).or_default().happened += 1;
        }
        self.choose_next(now_us);
    }

    fn scene<'a, 's>(&'a mut self, sim: &'a mut turmoil::Sim<'s>, now_us: u64) -> Scene<'a, 's> {
        let Injector { world, random, network, lives, .. } = self;
        Scene { world, sim, network, lives, random, now_us }
    }

    fn look_after_open(&mut self, sim: &mut turmoil::Sim<'_>, now_us: u64, all_end: bool) {
        for (kind, mut fault) in std::mem::take(&mut self.open) {
            let mut scene = self.scene(sim, now_us);
            if fault.step(&mut scene) || all_end {
                fault.heal(&mut scene);
                tracing::info!(kind = kind.words().0, hit = fault.hit(), "the end of a fault");
                self.counts.entry(kind).or_default().hit += u64::from(fault.hit());
            } else {
                self.open.push((kind, fault));
            }
        }
    }

    fn make_right(&mut self, now_us: u64) {
        for process in &self.world.processes {
            process.machine.clocks.set_right();
            process.machine.disks.fill(false);
            process.machine.disks.slow_down(self.world.plan.sync_us_max);
            process.machine.pause.resume();
        }
        self.lives.start_all();
        tracing::info!("everything is right again");
        self.world.be_quiet(now_us);
    }

    fn choose_next(&mut self, now_us: u64) {
        let faults = &self.world.plan.faults;
        let total: u64 = faults.iter().map(|(_, weight)| u64::from(*weight)).sum();
        if total == 0 {
            return;
        }
        let mut drawn = self.random.below(total);
        let chosen = faults.iter().find(|(_, weight)| {
            let here = drawn < u64::from(*weight);
            drawn = drawn.saturating_sub(u64::from(*weight));
            here
        });
        let Some((kind, _)) = chosen.copied() else { return };
        let cuts_power = matches!(kind, FaultKind::PowerCut | FaultKind::PowerCutAll);
        let moment = match self.random.below(8) {
            _ if cuts_power && self.random.below(2) == 0 => Moment::Unsynced,
            0 => Moment::Elected,
            1 => Moment::Ordered,
            2 => Moment::CheckpointSent,
            3 => Moment::Troubled,
            _ => Moment::Any,
        };
        let from_us = now_us + self.random.below(2 * self.world.plan.fault_interval_ms * 1000 + 1);
        let wait_us = if moment == Moment::Any { 0 } else { self.random.below(WAIT_US_MAX) };
        self.next = Some(Next { kind, from_us, moment, latest_us: from_us + wait_us });
    }

    fn has_come(&mut self, moment: Moment, sim: &mut turmoil::Sim<'_>, now_us: u64) -> bool {
        // Not always at once: somewhere within what has just begun.
        let late_us = self.random.below(LATE_US_MAX);
        match moment {
            Moment::Any => true,
            Moment::Elected => {
                let since_us = now_us - self.leaders.1;
                since_us < LATE_US_MAX && since_us >= late_us / 4
            }
            Moment::Ordered => {
                let ordered = |kind: &FaultKind| matches!(kind, FaultKind::Transfer | FaultKind::Membership);
                self.open.iter().any(|(kind, _)| ordered(kind)) && late_us < 20_000
            }
            Moment::CheckpointSent => {
                let scene = self.scene(sim, now_us);
                scene.nodes().into_iter().any(|id| scene.lives.is_up(id) && scene.is_far_behind(id)) && late_us < 20_000
            }
            Moment::Unsynced => {
                let scene = self.scene(sim, now_us);
                scene.leader().is_some_and(|leader| scene.unsynced_bytes(leader) > 0)
            }
            Moment::Troubled => !self.open.is_empty() && late_us < 4_000,
        }
    }
}

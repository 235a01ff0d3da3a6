//! What operators do while everything goes on: members come and go, leadership is handed over, nodes are restarted one after the other.

use talon_core::MemberRole;

use super::scene::{Fault, Scene};
use crate::host::Order;
use crate::machine::PowerLoss;

/// How long an order may take, µs: a little longer than the operator waits.
const ORDER_US_MAX: u64 = 17_000_000;
/// A cluster is never made smaller than this.
const VOTERS_MIN: usize = 3;

/// An order that was given. Hit: it was carried out.
struct Given {
    node: u64,
    order: Order,
    starts: u64,
    until_us: u64,
    hit: bool,
}

impl Given {
    fn to_leader(scene: &mut Scene<'_, '_>, order: Order) -> Option<Box<dyn Fault>> {
        let node = scene.leader()?;
        let process = scene.world.process(node)?;
        process.node()?;
        tracing::info!(node, ?order, "an operator's order");
        process.order(order);
        let starts = scene.lives.starts(node);
        Some(Box::new(Given { node, order, starts, until_us: scene.now_us + ORDER_US_MAX, hit: false }))
    }
}

impl Fault for Given {
    fn step(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        let process = scene.world.process(self.node);
        let answer = process.and_then(|process| process.answer(self.order));
        self.hit = matches!(answer, Some(Ok(())));
        let lost = !scene.lives.is_up(self.node) || scene.lives.starts(self.node) != self.starts;
        answer.is_some() || lost || scene.now_us >= self.until_us
    }

    fn heal(&mut self, _scene: &mut Scene<'_, '_>) {}

    fn hit(&self) -> bool {
        self.hit
    }
}

/// Leadership is handed over, to anybody or to a given node.
pub fn transfer(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let leader = scene.leader()?;
    let others: Vec<u64> = scene.voters().into_iter().filter(|id| *id != leader).collect();
    let to = if scene.chance(50) { None } else { scene.one_of(&others) };
    Given::to_leader(scene, Order::Transfer(to))
}

/// One step of a change: a node is taken in, or promoted, or taken out. Who was taken out comes back later, with what it
/// had or with empty disks.
pub fn membership(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let members = scene.members();
    let learners: Vec<u64> =
        members.iter().filter(|member| member.role == MemberRole::Learner).map(|member| member.id).collect();
    let voters: Vec<u64> =
        members.iter().filter(|member| member.role == MemberRole::Voter).map(|member| member.id).collect();
    let strangers: Vec<u64> = scene.world.processes.iter().map(|process| process.id).collect();
    let strangers: Vec<u64> =
        strangers.into_iter().filter(|id| members.iter().all(|member| member.id != *id)).collect();
    if voters.is_empty() {
        return None;
    }
    if let Some(learner) = scene.one_of(&learners) {
        let order = if scene.chance(85) { Order::Promote(learner) } else { Order::Remove(learner) };
        return Given::to_leader(scene, order);
    }
    let may_shrink = voters.len() > VOTERS_MIN;
    if !strangers.is_empty() && (!may_shrink || scene.chance(50)) {
        let stranger = scene.one_of(&strangers)?;
        if scene.chance(50) && scene.lives.is_up(stranger) {
            start_empty(scene, stranger);
        }
        return Given::to_leader(scene, Order::Add(stranger));
    }
    if !may_shrink {
        return None;
    }
    let leader = scene.leader();
    let leaving = if scene.chance(40) { leader } else { scene.one_of(&voters) };
    Given::to_leader(scene, Order::Remove(leaving?))
}

/// The machine of this node gets new, empty disks.
pub fn start_empty(scene: &mut Scene<'_, '_>, id: u64) {
    let start_us = scene.now_us + scene.lasting(1, 500);
    scene.end(id, PowerLoss::Machine, start_us);
    if let Some(process) = scene.world.process(id)
        && let Err(error) = process.machine.empty()
    {
        tracing::error!(node = id, %error, "the folder cannot be emptied");
    }
}

/// All members, one after the other, are asked to end and started again. Hit: one of them led.
struct Rolling {
    left: Vec<u64>,
    /// Who was asked to end, how often it had been started then, and since when it is back, µs.
    under_way: Option<(u64, u64, Option<u64>)>,
    until_us: u64,
    hit: bool,
}

/// How long a node that is back has before the next one is restarted, µs.
const SETTLE_US: u64 = 1_500_000;

impl Fault for Rolling {
    fn step(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        match &mut self.under_way {
            Some((id, starts, back_us)) => {
                if scene.lives.starts(*id) > *starts && scene.lives.is_up(*id) {
                    let back_us = *back_us.get_or_insert(scene.now_us);
                    if scene.now_us >= back_us + SETTLE_US {
                        self.under_way = None;
                    }
                }
            }
            None => {
                let Some(id) = self.left.pop() else { return true };
                let process = scene.world.process(id).filter(|process| process.node().is_some());
                if let Some(process) = process {
                    self.hit |= scene.leader() == Some(id);
                    tracing::info!(node = id, "is asked to end");
                    process.stop();
                    self.under_way = Some((id, scene.lives.starts(id), None));
                }
            }
        }
        scene.now_us >= self.until_us
    }

    fn heal(&mut self, _scene: &mut Scene<'_, '_>) {}

    fn hit(&self) -> bool {
        self.hit
    }
}

/// A rolling restart.
pub fn rolling_restart(scene: &mut Scene<'_, '_>) -> Option<Box<dyn Fault>> {
    let mut left = scene.nodes();
    for place in (1..left.len()).rev() {
        left.swap(place, scene.random.below(place as u64 + 1) as usize);
    }
    Some(Box::new(Rolling { left, under_way: None, until_us: scene.now_us + 60_000_000, hit: false }))
}
